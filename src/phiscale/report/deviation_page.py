"""What `phiscale deviation` concludes, in words made from the numbers; its page and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from phiscale.arch.costs import cost
from phiscale.report.deviation import (
    Row,
    families,
    percent,
    power_table,
    power_words,
    powers,
    slopes_of,
    table,
)
from phiscale.report.latencies import Explained, Timings, explained
from phiscale.report.models import short
from phiscale.report.page import Drawing, Section
from phiscale.report.svg import BLUE, GOLD, GREEN, GREY, INK, ORANGE, PURPLE, SKY, STYLE, drawing

TITLE = "How wrong is FLOPS ~ d w² r²?"
CAUSES = ("structure", "depth_rounding", "channel_rounding", "map_rounding")
NONE = 0.0005  # a share that is printed as 0.0 %
LIKE = 0.05  # of a power: grows as


def sections(rows: Sequence[Row], timings: Timings | None = None) -> list[Section]:
    """The page: MACs by cause, what every cost really grows with, what time follows."""
    found = [
        Section(
            title="MACs",
            text=macs_words(rows),
            rows=table(rows),
            note=columns_words(rows),
            figures=[_causes(rows)],
        ),
        Section(
            title="Memory and parameters",
            text=memory_words(rows),
            rows=power_table(powers(families())),
            note="Powers by doubling one dimension of the real network: log2 of cost(2x) / "
            "cost(1x).",
            figures=[_growths(rows)],
        ),
    ]
    if timings and (fits := explained(timings.networks)):
        found.append(
            Section(
                title="Time",
                text=time_words(timings, fits),
                rows=fit_table(fits),
                note="R² of a line through the logarithms; the powers are those of the fit on "
                "both, where the two do not rise together.",
                figures=[_times(timings)],
            )
        )
    return found


def conclusions(rows: Sequence[Row], timings: Timings | None = None) -> list[str]:
    """The page's words alone."""
    fits = explained(timings.networks) if timings else []
    time = time_words(timings, fits) if timings and fits else []
    return [*macs_words(rows), *memory_words(rows), *time]


def macs_words(rows: Sequence[Row]) -> list[str]:
    """How far off, and by which cause most."""
    said = [f"Against d w² r² the real MACs are {_between(rows, 'off')} off."]
    rounded = [row for row in rows if row["depth_rounding"] is not None]
    if rounded:
        words = cause_words(rounded)
        causes = [f"{words[name]} {_between(rounded, name)}" for name in CAUSES]
        said.append(f"By cause: {', '.join(causes)}; the four multiply.")
        largest = {name: max(abs(row[name]) for row in rounded) for name in CAUSES}
        main = max(largest, key=largest.__getitem__)
        if largest[main] > NONE:
            said.append(f"The largest single part is {words[main]}.")
            said += _depth_words(rounded) if main == "depth_rounding" else []
    at = [f"{power_words(each['macs'], 3)} at {each['network']}" for each in slopes_of(rows)]
    if at:
        said.append(f"Before any rounding MACs go with {', with '.join(at)}.")
    if len(rounded) < len(rows):
        said.append(
            "Networks that no scaling has made have their real multipliers (blocks, root "
            "mean square of channels, pixels), and one cause: structure."
        )
    return said


def cause_words(rows: Sequence[Row]) -> dict[str, str]:
    """What the causes are called: not all families round their blocks up."""
    up = "up " if {row["base"].depth_rounding for row in rows} == {"ceil"} else ""
    return dict(
        zip(
            CAUSES,
            ("structure", f"rounding {up}blocks", "rounding channels", "rounding maps"),
            strict=True,
        )
    )


def _depth_words(rounded: Sequence[Row]) -> list[str]:
    """What whole blocks do to the depth, and whether the law is nearer without them."""
    worst = max(rounded, key=lambda row: abs(math.log(row["real_depth"] / row["depth"])))
    said = (
        f"{worst['network']} is meant to be {worst['depth']:.3g} times as deep and is "
        f"{worst['real_depth']:.3g} times"
    )
    off = sum(abs(math.log1p(row["off"])) for row in rounded)
    without = sum(abs(math.log((1 + row["off"]) / (1 + row["depth_rounding"]))) for row in rounded)
    better = ": the law is better for the architecture than for its whole blocks"
    return [f"{said}{better if without < off else ''}."]


