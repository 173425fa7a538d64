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
from phiscale.search.study.arms import UNMATCHED
from phiscale.search.study.contrasts import Contrast
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.search.study.rule import MARGIN, SINGLES
from phiscale.search.study.verdict import ArmSummary, StudyVerdict

COLOURS = {
    "base": INK,
    "depth": BLUE,
    "width": GREEN,
    "resolution": PURPLE,
    "compound": ORANGE,
    "symmetric": GOLD,
    "inverse": SKY,
}
WIDTH_CURVES = ("base", "depth", "resolution", "compound")  # whose depth and resolution get a curve
MARKS = {
    "base": "s",
    "depth": "v",
    "width": "^",
    "resolution": "D",
    "compound": "o",
    "symmetric": "P",
    "inverse": "X",
}


def figure_sections(plan: ScalingStudy, outcome: Outcome, verdict: StudyVerdict) -> list[Section]:
    """The paper's Figures 8, 3 and 4 from the arms of this study."""
    arms = Section(
        title="One dimension or all of them (the paper's Figure 8)",
        figures=[_arms_figure(verdict)],
    )
    law = _study_law(plan, outcome)
    if law is None:
        return [arms]
    return [
        arms,
        Section(
            title="Scaling one dimension (the paper's Figure 3)",
            text=[
                "Points are trained arms, with the 95 % interval of their mean over seeds. Lines "
                "are the error law through all arms of this study, with its 95 % interval. "
                "Between points the law is a prediction, not a measurement. The law allows no "
                "dimension to increase the error, so it cannot follow an arm below the base."
            ],
            figures=[_single_figure(plan, verdict, law)],
        ),
        Section(
            title="Width on other bases (the paper's Figure 4)",
            text=[
                "The law is a sum of terms, so its gain from width is the same on every base. "
                "Whether curves are steeper on larger bases, as in the paper, only the points can "
                "show."
            ],
            figures=[_width_figure(plan, verdict, law)],
        ),
    ]


def _study_law(plan: ScalingStudy, outcome: Outcome) -> Posterior | None:
    """The error law of depth, width and resolution through all arms of equal epochs, on test."""
    rows = {  # by key: arms that are one network share their runs
        run.key: LawRow(
            name=run.name,
            depth=arm.network.by.depth,
            width=arm.network.by.width,
            resolution=arm.network.by.resolution,
            error=run.test_error,
        )
        for arm in plan.arms
        if arm.name not in UNMATCHED
        for run in outcome.of(arm.name)
        if run.test_error is not None
    }
    if len({(r.depth, r.width, r.resolution) for r in rows.values()}) < 5:
        return None
    return posterior(points_of(rows.values()), source="the arms of this study")


def _arms_figure(verdict: StudyVerdict) -> Drawing:
    """Accuracy against exact MACs: a line from the base to each arm, bars of 95 % of the mean."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        base = next(arm for arm in verdict.arms if arm.name == "base")
        for arm in verdict.arms:
            if arm.name != "base":
                y = [100 * base.accuracy, 100 * arm.accuracy]
                axes.plot([1.0, arm.compute_ratio], y, "-", color=COLOURS[arm.name], linewidth=1.2)
            _draw_arm(axes, arm.compute_ratio, arm, verdict.seeds)
        axes.set_xscale("log")
        _label_multiples(axes, [1, 2, verdict.target_compute])
        axes.set(xlabel="MACs over the base's", ylabel="test top-1, %")
        axes.legend(frameon=False)
        return drawing(figure, "arms", "Test accuracy against MACs for each arm")


def contrasts_figure(contrasts: Sequence[Contrast]) -> Drawing:
    """Compound minus each other arm, with its 95 % interval, and the margin of equivalence."""
    with rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(6.4, 0.7 + 0.36 * len(contrasts)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-100 * MARGIN, 100 * MARGIN, color="#e8eaed", linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, each in enumerate(reversed(contrasts)):
            middle = 100 * each.difference
            axes.errorbar(
                middle,
                row,
                xerr=[[middle - 100 * each.low], [100 * each.high - middle]],
                fmt="o",
                color=COLOURS.get(each.name, GREY),
                capsize=3,
            )
        axes.set_yticks(range(len(contrasts)), [each.name for each in reversed(contrasts)])
        axes.set_xlabel("compound minus this arm, points of test top-1")
        return drawing(figure, "contrasts", "Compound minus each other arm with 95 % intervals")


def _single_figure(plan: ScalingStudy, verdict: StudyVerdict, law: Posterior) -> Drawing:
    """A panel for each dimension: the law's line with its interval, and the arms on it."""
    summaries = {arm.name: arm for arm in verdict.arms}
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        for axes, name in zip(figure.subplots(1, 3, sharey=True), SINGLES, strict=True):
            [arm] = [arm for arm in plan.arms if arm.name == name] or [None]
            end = getattr(arm.network.by, name) if arm else 2.0
            x = np.geomspace(1, end, 40)
            at = np.ones((len(x), 3))
            at[:, SINGLES.index(name)] = x
            _draw_law(axes, x, law, at, COLOURS[name])
            for each, multiplier in (("base", 1.0), (name, end)):
                if each in summaries:
                    _draw_arm(axes, multiplier, summaries[each], verdict.seeds)
            axes.set_xscale("log")
            _label_multiples(axes, [1, math.sqrt(end), end])
            axes.set(xlabel=f"{name} over the base's")
        figure.axes[0].set_ylabel("test top-1, %")
        return drawing(figure, "single", "Accuracy against depth, width and resolution alone")


def _width_figure(plan: ScalingStudy, verdict: StudyVerdict, law: Posterior) -> Drawing:
    """Accuracy over width, for each depth and resolution of the arms: the law's line, and every arm
    on it."""
    summaries = {arm.name: arm for arm in verdict.arms}
    scalings = {arm.name: arm.network.by for arm in plan.arms if arm.name in summaries}
    bases = {
        (by.depth, by.resolution): None for name, by in scalings.items() if name in WIDTH_CURVES
    }
    w = np.geomspace(1, max(2.0, *(by.width for by in scalings.values())), 30)
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for (d, r), line in zip(bases, ("-", "--", "-.", ":"), strict=False):
            at = np.column_stack([np.full_like(w, d), w, np.full_like(w, r)])
            on_it = [n for n, by in scalings.items() if (by.depth, by.resolution) == (d, r)]
            colour = next((COLOURS[name] for name in on_it if name in WIDTH_CURVES), GREY)
            axes.plot(
                d * w**2 * r**2,
                100 - 100 * np.asarray(law.predict(at).error),
                line,
                color=colour,
                label=f"law: depth x{d:.3g}, resolution x{r:.3g}",
            )
            for name in on_it:
                by = scalings[name]
                macs = by.depth * by.width**2 * by.resolution**2
                _draw_arm(axes, macs, summaries[name], verdict.seeds)
        axes.set_xscale("log")
        _label_multiples(axes, [1, 2, 4, 8, 16])
        axes.set(xlabel="d w² r² over the base's", ylabel="test top-1, %")
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        return drawing(figure, "width", "Gain from width at other depths and resolutions")


def _draw_arm(axes: Axes, x: float, arm: ArmSummary, seeds: int) -> None:
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


def _draw_law(axes: Axes, x: Any, law: Posterior, at: Any, colour: str) -> None:
    prediction = law.predict(at)
    low, high = prediction.expected_interval
    axes.fill_between(x, 100 - 100 * high, 100 - 100 * low, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, 100 - 100 * prediction.error, color=colour)


def _label_multiples(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"x{value:.3g}"))
