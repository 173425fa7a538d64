"""Figures of a scaling study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import stdtrit

from phiscale.planning.laws import LawRow
from phiscale.planning.laws.points import points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.report.page import Drawing, Section
from phiscale.report.svg import BLUE, GOLD, GREEN, GREY, INK, ORANGE, PURPLE, SKY, STYLE, drawing
from phiscale.search.study.plan import OTHER, SINGLE, Outcome, ScalingStudy
from phiscale.search.study.verdict import ArmSummary, Contrast, StudyVerdict

COLOURS = {
    "base": INK,
    "depth": BLUE,
    "width": GREEN,
    "resolution": PURPLE,
    "compound": ORANGE,
    "symmetric": GOLD,
    "inverse": SKY,
}
ON_WIDTHS = ("base", "depth", "resolution", "compound")  # where widening is drawn
MARKS = {
    "base": "s",
    "depth": "v",
    "width": "^",
    "resolution": "D",
    "compound": "o",
    "symmetric": "P",
    "inverse": "X",
}


def figure_sections(plan: ScalingStudy, outcome: Outcome, settled: StudyVerdict) -> list[Section]:
    """The paper's figures 8, 3 and 4 from the arms of this study."""
    found = [
        Section(
            title="One dimension or all of them (the paper's figure 8)",
            figures=[_arms_figure(plan, settled)],
        )
    ]
    law = _study_law(plan, outcome)
    if law is None:
        return found
    said = (
        "Points are trained arms, with the 95 % interval of their mean over seeds; lines are the "
        "error law through all arms of this study, with its 95 % interval: between points they say "
        "what it would predict, not what was measured. In the law no dimension does harm, so that "
        "it cannot follow an arm below the base."
    )
    return [
        *found,
        Section(
            title="Scaling one dimension (the paper's figure 3)",
            text=[said],
            figures=[_single_figure(plan, settled, law)],
        ),
        Section(
            title="Width on other bases (the paper's figure 4)",
            text=[
                "The law adds up its terms, so that by it widening is worth the same points "
                "on every base; that the paper's curves are steeper on larger ones is for "
                "the points to show."
            ],
            figures=[_width_figure(plan, settled, law)],
        ),
    ]


def _study_law(plan: ScalingStudy, outcome: Outcome) -> Posterior | None:
    """The error law of depth, width and resolution through all arms of equal epochs, on test."""
    rows = {  # by training: arms that are one network have theirs in common
        run.key: LawRow(
            name=run.name,
            depth=arm.by.depth,
            width=arm.by.width,
            resolution=arm.by.resolution,
            error=run.test_error,
        )
        for arm in plan.arms
        if arm.name not in OTHER
        for run in outcome.of(arm.name)
        if run.test_error is not None
    }
    if len({(r.depth, r.width, r.resolution) for r in rows.values()}) < 5:
        return None
    return posterior(points_of(rows.values()), source="the arms of this study")


