"""The figure of an error law: its band along one axis; for several, predicted against measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from phiscale.errors import UsageError
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.posterior import Posterior
from phiscale.report.svg import BLUE, INK, ORANGE, STYLE
from phiscale.text import printable

POINTS = 200  # of the band


def draw_law(path: Path, fit: Posterior, held_out: Points | None, unit: str) -> None:
    """Draws the law with its 95 % band, its rows, and the rows held out, to a .svg or .png file.

    `unit`: what 1 on the axes is. UsageError: the path has another ending.
    """
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {path.name!r}. Let the name end in .png or .svg.")
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        draw = _draw_along_axis if len(fit.points.axes) == 1 else _draw_against_measured
        draw(figure.subplots(), fit, held_out, unit)
        undated = {"Date": None} if path.suffix == ".svg" else {}  # same numbers, same file
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata=undated)


def _draw_along_axis(axes: Any, fit: Posterior, held_out: Points | None, unit: str) -> None:
    points = fit.points if held_out is None else _joined(fit.points, held_out)
    x = np.geomspace(points.x.min() / 1.1, points.x.max() * 1.3, POINTS)[:, None]
    predicted = fit.predict(x)
    low, high = predicted.interval
    axes.fill_between(
        x[:, 0],
        100 * low,
        100 * high,
        color=BLUE,
        alpha=0.13,
        linewidth=0,
        label="95 % of runs",
    )
    axes.plot(x[:, 0], 100 * predicted.error, color=BLUE, label="the law")
    axes.plot(
        fit.points.x[:, 0], 100 * fit.points.error, "o", color=INK, markersize=5, label="fitted"
    )
    if held_out is not None:
        axes.plot(
            held_out.x[:, 0],
            100 * held_out.error,
            "D",
            color=ORANGE,
            markersize=6,
            label="held out",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set(xlabel=f"{fit.points.axes[0]} over {printable(unit)}", ylabel="error, %")
    axes.legend(frameon=False)


def _draw_against_measured(axes: Any, fit: Posterior, held_out: Points | None, unit: str) -> None:
    groups = [(fit.points, "o", INK, "fitted")]
    if held_out is not None:
        groups.append((held_out, "D", ORANGE, "held out"))
    for points, marker, colour, label in groups:
        predicted = fit.predict(points.x)
        low, high = predicted.interval
        bars = 100 * np.stack([predicted.error - low, high - predicted.error])
        axes.errorbar(
            100 * points.error,
            100 * predicted.error,
            bars,
            fmt=marker,
            color=colour,
            markersize=5,
            elinewidth=1,
            label=label,
        )
    ends = axes.get_xlim()
    axes.plot(ends, ends, color=BLUE, linewidth=1, zorder=0)
    names = ", ".join(fit.points.axes)
    axes.set(
        xlim=ends,
        xlabel="measured error, %",
        ylabel="predicted error, %",
        title=f"{names} over {printable(unit)}; bars: 95 % of runs",
    )
    axes.legend(frameon=False)


def _joined(one: Points, other: Points) -> Points:
    return Points(
        one.axes,
        np.concatenate([one.x, other.x]),
        np.concatenate([one.error, other.error]),
        np.concatenate([one.runs, other.runs]),
        one.names + other.names,
    )