def columns_words(rows: Sequence[Row]) -> str:
    """What the columns of the MACs' table mean, as far as they are there."""
    kinds = {
        "depthwise": any(cost(row["base"]).depthwise_macs for row in rows),
        "squeeze-and-excite": any(s.se_ratio for row in rows for s in row["base"].stages),
    }
    layers = " and ".join(name for name, there in kinds.items() if there)
    where = f"stem, head, first blocks, {layers} layers" if layers else "stem, head, first blocks"
    structure = f"structure ({where} follow other powers)"
    rounded = any(row["depth_rounding"] is not None for row in rows)
    parts = f"the product of {structure} and three roundings" if rounded else structure
    return (
        "MACs, saved (what training keeps of a picture), peak (of inference) and params: times the "
        f"base's. Off: MACs against d w² r²; it is {parts}, in per cent. Real d: blocks over the "
        "base's."
    )


def memory_words(rows: Sequence[Row]) -> list[str]:
    """The claim that memory, too, grows as d w^2 r^2, beside what is counted."""
    largest = max(rows, key=lambda row: abs(math.log(row["monomial"])))
    [base] = powers({largest["over"]: largest["base"]})
    does, but = _grows(largest)
    return [
        f"{does}{largest['network']} has d w² r² = "
        f"{largest['monomial']:.3g} times {largest['over']}'s, {but} training keeps "
        f"{largest['saved_bytes_ratio']:.3g} times as much of a picture, inference peaks at "
        f"{largest['peak_bytes_ratio']:.3g} times, and weights take "
        f"{largest['params_ratio']:.3g} times.",
        f"From {largest['over']}, training's memory goes with {power_words(base['saved_bytes'])}, "
        f"the peak of inference with {power_words(base['peak_bytes'])}, parameters with "
        f"{power_words(base['params'])}, and MACs with {power_words(base['macs'])}.",
    ]


def _grows(row: Row) -> tuple[str, str]:
    """Whether memory, of training and of inference, follows d w^2 r^2; nothing where only one does,
    or where nothing grows. And the word before what it does."""
    by = math.log(row["monomial"])
    alike = [
        abs(math.log(row[name]) - by) <= LIKE * abs(by)
        for name in ("saved_bytes_ratio", "peak_bytes_ratio")
    ]
    if any(alike):
        return "Memory grows as d w² r² here. " if all(alike) and abs(by) > NONE else "", "and"
    return "Memory does not grow as d w² r². ", "but"


def time_words(timings: Timings, fits: Sequence[Explained]) -> list[str]:
    """Which count explains the measured time."""
    made = timings.fingerprint
    said = [
        f"Measured: one picture, {made.runtime}, {made.device}, {made.cores} cores, "
        f"{made.date}; the median of {timings.rounds} interleaved rounds."
    ]
    if timings.command:
        said[0] += f" By `{timings.command}`."
    if timings.load and timings.load > 0.5:
        said[0] += (
            f" Other programs kept {timings.load:.3g} processes busy as it began: the "
            "times are longer than an idle machine's."
        )
    first = fits[0]
    said.append(
        f"Over {first['count']} networks MACs alone explain {_share(first['macs'])} of the "
        f"variance of log time, activations alone {_share(first['activations'])}, both "
        f"{_share(first['both'])}."
    )
    said.append(
        "Activations say more than MACs here, as on GPUs (arXiv:2103.06877)."
        if first["activations"] > first["macs"]
        else "MACs say more than activations here. On GPUs it was seen to be the other way round "
        "(arXiv:2103.06877): which count time follows is a property of the device."
    )
    return said


def fit_table(fits: Sequence[Explained]) -> list[dict[str, Any]]:
    """As people read them."""
    return [
        {
            "networks": fit["networks"],
            "count": fit["count"],
            "R² on MACs": f"{fit['macs']:.3f}",
            "R² on activations": f"{fit['activations']:.3f}",
            "R² on both": f"{fit['both']:.3f}",
            "power of MACs": _power(fit["power_of_macs"]),
            "power of activations": _power(fit["power_of_activations"]),
        }
        for fit in fits
    ]


def _between(rows: Sequence[Row], name: str) -> str:
    values = [row[name] for row in rows]
    ends = dict.fromkeys((percent(min(values)), percent(max(values))))
    return f"{' to '.join(str(end) for end in ends)} %"


def _power(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _share(r2: float) -> str:
    return f"{100 * r2:.0f} %"


# Figures


def _causes(rows: Sequence[Row]) -> Drawing:
    """Bars of the causes of each network, and a mark at what they come to."""
    colours = (GREY, ORANGE, SKY, GREEN)
    with rc_context({**STYLE, "axes.grid.axis": "y"}):
        figure = Figure(figsize=(min(12.0, 2.4 + 0.85 * len(rows)), 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (name, words) in enumerate(cause_words(rows).items()):
            at = [place - 0.3 + 0.2 * number for place in range(len(rows))]
            heights = [100 * (row[name] or 0) for row in rows]
            axes.bar(at, heights, 0.19, color=colours[number], label=words)
        axes.plot(
            range(len(rows)),
            [100 * row["off"] for row in rows],
            "D",
            color=INK,
            markersize=5,
            label="together",
            clip_on=False,
        )
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(
            range(len(rows)), [_short(row) for row in rows], rotation=90 if len(rows) > 12 else 0
        )
        axes.set_ylabel("MACs off d w² r², %")
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        return drawing(
            figure, "causes", f"What the MACs of {len(rows)} networks are off by, by cause"
        )


def _growths(rows: Sequence[Row]) -> Drawing:
    """Every cost over the base's against d w^2 r^2, and where they would lie if it were right."""
    lines = (
        ("exact", "MACs", BLUE, "o"),
        ("saved_bytes_ratio", "training's memory", ORANGE, "s"),
        ("peak_bytes_ratio", "inference's peak", GREEN, "^"),
        ("params_ratio", "parameters", PURPLE, "D"),
    )
    ordered = sorted(rows, key=lambda row: row["monomial"])
    x = [row["monomial"] for row in ordered]
    joined = "-" if len({row["over"] for row in rows}) == 1 else ""  # one family, one line
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        ends = [min(x), max(x)]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="as d w² r²")
        for name, words, colour, marker in lines:
            axes.plot(
                x,
                [row[name] for row in ordered],
                marker,
                color=colour,
                label=words,
                markersize=5,
                linestyle=joined,
                linewidth=1.2,
            )
        _logarithmic(axes)
        axes.set(xlabel="d w² r²", ylabel="times the base's")
        axes.legend(frameon=False)
        return drawing(figure, "growths", "Costs over the base's against d w^2 r^2")


def _times(timings: Timings) -> Drawing:
    """Measured time against MACs and against activations, a colour a family."""
    colours = (BLUE, ORANGE, GREEN, PURPLE, GOLD, SKY, INK, GREY)
    groups: dict[str, list[Any]] = {}
    for each in timings.networks:
        groups.setdefault(each.family, []).append(each)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        for axes, what in zip(
            figure.subplots(1, 2, sharey=True), ("macs", "activations"), strict=True
        ):
            for number, (family, group) in enumerate(groups.items()):
                axes.plot(
                    [getattr(each, what) for each in group],
                    [each.latency_ms for each in group],
                    "os^Dv"[number // len(colours) % 5],
                    color=colours[number % len(colours)],
                    markersize=5,
                    label=family,
                    linestyle="",
                )
            _logarithmic(axes)
            axes.set(xlabel={"macs": "MACs"}.get(what, what))
        figure.axes[0].set_ylabel("milliseconds of one picture")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=6,
            frameon=False,
        )
        return drawing(figure, "times", "Measured time against MACs and against activations")


def _logarithmic(axes: Any) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _short(row: Mapping[str, Any]) -> str:
    """B7 of efficientnet_b7."""
    name, over = str(row["network"]), str(row["over"])
    same = next((i for i, (a, b) in enumerate(zip(name, over, strict=False)) if a != b), len(over))
    cut = max(name.rfind("_", 0, same), name.rfind(" ", 0, same)) + 1
    return name[cut:]
