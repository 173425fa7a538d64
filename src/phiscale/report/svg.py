"""Figures as small SVG strings to stand inside HTML: no script, no font, no link.

The same numbers give the same string. Colours are Okabe and Ito's, which the colour-blind tell
apart; nothing depends on colour alone.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogFormatterMathtext

from phiscale.report.page import Drawing

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#8a8f98", "#23272e"
GREEN, SKY, PURPLE, GOLD = "#009e73", "#56b4e9", "#cc79a7", "#e69f00"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "phiscale",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": "#565c66",
    "ytick.color": "#565c66",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8eaed",
    "axes.axisbelow": True,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


def drawing(figure: Figure, name: str, described: str) -> Drawing:
    """Returns a figure for a page; `described` is its text for those who do not see it."""
    return Drawing(name, described, svg(figure, name, described))


def svg(figure: Figure, name: str, described: str) -> str:
    """Returns a figure as markup for HTML: prefixed ids, no namespaces, no metadata."""
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
        _write_plain_ticks(axes)
    text = io.StringIO()
    with any_letters():
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(text, metadata=nothing)
    root = ElementTree.fromstring(text.getvalue())
    used = set(re.findall(r"(?:url\(#|href=\"#)([\w-]+)", text.getvalue()))
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}style", "}metadata")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = key.rpartition("}")[2]
            if key == "id" and value not in used:
                continue
            element.set(key, _attribute(key, value, name))
    width, height = (float(part) for part in root.get("viewBox", "").split()[2:])
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "role": "img",
        "aria-label": described,
        "width": f"{width * 4 / 3:.0f}",
        "height": f"{height * 4 / 3:.0f}",
        "stroke-linejoin": "round",
    }
    for element in root.iter():
        if element.tag != "text":
            element.text = (element.text or "").strip()
        element.tail = ""
    return ElementTree.tostring(root, encoding="unicode")


class _PlainLogFormatter(LogFormatter):
    """Labels the ticks that matplotlib would, with plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _write_plain_ticks(axes: Axes) -> None:
    """Replaces powers in TeX, which a log axis has by default and which nothing here typesets."""
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(_PlainLogFormatter())
        if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(_PlainLogFormatter())


@contextmanager
def any_letters() -> Iterator[None]:
    """Silences warnings of letters that matplotlib's font lacks: the page's fonts have more."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*missing from font")
        yield


def _attribute(key: str, value: str, name: str) -> str:
    match key:
        case "id":
            return f"{name}-{value}"
        case "href":
            return value.replace("#", f"#{name}-", 1)
        case "style":
            value = re.sub(r" ?font-family: [^;]*;?", "", value)
            return value.replace("url(#", f"url(#{name}-")
        case "d" | "transform" | "x" | "y":
            value = re.sub(
                r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), value
            )
            return " ".join(value.split())
        case _:
            return value.replace("url(#", f"url(#{name}-")
