"""The page of `phiscale deviation`: its sections, and sentences made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from phiscale.arch.costs import cost
from phiscale.errors import full_install
from phiscale.report.deviation import (
    DeviationRow,
    format_power_table,
    format_powers,
    format_table,
    list_powers,
    list_slopes,
    percent,
)
from phiscale.report.deviation_networks import smallest_of_families
from phiscale.report.latencies import TimeFit, Timings, fit_times
from phiscale.report.page import Section

TITLE = "How wrong is FLOPS ~ d w² r²?"
CAUSES = ("structure", "depth_rounding", "channel_rounding", "map_rounding")
NEGLIGIBLE = 0.0005  # a share that is printed as 0.0 %
POWER_TOLERANCE = 0.05  # of a power that counts as equal


def list_sections(rows: Sequence[DeviationRow], timings: Timings | None = None) -> list[Section]:
    """Returns the page: MACs by cause, the growth of every cost, and what explains time."""
    with full_install("the page of a deviation"):  # the sentences alone need no matplotlib
        from phiscale.report.deviation_figures import draw_causes, draw_growth, draw_times
    sections = [
        Section(
            title="MACs",
            text=describe_macs(rows),
            rows=format_table(rows),
            note=explain_columns(rows),
            figures=[draw_causes(rows, name_causes(rows))],
        ),
        Section(
            title="Memory and parameters",
            text=describe_memory(rows),
            rows=format_power_table(list_powers(smallest_of_families())),
            note="The powers come from doubling one dimension of the network as built: "
            "log2 of cost(2x) / cost(1x).",
            figures=[draw_growth(rows)],
        ),
    ]
    if timings and (fits := fit_times(timings.networks)):
        sections.append(
            Section(
                title="Time",
                text=describe_times(timings, fits),
                rows=format_fit_table(fits),
                note="R² is that of a line through the logarithms. The powers are those of the fit "
                "on both, where MACs and activations do not rise together.",
                figures=[draw_times(timings)],
            )
        )
    return sections


def conclusions(rows: Sequence[DeviationRow], timings: Timings | None = None) -> list[str]:
    """Returns the page's sentences without its tables."""
    fits = fit_times(timings.networks) if timings else []
    time = describe_times(timings, fits) if timings and fits else []
    return [*describe_macs(rows), *describe_memory(rows), *time]


def describe_macs(rows: Sequence[DeviationRow]) -> list[str]:
    """Says how far MACs are off d w^2 r^2, and which cause is the largest."""
    lines = [f"The MACs of the networks as built are {_range(rows, 'off')} off d w² r²."]
    rounded = [row for row in rows if row["depth_rounding"] is not None]
    if rounded:
        lines += _describe_causes(rounded)
    powers = [f"{format_powers(row['macs'], 3)} at {row['network']}" for row in list_slopes(rows)]
    if powers:
        lines.append(f"Before any rounding, MACs follow {', and '.join(powers)}.")
    if len(rounded) < len(rows):
        lines.append(
            "For networks that no scaling made, the multipliers are those as built: blocks, root "
            "mean square of channels, pixels. Their deviation has one cause: structure."
        )
    return lines


def _describe_causes(rounded: Sequence[DeviationRow]) -> list[str]:
    labels = name_causes(rounded)
    causes = [f"{labels[cause]} {_range(rounded, cause)}" for cause in CAUSES]
    lines = [f"By cause: {', '.join(causes)}. The four factors multiply."]
    largest = {cause: max(abs(row[cause]) for row in rounded) for cause in CAUSES}
    main = max(largest, key=largest.__getitem__)
    if largest[main] > NEGLIGIBLE:
        lines.append(f"The largest single cause is {labels[main]}.")
        lines += _describe_depth(rounded) if main == "depth_rounding" else []
    return lines


def name_causes(rows: Sequence[DeviationRow]) -> dict[str, str]:
    """Returns what the causes are called: not all families round their blocks up."""
    up = "up " if {row["base"].depth_rounding for row in rows} == {"ceil"} else ""
    labels = ("structure", f"rounding {up}blocks", "rounding channels", "rounding feature maps")
    return dict(zip(CAUSES, labels, strict=True))


def _describe_depth(rounded: Sequence[DeviationRow]) -> list[str]:
    """Says how far whole blocks move the depth, and whether d w^2 r^2 is nearer without them."""
    worst = max(rounded, key=lambda row: abs(math.log(row["real_depth"] / row["depth"])))
    lines = [
        f"{worst['network']} should be {worst['depth']:.3g} times as deep as its base and is "
        f"{worst['real_depth']:.3g} times as deep."
    ]
    off = sum(abs(math.log1p(row["off"])) for row in rounded)
    without = sum(abs(math.log((1 + row["off"]) / (1 + row["depth_rounding"]))) for row in rounded)
    if without < off:
        lines.append("Without the rounding of blocks, d w² r² would be nearer to the MACs.")
    return lines


