"""How far the costs of scaled networks are from FLOPS ~ d w^2 r^2, as rows and tables.

The paper counts a scaled network's compute by that product (arXiv:1905.11946, section 3.3). Here
the network as built is counted exactly, and its difference from the product is split by cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.deviation import doubling_powers, slopes
from phiscale.arch.spec import Spec
from phiscale.planning.device import DeviceModel
from phiscale.report.deviation_networks import ComparedNetwork, smallest_of_families
from phiscale.report.latencies import Timings, fit_times

DeviationRow = dict[str, Any]  # made by `list_rows`
COSTS = {
    "macs": "MACs",
    "params": "params",
    "activations": "activations",
    "saved_bytes": "training memory",
    "peak_bytes": "inference peak",
}


def list_rows(
    networks: Iterable[ComparedNetwork],
    device: DeviceModel | None = None,
    measured_ms: Mapping[str, float] | None = None,
) -> list[DeviationRow]:
    """Returns a row for each network: ratios over the base, and the error of d w^2 r^2 by cause.

    Errors are fractions: 0.1 = the MACs are 10 % above d w^2 r^2. `device` adds milliseconds by its
    model, `measured_ms` those that were measured, by the network's name.
    """
    return [_row(network, device, measured_ms or {}) for network in networks]


def _row(
    network: ComparedNetwork, device: DeviceModel | None, measured_ms: Mapping[str, float]
) -> DeviationRow:
    away, total, base = network.deviation, cost(network.spec), cost(network.base)

    def cause(factor: float) -> float | None:
        return factor - 1 if network.scaling else None

    return {
        "network": network.name,
        "over": network.base_name,
        "base": network.base,
        "by": network.by,
        "depth": network.by.depth,
        "width": network.by.width,
        "resolution": network.spec.resolution / network.base.resolution,
        "monomial": away.monomial,
        "exact": away.exact,
        "off": away.total - 1,
        "structure": away.structure - 1,
        "depth_rounding": cause(away.depth_rounding),
        "channel_rounding": cause(away.channel_rounding),
        "map_rounding": cause(away.spatial_rounding),
        "real_depth": away.real_depth,
        **{f"{k}_ratio": getattr(total, k) / getattr(base, k) for k in COSTS if k != "macs"},
        "macs": total.macs,
        "modelled_ms": device and float(device.latency_ms(total)),
        "measured_ms": measured_ms.get(network.name),
    }


def format_table(rows: Sequence[DeviationRow]) -> list[dict[str, Any]]:
    """Returns the rows for a reader: per cent, three digits."""
    return [
        {
            "network": row["network"],
            "base": row["over"],
            "d w² r²": f"{row['monomial']:.2f}",
            "MACs": f"{row['exact']:.2f}",
            "off %": percent(row["off"]),
            "structure": percent(row["structure"]),
            "depth": percent(row["depth_rounding"]),
            "channels": percent(row["channel_rounding"]),
            "maps": percent(row["map_rounding"]),
            "depth as built": f"{row['real_depth']:.3f}",
            "saved": f"{row['saved_bytes_ratio']:.1f}",
            "peak": f"{row['peak_bytes_ratio']:.1f}",
            "params": f"{row['params_ratio']:.1f}",
            "modelled ms": _format_ms(row["modelled_ms"]),
            "measured ms": _format_ms(row["measured_ms"]),
        }
        for row in rows
    ]


def list_powers(networks: Mapping[str, Spec]) -> list[dict[str, Any]]:
    """Returns the powers of d, w and r with which each cost grows, measured by doubling one."""
    return [{"network": name, **doubling_powers(spec)} for name, spec in networks.items()]


def list_slopes(rows: Sequence[DeviationRow]) -> list[dict[str, Any]]:
    """Returns the powers without any rounding, at each base and at its largest scaling."""
    largest = {
        row["over"]: row
        for row in sorted(rows, key=lambda row: row["monomial"])
        if row["depth_rounding"] is not None
    }
    at_base = [{"network": name, **slopes(row["base"])} for name, row in largest.items()]
    return at_base + [
        {"network": row["network"], **slopes(row["base"], row["by"])} for row in largest.values()
    ]


def format_power_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of `list_powers` for a reader: d^1.02 w^1.91 r^2.00 for each cost."""
    return [
        {
            "network": row["network"],
            **{label: format_powers(row[name]) for name, label in COSTS.items()},
        }
        for row in rows
    ]


def format_powers(powers: Sequence[float], digits: int = 2) -> str:
    """Writes the powers of depth, width and resolution as d^1.02 w^1.91 r^2.00."""
    return " ".join(
        f"{axis}^{abs(power):.{digits}f}" for axis, power in zip("dwr", powers, strict=True)
    )


def to_json(rows: Sequence[DeviationRow], timings: Timings | None = None) -> dict[str, Any]:
    """Returns all of it as plain data, for --json."""
    bases = {row["over"]: row["base"] for row in rows}
    return {
        "networks": [{k: v for k, v in row.items() if k not in ("base", "by")} for row in rows],
        "powers": list_powers(bases | smallest_of_families()),
        "slopes": list_slopes(rows),
        "time": fit_times(timings.networks) if timings else None,
    }


def percent(share: float | None) -> str | None:
    """Writes a fraction as +41.0, for a column in per cent."""
    return None if share is None else f"{100 * share:+.1f}".replace("-0.0", "+0.0")


def _format_ms(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
