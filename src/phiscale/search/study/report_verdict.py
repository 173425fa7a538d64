"""The verdict of a scaling study, its contrasts and its power: sections of its report."""

from __future__ import annotations

from collections.abc import Mapping

from phiscale.report.page import Section
from phiscale.search.study.contrasts import Contrast
from phiscale.search.study.figures import contrasts_figure
from phiscale.search.study.rule import (
    BETTER,
    EQUIVALENT,
    MAX_SEEDS,
    MIN_SEEDS,
    RULE,
    WORSE,
)
from phiscale.search.study.verdict import StudyVerdict

RELATIONS = {BETTER: "better than", WORSE: "worse than", EQUIVALENT: "equivalent to"}


def points(fraction: float) -> str:
    """Writes a difference of accuracies in points, with its sign."""
    return f"{100 * fraction:+.2f}"


def interval(contrast: Contrast) -> str:
    """Writes the interval of a contrast in points."""
    return f"[{points(contrast.low)}, {points(contrast.high)}]"


def verdict_section(verdict: StudyVerdict, scope: str) -> Section:
    """The verdict with its scope, its numbers, and the rule that it was read by."""
    single, primary = verdict.best_single, verdict.primary
    if relation := RELATIONS.get(verdict.verdict):
        statement = f"Compound scaling is {relation} scaling {single} alone; scope: {scope}."
    else:
        statement = f"{verdict.verdict[0].upper()}{verdict.verdict[1:]}. Scope: {scope}."
    return Section(
        title="Verdict",
        text=[
            statement,
            f"Compound minus {single} is {points(primary.difference)} points of test accuracy, "
            f"95 % interval {interval(primary)}, p = {primary.p_value:.3f}. Both have "
            f"{verdict.target_compute:.2f} times the base's MACs. {single.capitalize()} is the "
            "best single dimension on validation. Samples: "
            f"{verdict.seeds} seeds and {verdict.images} test images.",
            RULE,
        ],
    )


def contrasts_section(
    verdict: StudyVerdict, unmatched: Mapping[str, Contrast], scope: str
) -> Section:
    """Compound minus every other arm."""
    contrasts = [*verdict.contrasts, *unmatched.values()]
    rows = [
        {
            "compound minus": each.name,
            "points": points(each.difference),
            "95 % interval": interval(each),
            "p": f"{each.p_value:.3f}" if each.p_value is not None else None,
            "p, Holm": f"{each.p_holm:.3f}" if each.p_holm is not None else None,
        }
        for each in contrasts
    ]
    longer = unmatched.get("longer")
    return Section(
        title="Equal epochs and equal compute",
        rows=rows,
        text=[_equal_training_compute(verdict, longer, scope)] if longer else [],
        figures=[contrasts_figure(contrasts)],
        note="Intervals: two-level bootstrap over seeds and test images, with Student's quantile "
        "for few seeds. p: paired permutation of seeds. Holm's correction: depth, width and "
        "resolution. A law in MACs corrects the arms to equal MACs "
        f"({verdict.target_compute:.2f} times the base's). Arms of different compute are not "
        "corrected.",
    )


def _equal_training_compute(verdict: StudyVerdict, longer: Contrast, scope: str) -> str:
    relation = (
        "better than"
        if longer.low > 0
        else "worse than"
        if longer.high < 0
        else "not significantly different from"
    )
    few = "" if verdict.seeds >= MIN_SEEDS else " These seeds are too few for a verdict."
    return (
        f"At equal training compute, compound is {relation} the base trained "
        f"{verdict.target_compute:.1f} times as long: {points(longer.difference)} points "
        f"{interval(longer)}; scope: {scope}.{few}"
    )


def describe_seeds(verdict: StudyVerdict) -> str:
    """Returns the seeds that would decide the observed difference, and how sure that number is."""
    low, high = verdict.seeds_needed_range
    if low == high:
        return f"{verdict.seeds_needed} seeds"
    most = f"{MAX_SEEDS} or more" if high == MAX_SEEDS else f"{high}"
    return (
        f"{verdict.seeds_needed} seeds (80 % interval {low} to {most}, since {verdict.seeds} seeds "
        "estimate their own variance poorly)"
    )


def power_section(verdict: StudyVerdict) -> Section:
    """The noise of this study, what it can detect, and the sample that it would need."""
    more_images = (
        f" and {verdict.images_needed} test images"
        if verdict.images_needed > verdict.images
        else ""
    )
    text = [
        f"The seed standard deviation is {100 * verdict.seed_sd:.2f} points of accuracy, pooled "
        f"over arms. Calibrated classifiers of this error would have "
        f"{100 * verdict.expected_seed_sd:.2f}.",
        f"With {verdict.seeds} seeds the primary contrast has a standard error of "
        f"{100 * verdict.primary.standard_error:.2f} points. It detects a difference of "
        f"{100 * verdict.detectable:.2f} points with 80 % power. With Holm's correction, each of "
        f"the three detects {100 * verdict.detectable_holm:.2f}.",
        "A difference as large as the observed one needs "
        f"{describe_seeds(verdict)}{more_images} for that power.",
    ]
    if verdict.seeds < MIN_SEEDS:
        text.append(f"With fewer than {MIN_SEEDS} seeds the decision rule is always inconclusive.")
    return Section(title="Power", text=text)
