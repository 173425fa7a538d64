"""The figure of the models: published accuracy against size and against compute."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, Member
from phiscale.arch.families.published import RIVALS
from phiscale.errors import UsageError
from phiscale.report.models import short

_LINES = (  # family, legend, colour, marker, what a label drops of the name
    ("efficientnet", "EfficientNet B0 to B7", "#c1272d", "o", "efficientnet_"),
    ("efficientnetv2", "EfficientNetV2", "#0072b2", "s", "efficientnet"),
    ("efficientnet_lite", "EfficientNet-Lite", "#e69f00", "^", ""),
    ("efficientnet_edgetpu", "EfficientNet-EdgeTPU", "#009e73", "v", ""),
    ("mnasnet", "MnasNet-A1", "#cc79a7", "P", ""),
    ("mobilenetv2", "MobileNetV2", "#56b4e9", "X", ""),
    ("mobilenetv1", "MobileNetV1", "#2f4b7c", "X", ""),
    ("regnetx", "RegNetX", "#b39ac9", "d", ""),
    ("regnety", "RegNetY", "#7b5ea7", "D", ""),
)


def plot(path: Path | str) -> None:
    """Draws top-1 against parameters and against MACs to a .png or .svg file.

    As Figures 1 and 5 of arXiv:1905.11946. UsageError: the path has another ending.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {path.name!r}. Let the name end in .png or .svg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_models().savefig(path, dpi=150)


def draw_models() -> Any:
    """Returns the matplotlib figure of `plot`: two panels with labels that do not overlap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    figure = Figure(figsize=(13, 8), layout="constrained")
    canvas = FigureCanvasAgg(figure)  # measures text, whatever the format
    panels = figure.subplots(1, 2, sharey=True)
    labels = [_draw(panels[0], "params"), _draw(panels[1], "macs")]
    panels[0].set(
        title="accuracy against size", xlabel="parameters", ylabel="published ImageNet top-1, %"
    )
    panels[1].set(title="accuracy against compute", xlabel="MACs per image")
    panels[0].yaxis.set_major_locator(MultipleLocator(2))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    canvas.draw()
    figure.set_layout_engine("none")  # what was measured stays
    for panel, panel_labels in zip(panels, labels, strict=True):
        _place_labels(panel, panel_labels)
    return figure


Label = tuple[float, float, str, str]  # x, y, text, colour


def _draw(panel: Any, quantity: str) -> list[Label]:
    """Draws one panel; returns its labels, to be placed when the size of the panel is known."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    labels: list[Label] = []
    for family, legend, colour, marker, dropped in _LINES:
        line = _line(family)
        xs = [getattr(cost(member.spec), quantity) for member in line]
        ys = [100 * member.published[0].top1 for member in line]
        ours = family == "efficientnet"
        panel.plot(
            xs,
            ys,
            color=colour,
            marker=marker,
            markersize=6 if ours else 4,
            label=legend,
            linewidth=2.2 if ours else 1,
            zorder=4 if ours else 3,
        )
        if dropped:
            names = [member.name.removeprefix(dropped) for member in line]
            names = [n.upper().replace("_", "-") for n in names]
            labels += [(x, y, name, colour) for x, y, name in zip(xs, ys, names, strict=True)]
    for rival in RIVALS:
        x = getattr(rival, quantity)
        if x is not None:
            labels.append((x, 100 * rival.top1, rival.name, "#555555"))
    grey = [label for label in labels if label[3] == "#555555"]
    panel.scatter(
        [x for x, *_ in grey],
        [y for _, y, *_ in grey],
        color="#888888",
        s=22,
        zorder=2,
        label="the paper's rivals",
    )
    panel.set_xscale("log")
    left, right = panel.get_xlim()
    panel.set_xlim(left, 2 * right)  # room for the labels of the largest
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    panel.xaxis.set_minor_locator(LogLocator(subs=()))
    panel.grid(color="#e6e6e6", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    return labels


def _line(family: str) -> list[Member]:
    """A family's models whose figures were made alike, from small to large: a fair line."""
    published = [
        member
        for member in MEMBERS.values()
        if member.family == family and member.published and not member.name.startswith("tf_")
    ]
    first = published[0].published[0]
    alike = (
        member
        for member in published
        if (member.published[0].source, member.published[0].condition)
        == (first.source, first.condition)
    )
    return sorted(alike, key=lambda member: cost(member.spec).macs)


def _place_labels(panel: Any, labels: list[Label]) -> None:
    """Puts each label at the nearest place around its point that nothing else occupies."""
    marks, taken = _marks(panel), []
    points = panel.figure.dpi / 72  # pixels a point
    for x, y, text, colour in labels:
        note = panel.annotate(
            text,
            (x, y),
            (0, 0),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            ha="center",
            va="center",
            zorder=5,
        )
        box = note.get_window_extent().padded(points)
        for dx, dy, gap in _ways(box.width / points, box.height / points):
            moved = box.translated(dx * points, dy * points)
            leader = _boxes(_between(_middle(box), _middle(moved))[6:], 1)  # points may coincide
            free = not moved.count_overlaps(marks) and not moved.count_overlaps(taken)
            if (
                free
                and _within(panel.bbox, moved)
                and not any(each.count_overlaps(taken) for each in leader)
            ):
                note.set_position((dx, dy))
                taken.append(moved)
                if gap > 8:
                    taken += leader[:-5]
                    panel.annotate(
                        "",
                        (x, y),
                        (dx, dy),
                        textcoords="offset points",
                        zorder=1,
                        arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkB": 2},
                    )
                break


def _ways(width: float, height: float) -> list[tuple[float, float, float]]:
    """Offsets of a label's centre, in points, and its gap to the point; near ones first."""
    ways: list[tuple[float, float, float]] = []
    for gap in (4, 6, 9, 13, 18, 24, 31, 39, 48, 58, 70):
        for step in range(16):
            angle = step * pi / 8
            across, up = cos(angle), sin(angle)
            ways.append((across * (gap + width / 2), up * (gap + height / 2), gap))
    return ways


def _marks(panel: Any) -> list[Any]:
    """Small boxes, in pixels, along every line and on every point."""
    marks: list[Any] = []
    for line in panel.lines:
        ends = panel.transData.transform(line.get_xydata())
        marks += _boxes(ends, 5)
        for start, end in pairwise(ends):
            marks += _boxes(_between(start, end), 3)
    for scattered in panel.collections:
        marks += _boxes(panel.transData.transform(scattered.get_offsets()), 4)
    return marks


def _between(start: Any, end: Any) -> list[tuple[float, float]]:
    parts = [part / 24 for part in range(25)]
    return [
        (start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]))
        for part in parts
    ]


def _boxes(centres: Iterable[Any], half: float) -> list[Any]:
    from matplotlib.transforms import Bbox

    return [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in centres]


def _middle(box: Any) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _within(outer: Any, inner: Any) -> bool:
    return (
        outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )
