"""Figures of a family and of a comparison of design spaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from phiscale.report.page import Drawing
from phiscale.report.svg import BLUE, INK, ORANGE, STYLE, drawing
from phiscale.search.spaces.family import FamilyMember

SIZE = (6.4, 3.8)  # inches


def error_distributions(errors: Mapping[str, NDArray[np.float64]]) -> Drawing:
    """Draws the error distributions of two spaces. `errors`: sorted fractions, by space."""
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for (name, sorted_errors), colour, line in zip(
            errors.items(), (BLUE, ORANGE), ("-", "--"), strict=True
        ):
            _distribution(axes, sorted_errors, colour)
            x, y = 100 * sorted_errors, _cumulative(sorted_errors)
            axes.step(x, y, line, where="post", color=colour, label=name)
        axes.set(xlabel="validation error, %", ylabel="share of networks with less", ylim=(0, 1))
        axes.legend(frameon=False)
        return drawing(figure, "edf", "Error distribution functions of two design spaces")


def _cumulative(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.arange(1, len(errors) + 1) / len(errors)


def _distribution(axes: Axes, errors: NDArray[np.float64], colour: str) -> None:
    """Draws the band of a distribution function."""
    y, half = _cumulative(errors), band(len(errors))
    axes.fill_between(
        100 * errors,
        np.maximum(0, y - half),
        np.minimum(1, y + half),
        step="post",
        color=colour,
        alpha=0.15,
        linewidth=0,
    )


def band(count: int, level: float = 0.95) -> float:
    """Returns half the height of a band that holds a whole distribution function of `count` draws
    (Massart, Ann. Probab. 1990)."""
    return math.sqrt(math.log(2 / (1 - level)) / (2 * count))


def family_figure(members: Sequence[FamilyMember]) -> Drawing:
    """Draws error against MACs for the members of a family, predicted and measured."""
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        _predictions(axes, members)
        _measurements(axes, members)
        _labels(axes, members)
        axes.set_xscale("log")
        axes.set(xlabel="MACs, millions", ylabel="test error, %")
        axes.legend(frameon=False)
        return drawing(figure, "family", "Error against MACs over phi")


def _predictions(axes: Axes, members: Sequence[FamilyMember]) -> None:
    predictions = [(m.macs / 1e6, *m.predicted) for m in members if m.predicted is not None]
    x, error, low, high = np.array(predictions).T
    axes.fill_between(x, 100 * low, 100 * high, color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(x, 100 * error, "o-", color=BLUE, markersize=3.5, label="predicted")


def _measurements(axes: Axes, members: Sequence[FamilyMember]) -> None:
    measurements = [(m.macs / 1e6, 100 * error) for m in members for error in m.errors]
    if measurements:
        axes.plot(
            [x for x, _ in measurements],
            [y for _, y in measurements],
            "D",
            color=ORANGE,
            markersize=5,
            label="measured, one mark for each seed",
        )


def _labels(axes: Axes, members: Sequence[FamilyMember]) -> None:
    for member in members:
        if member.predicted is not None:
            axes.annotate(
                f"{member.phi:g}",
                (member.macs / 1e6, 100 * member.predicted[0]),
                (0, 6),
                color=INK,
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
