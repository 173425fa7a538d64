"""The figures of the page of `phiscale deviation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from phiscale.report.deviation import DeviationRow
from phiscale.report.latencies import TimedNetwork, Timings
from phiscale.report.models import short
from phiscale.report.page import Drawing
from phiscale.report.svg import BLUE, GOLD, GREEN, GREY, INK, ORANGE, PURPLE, SKY, STYLE, drawing


def draw_causes(rows: Sequence[DeviationRow], labels: Mapping[str, str]) -> Drawing:
    """Draws a bar for each cause of each network's deviation, and a mark at their product.

    `labels` names the causes: keys of a row, and what they are called.
    """
    colours = (GREY, ORANGE, SKY, GREEN)
    with rc_context({**STYLE, "axes.grid.axis": "y"}):
        figure = Figure(figsize=(min(12.0, 2.4 + 0.85 * len(rows)), 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (cause, label) in enumerate(labels.items()):
            x = [place - 0.3 + 0.2 * number for place in range(len(rows))]
            heights = [100 * (row[cause] or 0) for row in rows]
            axes.bar(x, heights, 0.19, color=colours[number], label=label)
        together = [100 * row["off"] for row in rows]
        axes.plot(
            range(len(rows)),
            together,
            "D",
            color=INK,
            markersize=5,
            label="together",
            clip_on=False,
        )
        axes.axhline(0, color=INK, linewidth=0.8)
        names = [_short_name(row) for row in rows]
        axes.set_xticks(range(len(rows)), names, rotation=90 if len(rows) > 12 else 0)
        axes.set_ylabel("MACs off d w² r², %")
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        described = f"Deviation of the MACs of {len(rows)} networks from d w^2 r^2, by cause"
        return drawing(figure, "causes", described)


def draw_growth(rows: Sequence[DeviationRow]) -> Drawing:
    """Draws each cost over the base's against d w^2 r^2, with the line that the product claims."""
    lines = (
        ("exact", "MACs", BLUE, "o"),
        ("saved_bytes_ratio", "training memory", ORANGE, "s"),
        ("peak_bytes_ratio", "inference peak", GREEN, "^"),
        ("params_ratio", "parameters", PURPLE, "D"),
    )
    ordered = sorted(rows, key=lambda row: row["monomial"])
    x = [row["monomial"] for row in ordered]
    joined = "-" if len({row["over"] for row in rows}) == 1 else ""  # one family, one line
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        ends = [min(x), max(x)]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="d w² r²")
        for key, label, colour, marker in lines:
            axes.plot(
                x,
                [row[key] for row in ordered],
                marker,
                color=colour,
                label=label,
                markersize=5,
                linestyle=joined,
                linewidth=1.2,
            )
        _set_log_scales(axes)
        axes.set(xlabel="d w² r²", ylabel="cost over the base's")
        axes.legend(frameon=False)
        return drawing(figure, "growths", "Costs over the base's against d w^2 r^2")


def draw_times(timings: Timings) -> Drawing:
    """Draws measured latency against MACs and against activations, one colour for each family."""
    groups: dict[str, list[TimedNetwork]] = {}
    for network in timings.networks:
        groups.setdefault(network.family, []).append(network)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _plot_times(left, groups, "macs")
        _plot_times(right, groups, "activations")
        left.set(xlabel="MACs", ylabel="latency of one image, ms")
        right.set(xlabel="activations")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False
        )
        return drawing(figure, "times", "Measured latency against MACs and against activations")


def _plot_times(axes: Any, groups: Mapping[str, Sequence[TimedNetwork]], cost: str) -> None:
    colours = (BLUE, ORANGE, GREEN, PURPLE, GOLD, SKY, INK, GREY)
    for number, (family, group) in enumerate(groups.items()):
        axes.plot(
            [getattr(network, cost) for network in group],
            [network.latency_ms for network in group],
            "os^Dv"[number // len(colours) % 5],
            color=colours[number % len(colours)],
            markersize=5,
            label=family,
            linestyle="",
        )
    _set_log_scales(axes)


def _set_log_scales(axes: Any) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1,)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _short_name(row: DeviationRow) -> str:
    """Cuts what the name shares with its base's: b7 of efficientnet_b7."""
    name, base = str(row["network"]), str(row["over"])
    pairs = zip(name, base, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(base))
    cut = max(name.rfind("_", 0, same), name.rfind(" ", 0, same)) + 1
    return name[cut:]
