"""Figures of the report: training curves and candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from phiscale.report.svg import BLUE, GREY, INK, ORANGE, STYLE, svg

Series = list[tuple[float, float]]  # images seen, value
_POINTS = 240  # of a curve: more are not seen


def curves(
    log: Iterable[Mapping[str, Any]], total: int, train_images: int | None = None
) -> tuple[str, ...]:
    """Loss and validation top-1 against images seen, up to the planned `total`: two figures.

    `log` holds the records of log.jsonl; `train_images` adds the epochs to the axis. A figure
    without a value to show is left out.
    """
    records = list(log)
    losses = _series(records, "loss")
    entropies = _series(records, "validation_cross_entropy")
    top1 = _series(records, "validation_top1")
    figures = []
    with rc_context(STYLE):
        if losses:
            figures.append(_loss(losses, entropies, total, train_images))
        if top1:
            figures.append(_top1(top1, total, train_images))
    return tuple(figures)


def _loss(losses: Series, entropies: Series, total: int, train_images: int | None) -> str:
    figure, axes = _panel("Loss", total, train_images)
    x, y = _smooth(losses)
    axes.plot(x, y, color=BLUE, label="training, smoothed")
    if entropies:
        axes.plot(
            *zip(*entropies, strict=True),
            "o--",
            color=ORANGE,
            markersize=3.5,
            linewidth=1.2,
            label="validation",
            clip_on=False,
        )
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    return svg(figure, "loss", f"Training loss goes from {y[0]:.3g} to {y[-1]:.3g}")


def _top1(top1: Series, total: int, train_images: int | None) -> str:
    figure, axes = _panel("Validation top-1, %", total, train_images)
    x, y = zip(*((seen, 100 * share) for seen, share in top1), strict=True)
    best = y.index(max(y))  # the first: that one was kept
    axes.plot(x, y, "o-", color=BLUE, markersize=4, clip_on=False)
    axes.plot(x[best], y[best], "D", color=ORANGE, markersize=7, clip_on=False)
    right = x[best] > 0.6 * total
    axes.annotate(
        f"kept: {y[best]:.1f} %",
        (x[best], y[best]),
        (-4 if right else 4, 8),
        textcoords="offset points",
        ha="right" if right else "left",
        color=ORANGE,
        weight="bold",
    )
    room = max(1.0, max(y) - min(y))
    axes.set_ylim(max(0, min(y) - 0.1 * room), max(y) + 0.2 * room)
    return svg(figure, "top1", f"Validation top-1 reaches {y[best]:.1f} per cent")


def pareto(
    candidates: Sequence[Mapping[str, Any]],
    chosen: str | None = None,
    budget: Mapping[str, float | None] | None = None,
    *,
    sd: float | None = None,
) -> str:
    """Predicted error against latency, or against MACs where a latency is not known.

    Rows have name, macs, latency_ms, predicted_error, excluded_by and, where the figure refers
    to a table, its number `no`. `budget` holds macs and latency_ms; `sd`, of the law, is drawn as
    a band around the selected network: networks in it are statistically tied with it.
    """
    quantity = "latency_ms" if all(row.get("latency_ms") for row in candidates) else "macs"
    limit = (budget or {}).get(quantity)
    points = [
        (float(row[quantity]), 100 * float(row["predicted_error"]), row)
        for row in candidates
        if row[quantity] and math.isfinite(row["predicted_error"])
    ]
    out = [p for p in points if p[2].get("excluded_by")]
    best = [p for p in points if p[2]["name"] == chosen and p not in out][:1]
    fit = [p for p in points if p not in out and p not in best]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 3.7), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        label = {"latency_ms": "latency of one image, ms", "macs": "MACs of one image"}[quantity]
        axes.set(xlabel=label, ylabel="predicted error, %")
        if sd and best:
            middle = best[0][1]
            axes.axhspan(
                middle - 100 * sd,
                middle + 100 * sd,
                color=BLUE,
                alpha=0.08,
                linewidth=0,
                label="statistically tied (law)",
            )
        front = _front(fit + best)
        if len(front) > 1:
            axes.plot(*zip(*front, strict=True), color=BLUE, linewidth=1, alpha=0.6)
        _scatter(axes, out, fit, best)
        if limit:
            axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="your limit")
        _limit_costs(axes, [p[0] for p in points] + ([limit] if limit else []))
        _label_costs(axes)
        if points:
            figure.legend(
                loc="outside upper center",
                ncols=5,
                frameon=False,
                handletextpad=0.4,
                columnspacing=1.4,
            )
        FigureCanvasSVG(figure)
        _number(figure, axes, [*best, *fit, *out])
        return svg(
            figure, "pareto", f"Predicted error of {len(points)} networks against their cost"
        )


def _scatter(axes: Any, out: Sequence[Any], fit: Sequence[Any], best: Sequence[Any]) -> None:
    """Draws the excluded networks, those within the limits, and the selected one."""
    for group, style, label in (
        (out, {"marker": "x", "color": GREY, "s": 26, "linewidths": 1.4}, "excluded"),
        (fit, {"marker": "o", "color": BLUE, "s": 30}, "within the limits"),
        (best, {"marker": "D", "color": ORANGE, "s": 75, "zorder": 4}, "selected"),
    ):
        if group:
            axes.scatter([p[0] for p in group], [p[1] for p in group], label=label, **style)


def _limit_costs(axes: Any, costs: Sequence[float]) -> None:
    if costs:
        spare = (max(costs) / min(costs)) ** 0.06 * 1.06
        axes.set_xlim(min(costs) / spare, max(costs) * spare)


def _label_costs(axes: Any) -> None:
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _series(records: Iterable[Mapping[str, Any]], key: str) -> Series:
    return [(r["images_seen"], r[key]) for r in records if key in r and math.isfinite(r[key])]


def _smooth(series: Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over a twentieth of the training around each of at most 240 places."""
    x, y = np.array(series).T
    half = max(0, len(x) // 40)
    sums = np.concatenate([[0.0], np.cumsum(y)])
    at = np.unique(np.linspace(0, len(x) - 1, min(_POINTS, len(x))).round().astype(int))
    start, stop = np.maximum(0, at - half), np.minimum(len(x), at + half + 1)
    return x[at], (sums[stop] - sums[start]) / (stop - start)


def _panel(title: str, total: int, train_images: int | None) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.9, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlim=(0, total), xlabel="images seen")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if train_images:
        scale = (lambda seen: seen / train_images, lambda epochs: epochs * train_images)
        epochs = axes.secondary_xaxis(-0.21, functions=scale)
        epochs.set_xlabel("epochs")
        epochs.xaxis.set_major_locator(MaxNLocator(5))
        epochs.spines[:].set_visible(False)
        epochs.tick_params(length=0)
        epochs.grid(False)
    return figure, axes


