"""Figures of the report: training curves, candidates, confusion matrix."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from phiscale.report.svg import BLUE, GREY, INK, ORANGE, STYLE, svg
from phiscale.text import printable

MOST_CLASSES = 40  # of a confusion matrix that can still be read
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

    Rows have name, macs, latency_ms, predicted_error, ruled_out and, where the figure refers
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
    out = [p for p in points if p[2].get("ruled_out")]
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
        for group, style, label in (
            (out, {"marker": "x", "color": GREY, "s": 26, "linewidths": 1.4}, "excluded"),
            (fit, {"marker": "o", "color": BLUE, "s": 30}, "within the limits"),
            (best, {"marker": "D", "color": ORANGE, "s": 75, "zorder": 4}, "selected"),
        ):
            if group:
                axes.scatter([p[0] for p in group], [p[1] for p in group], label=label, **style)
        if limit:
            axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="your limit")
        xs = [p[0] for p in points] + ([limit] if limit else [])
        if xs:
            spare = (max(xs) / min(xs)) ** 0.06 * 1.06
            axes.set_xlim(min(xs) / spare, max(xs) * spare)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
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


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str | None:
    """The confusion matrix: rows are true classes and sum to 100 %. None above 40 classes, where
    `worst_pairs` says more."""
    counts = np.asarray(matrix, dtype=float)
    number = len(classes)
    if number > MOST_CLASSES or number < 2:
        return None
    shares = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    cell = min(0.55, max(0.19, 4.6 / number))  # inches
    longest = 22 if number <= 20 else 16
    names = [shortened(name, longest) for name in classes]
    letters = max(map(_columns, names))
    size = max(6.5, min(9.5, cell * 26))
    with rc_context({**STYLE, "axes.grid": False}):
        margin = (0.15 + letters * size * 0.0085, 0.15 + letters * size * 0.0085)
        side = cell * number
        width, height = margin[0] + side + 0.1, margin[1] + side + 0.1
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((margin[0] / width, 0.1 / height, side / width, side / height))
        for level, cells in _levels(shares):
            axes.add_patch(PathPatch(_squares(cells), facecolor=_blue(level), linewidth=0))
        if number <= 20:
            for row, column in np.argwhere(shares >= 0.5):
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{shares[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=min(9.0, cell * 22),
                    color="white" if shares[row, column] > 64 else INK,
                )
        steps = range(number + 1)
        grid = [((0, at), (number, at)) for at in steps] + [((at, 0), (at, number)) for at in steps]
        lines = Outline(
            [p for line in grid for p in line], [Outline.MOVETO, Outline.LINETO] * len(grid)
        )
        axes.add_patch(PathPatch(lines, fill=False, edgecolor="white", linewidth=0.8))
        axes.set(xlim=(0, number), ylim=(number, 0), aspect="equal")
        middles = np.arange(number) + 0.5
        axes.set_xticks(middles, names, rotation=90 if letters > cell * 72 / size / 0.6 else 0)
        axes.set_yticks(middles, names)
        axes.tick_params(length=0, labelsize=size, labelcolor=INK, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        return svg(
            figure, "confusion", "Rows: true class. Columns: predicted class. Per cent of the row"
        )


def worst_pairs(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], most: int = 12
) -> list[dict[str, Any]]:
    """The most frequent confusions: true and predicted class, images, share of the true class."""
    counts = np.asarray(matrix, dtype=np.int64)
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(at), len(classes)) for at in order]
    return [
        {
            "truth": classes[row],
            "predicted": classes[column],
            "images": int(wrong[row, column]),
            "share": float(wrong[row, column] / counts[row].sum()),
        }
        for row, column in pairs
        if wrong[row, column]
    ]


def shortened(name: str, most: int) -> str:
    """The name in at most `most` columns, cut in the middle, since endings differ too."""
    name = printable(name)
    if _columns(name) <= most:
        return name
    ending = (most - 1) // 3
    head = tail = most
    while _columns(name[:head]) > most - 1 - ending:
        head -= 1
    while _columns(name[-tail:]) > ending:
        tail -= 1
    return f"{name[:head].rstrip()}…{name[-tail:].lstrip()}"


def _columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


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


def _levels(shares: NDArray[np.float64]) -> Iterable[tuple[float, NDArray[np.intp]]]:
    """The cells of each shade: one path for each keeps the file small."""
    shade = np.ceil(shares / 2.5).astype(int)  # 0, then steps of 2.5 points
    for level in np.unique(shade):
        yield level / 40, np.argwhere(shade == level)


def _squares(cells: NDArray[np.intp]) -> Outline:
    corners = [
        (c + dx, r + dy) for r, c in cells for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    ]
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners, codes * len(cells))


def _blue(level: float) -> tuple[float, ...]:
    """From nearly white to dark blue; the first step is taken at once, so that few are not none."""
    pale, deep = np.array([0.957, 0.965, 0.976]), np.array([0.03, 0.27, 0.47])
    along = 0 if level == 0 else 0.05 + 0.95 * level
    return tuple(pale + (deep - pale) * along)
