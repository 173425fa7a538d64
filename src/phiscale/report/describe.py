"""One network in words and numbers: layers, totals, and how far it is from d * w^2 * r^2."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from phiscale.arch.costs import cost, deviation
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec


def described(base: Spec, by: Scaling) -> dict[str, Any]:
    """The scaled spec, its cost in total and per layer, and the deviation from the monomial law."""
    spec = scale(base, by)
    whole = cost(spec)
    totals = {k: v for k, v in asdict(whole).items() if k != "layers"}
    found: dict[str, Any] = {
        "spec": spec.to_dict(),
        "scaling": asdict(by),
        "cost": totals,
        "layers": [layer._asdict() for layer in whole.layers],
    }
    if by != Scaling():
        away = deviation(base, by)
        found["deviation"] = {**asdict(away), "total": away.total}
    return found


def lines(base: Spec, by: Scaling) -> list[str]:
    """For a terminal."""
    spec = scale(base, by)
    whole = cost(spec)
    width = max(len(layer.path) for layer in whole.layers)
    text = [f"{'layer':<{width}}  {'kind':<9}  k     channels   map      params         MACs"]
    for layer in whole.layers:
        channels = f"{layer.channels_in}->{layer.channels}"
        text.append(
            f"{layer.path:<{width}}  {layer.kind:<9}  {layer.kernel}  {channels:>11}  "
            f"{layer.side:>4}  {layer.params:>10,}  {layer.macs:>11,}"
        )
    text += [
        "",
        f"{spec.blocks} blocks, {spec.resolution} px, {spec.classes} classes",
        f"params {whole.params:,}; MACs {whole.macs:,} (FLOPs are twice that); "
        f"activations {whole.activations:,}",
        f"weights {whole.weight_bytes / 1e6:.1f} MB fp32, "
        f"{whole.weight_bytes_int8 / 1e6:.1f} MB int8; "
        f"inference peak {whole.peak_bytes / 2**20:.1f} MiB; "
        f"training keeps {whole.saved_bytes / 2**20:.1f} MiB an image",
    ]
    if by != Scaling():
        away = deviation(base, by)
        text.append(
            f"MACs x{away.exact:.3f} for d w^2 r^2 = {away.monomial:.3f}: "
            f"{_percent(away.total)} off (structure {_percent(away.structure)}, "
            f"depth rounding {_percent(away.depth_rounding)}, "
            f"channel rounding {_percent(away.channel_rounding)}, "
            f"map rounding {_percent(away.spatial_rounding)}); real depth x{away.real_depth:.3f}"
        )
    return text


def _percent(factor: float) -> str:
    return f"{100 * (factor - 1):+.1f} %"