def _front(points: Sequence[tuple[float, float, Any]]) -> list[tuple[float, float]]:
    """The Pareto front: points that no other point beats in both coordinates."""
    front: list[tuple[float, float]] = []
    for x, y, _ in sorted(points, key=lambda p: p[:2]):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _number(figure: Figure, axes: Any, points: Sequence[tuple[float, float, Any]]) -> None:
    """Writes each point's number in the table beside it, or nowhere if there is no room."""
    figure.draw_without_rendering()
    places = axes.transData.transform([(x, y) for x, y, _ in points]) if points else []
    pixel = figure.dpi / 72
    taken = [tuple(place) for place in places]
    for place, (x, y, row) in zip(places, points, strict=True):
        if "no" not in row:
            continue
        for angle in (0.25, 0.75, 0, 0.5, 1.25, 1.75, 1, 1.5):
            dx, dy = 9.5 * math.cos(angle * math.pi), 9.5 * math.sin(angle * math.pi)
            spot = (place[0] + dx * pixel, place[1] + dy * pixel)
            if all(math.dist(spot, other) > 8.5 * pixel for other in taken):
                axes.annotate(
                    str(row["no"]),
                    (x, y),
                    (dx, dy),
                    textcoords="offset points",
                    fontsize=8,
                    ha="center",
                    va="center",
                    color="#565c66",
                )
                taken.append(spot)
                break