def explain_columns(rows: Sequence[DeviationRow]) -> str:
    """Says what the columns of the MACs' table mean, as far as they are there."""
    kinds = {
        "depthwise": any(cost(row["base"]).depthwise_macs for row in rows),
        "squeeze-and-excite": any(s.se_ratio for row in rows for s in row["base"].stages),
    }
    layers = " and ".join(kind for kind, present in kinds.items() if present)
    where = f"stem, head, first blocks, {layers} layers" if layers else "stem, head, first blocks"
    structure = f"structure ({where} follow other powers)"
    rounded = any(row["depth_rounding"] is not None for row in rows)
    factors = f"the product of {structure} and three roundings" if rounded else structure
    return (
        "MACs, saved, peak and params are multiples of the base's. Saved is what training keeps of "
        "an image for the backward pass; peak is the memory peak of inference. Off compares MACs "
        f"with d w² r², in per cent: {factors}. Depth as built counts blocks over the base's."
    )


def describe_memory(rows: Sequence[DeviationRow]) -> list[str]:
    """Compares the growth of memory with the claim that it, too, grows as d w^2 r^2."""
    largest = max(rows, key=lambda row: abs(math.log(row["monomial"])))
    [base] = list_powers({largest["over"]: largest["base"]})
    verdict, joint = _compare_growth(largest)
    return [
        f"{verdict}{largest['network']} has d w² r² = "
        f"{largest['monomial']:.3g} times {largest['over']}'s, {joint} training keeps "
        f"{largest['saved_bytes_ratio']:.3g} times as much of an image, inference peaks at "
        f"{largest['peak_bytes_ratio']:.3g} times, and weights take "
        f"{largest['params_ratio']:.3g} times.",
        f"From {largest['over']}, training memory follows {format_powers(base['saved_bytes'])}, "
        f"the peak of inference {format_powers(base['peak_bytes'])}, parameters "
        f"{format_powers(base['params'])}, and MACs {format_powers(base['macs'])}.",
    ]


def _compare_growth(row: DeviationRow) -> tuple[str, str]:
    """Returns a sentence on whether memory follows d w^2 r^2, and the word that joins the next.

    The sentence is empty where only one of training and inference does, or where nothing grows.
    """
    growth = math.log(row["monomial"])
    alike = [
        abs(math.log(row[name]) - growth) <= POWER_TOLERANCE * abs(growth)
        for name in ("saved_bytes_ratio", "peak_bytes_ratio")
    ]
    if any(alike):
        grows = all(alike) and abs(growth) > NEGLIGIBLE
        return "Memory grows as d w² r² here. " if grows else "", "and"
    return "Memory does not grow as d w² r². ", "but"


def describe_times(timings: Timings, fits: Sequence[TimeFit]) -> list[str]:
    """Says how times were measured, and which cost explains them."""
    device, first = timings.fingerprint, fits[0]
    measured = (
        f"Latency of one image with {device.runtime} on {device.device}, {device.cores} cores, "
        f"{device.date}: the median of {timings.rounds} interleaved rounds."
    )
    if timings.command:
        measured += f" Measured by `{timings.command}`."
    if timings.load and timings.load > 0.5:
        measured += (
            f" Other programs kept {timings.load:.3g} processes busy at the start, so the times "
            "are longer than on an idle machine."
        )
    explained = (
        f"Over {first['count']} networks, MACs alone explain {_share(first['macs'])} of the "
        f"variance of log time, activations alone {_share(first['activations'])}, and both "
        f"{_share(first['both'])}."
    )
    if first["activations"] > first["macs"]:
        better = "Activations explain more than MACs here, as on GPUs (arXiv:2103.06877)."
    else:
        better = (
            "MACs explain more than activations here. On GPUs activations explain more "
            "(arXiv:2103.06877): it depends on the device."
        )
    return [measured, explained, better]


def format_fit_table(fits: Sequence[TimeFit]) -> list[dict[str, Any]]:
    """Returns the fits for a reader."""
    return [
        {
            "networks": fit["networks"],
            "count": fit["count"],
            "R² on MACs": f"{fit['macs']:.3f}",
            "R² on activations": f"{fit['activations']:.3f}",
            "R² on both": f"{fit['both']:.3f}",
            "power of MACs": _format_power(fit["power_of_macs"]),
            "power of activations": _format_power(fit["power_of_activations"]),
        }
        for fit in fits
    ]


def _range(rows: Sequence[DeviationRow], name: str) -> str:
    values = [row[name] for row in rows]
    ends = dict.fromkeys((percent(min(values)), percent(max(values))))
    return f"{' to '.join(str(end) for end in ends)} %"


def _format_power(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _share(r2: float) -> str:
    return f"{100 * r2:.0f} %"
