"""One network in numbers: layers, total cost, and its deviation from d * w^2 * r^2."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.deviation import deviation
from phiscale.arch.families import name_of
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError

MOST_BLOCKS, MOST_TIMES = 5_000, 1_000  # of a network that is counted layer by layer


def to_json(base: Spec, by: Scaling) -> dict[str, Any]:
    """Returns the scaled spec, its cost in total and per layer, and its deviation, for --json."""
    spec = scale(base, by)
    total = cost(spec)
    totals = {k: v for k, v in asdict(total).items() if k != "layers"}
    data: dict[str, Any] = {
        "spec": spec.to_dict(),
        "scaling": asdict(by),
        "cost": totals,
        "layers": [layer._asdict() for layer in total.layers],
    }
    if by != Scaling():
        away = deviation(base, by)
        data["deviation"] = {**asdict(away), "total": away.total}
    return data


def format_lines(base: Spec, by: Scaling) -> list[str]:
    """Returns the same as lines for a terminal."""
    spec = scale(base, by)
    total = cost(spec)
    width = max(len(layer.path) for layer in total.layers)
    text = [f"{'layer':<{width}}  {'kind':<9}  k     channels   map      params         MACs"]
    for layer in total.layers:
        channels = f"{layer.channels_in}->{layer.channels}"
        text.append(
            f"{layer.path:<{width}}  {layer.kind:<9}  {layer.kernel}  {channels:>11}  "
            f"{layer.side:>4}  {layer.params:>10,}  {layer.macs:>11,}"
        )
    text += [
        "",
        f"{spec.blocks} blocks, {spec.resolution} px, {spec.classes} classes",
        f"params {total.params:,}; MACs {total.macs:,} (FLOPs are twice that); "
        f"activations {total.activations:,}",
        f"weights {total.weight_bytes / 1e6:.1f} MB fp32, "
        f"{total.weight_bytes_int8 / 1e6:.1f} MB int8; "
        f"inference peak {total.peak_bytes / 2**20:.1f} MiB; "
        f"training keeps {total.saved_bytes / 2**20:.1f} MiB an image",
    ]
    if by != Scaling():
        away = deviation(base, by)
        text.append(
            f"MACs x{away.exact:.3f} against d w^2 r^2 = {away.monomial:.3f}: "
            f"{_percent(away.total)} (structure {_percent(away.structure)}, "
            f"depth rounding {_percent(away.depth_rounding)}, "
            f"channel rounding {_percent(away.channel_rounding)}, "
            f"feature-map rounding {_percent(away.spatial_rounding)}); "
            f"depth as built x{away.real_depth:.3f}"
        )
    return text


def refuse_huge(base: Spec, by: Scaling, phi: float | None = None) -> None:
    """Raises UsageError for a network that is too large to count. `phi`: what made the scaling."""
    most = {"depth": MOST_BLOCKS / base.blocks, "width": MOST_TIMES, "resolution": MOST_TIMES}
    for name, limit in most.items():
        if (value := getattr(by, name)) > limit:
            cause = f"{name}={value:g}" if phi is None else f"phi={phi:g}"
            raise UsageError(f"{cause} makes {name} x{value:.3g}. Use at most x{limit:.3g}.")


def name_network(spec: Spec) -> str:
    """Returns the name of the model that a spec is, else its blocks and pixels."""
    return name_of(spec) or f"a network of {spec.blocks} blocks at {spec.resolution} px"


def _percent(factor: float) -> str:
    return f"{100 * (factor - 1):+.1f} %"
