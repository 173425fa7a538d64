"""The confusion matrix of the report, as a figure and as its most frequent confusions."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from phiscale.report.svg import INK, STYLE, svg
from phiscale.text import count_of, printable

MOST_CLASSES = 40  # of a confusion matrix that can still be read
MOST_TITLES = 200  # cells whose count a browser shows on hover


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
        said = "Rows: true class. Columns: predicted class. Per cent of the row"
        markup = svg(figure, "confusion", said)
        titles = _titles(np.asarray(matrix), classes, corner=(margin[0], 0.1), cell=cell)
        return markup.replace("</svg>", f"{titles}</svg>")


def _titles(
    counts: NDArray[np.int64],
    classes: Sequence[str],
    *,
    corner: tuple[float, float],
    cell: float,
) -> str:
    """Returns invisible squares over the cells with images: a browser shows their counts on hover.

    Of many classes only the cells with the most images have one, so that the page stays small.
    `corner` is the upper left one of the matrix; it and `cell` are in inches, of 72 units each.
    """
    x, y = corner
    return "".join(
        f'<rect x="{72 * (x + column * cell):.1f}" y="{72 * (y + row * cell):.1f}" '
        f'width="{72 * cell:.1f}" height="{72 * cell:.1f}" fill-opacity="0"><title>'
        f"{html.escape(_hover(counts, classes, int(row), int(column)))}</title></rect>"
        for row, column in _fullest(counts)
    )


def _fullest(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Returns row and column of the cells with the most images: (cells, 2)."""
    cells = np.argwhere(counts > 0)
    order = np.argsort(-counts[tuple(cells.T)], kind="stable")
    return cells[np.sort(order[:MOST_TITLES])]


def _hover(counts: NDArray[np.int64], classes: Sequence[str], row: int, column: int) -> str:
    truth, predicted = (printable(classes[at]) for at in (row, column))
    number, total = int(counts[row, column]), int(counts[row].sum())
    return f"true {truth}, predicted {predicted}: {number} of {count_of(total, 'image')}"


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