def _arms_figure(plan: ScalingStudy, settled: StudyVerdict) -> Drawing:
    """Accuracy against exact MACs: a line from the base to each arm, bars of 95 % of the mean."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        base = next(arm for arm in settled.arms if arm.name == "base")
        for arm in settled.arms:
            if arm.name != "base":
                y = [100 * base.accuracy, 100 * arm.accuracy]
                axes.plot([1.0, arm.compute], y, "-", color=COLOURS[arm.name], linewidth=1.2)
            _measured(axes, arm.compute, arm, settled.seeds)
        axes.set_xscale("log")
        _times(axes, [1, 2, settled.target_compute])
        axes.set(xlabel="MACs over the base's", ylabel="test top-1, %")
        axes.legend(frameon=False)
        return drawing(figure, "arms", "Test accuracy against MACs for each arm")


def contrasts_figure(contrasts: Sequence[Contrast]) -> Drawing:
    """Compound minus each other arm, with its 95 % interval, and the margin of no difference."""
    with rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(6.4, 0.7 + 0.36 * len(contrasts)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-0.3, 0.3, color="#e8eaed", linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, each in enumerate(reversed(contrasts)):
            middle = 100 * each.difference
            axes.errorbar(
                middle,
                place,
                xerr=[[middle - 100 * each.low], [100 * each.high - middle]],
                fmt="o",
                color=COLOURS.get(each.name, GREY),
                capsize=3,
            )
        axes.set_yticks(range(len(contrasts)), [each.name for each in reversed(contrasts)])
        axes.set_xlabel("compound minus this arm, points of test top-1")
        return drawing(figure, "contrasts", "Compound minus each other arm with 95 % intervals")


def _single_figure(plan: ScalingStudy, settled: StudyVerdict, law: Posterior) -> Drawing:
    """A panel for each dimension: the law's line and interval, and what was trained on it."""
    of = {arm.name: arm for arm in settled.arms}
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3, sharey=True), SINGLE, strict=True):
            [arm] = [arm for arm in plan.arms if arm.name == name] or [None]
            end = getattr(arm.by, name) if arm else 2.0
            x = np.geomspace(1, end, 40)
            at = np.ones((len(x), 3))
            at[:, SINGLE.index(name)] = x
            _law_line(axes, x, law, at, COLOURS[name])
            for each, place in (("base", 1.0), (name, end)):
                if each in of:
                    _measured(axes, place, of[each], settled.seeds)
            axes.set_xscale("log")
            _times(axes, [1, math.sqrt(end), end])
            axes.set(xlabel=f"{name} over the base's")
        figure.axes[0].set_ylabel("test top-1, %")
        return drawing(figure, "single", "Accuracy against depth, width and resolution alone")


def _width_figure(plan: ScalingStudy, settled: StudyVerdict, law: Posterior) -> Drawing:
    """What widening gives at the depth and resolution of the arms: a line by the law for each, and
    every arm that was trained on it."""
    of = {arm.name: arm for arm in settled.arms}
    places = {arm.name: arm.by for arm in plan.arms if arm.name in of}
    bases = {(by.depth, by.resolution): None for name, by in places.items() if name in ON_WIDTHS}
    w = np.geomspace(1, max(2.0, *(by.width for by in places.values())), 30)
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for (d, r), line in zip(bases, ("-", "--", "-.", ":"), strict=False):
            at = np.column_stack([np.full_like(w, d), w, np.full_like(w, r)])
            on_it = [n for n, by in places.items() if (by.depth, by.resolution) == (d, r)]
            colour = next((COLOURS[name] for name in on_it if name in ON_WIDTHS), GREY)
            axes.plot(
                d * w**2 * r**2,
                100 - 100 * np.asarray(law.predict(at).error),
                line,
                color=colour,
                label=f"law: depth x{d:.3g}, resolution x{r:.3g}",
            )
            for name in on_it:
                by = places[name]
                macs = by.depth * by.width**2 * by.resolution**2
                _measured(axes, macs, of[name], settled.seeds)
        axes.set_xscale("log")
        _times(axes, [1, 2, 4, 8, 16])
        axes.set(xlabel="d w² r² over the base's", ylabel="test top-1, %")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        return drawing(figure, "width", "What widening gives at other depths and resolutions")


def _measured(axes: Axes, x: float, arm: ArmSummary, seeds: int) -> None:
    """A trained arm, with the 95 % interval of its mean over seeds."""
    reach = float(stdtrit(seeds - 1, 0.975)) / math.sqrt(seeds)
    axes.errorbar(
        x,
        100 * arm.accuracy,
        100 * reach * arm.seed_sd,
        fmt=MARKS[arm.name],
        color=COLOURS[arm.name],
        label=arm.name,
        markersize=6,
        capsize=3,
    )


def _law_line(axes: Axes, x: Any, law: Posterior, at: Any, colour: str) -> None:
    found = law.predict(at)
    low, high = found.expected_interval
    axes.fill_between(x, 100 - 100 * high, 100 - 100 * low, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, 100 - 100 * found.error, color=colour)


def _times(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"x{value:.3g}"))
