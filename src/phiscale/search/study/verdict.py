"""Is compound scaling better than the best single dimension at equal compute? The statistics of a
scaling study, read by its pre-registered decision rule. Accuracies and differences are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from phiscale.errors import DataError
from phiscale.search.study.contrasts import ArmResults, Contrast, measure_contrast
from phiscale.search.study.equal_compute import accuracy_corrections, describe_unequal
from phiscale.search.study.power import (
    detectable_difference,
    expected_seed_sd,
    required_sample,
    required_seeds_range,
)
from phiscale.search.study.resampling import (
    DRAWS,
    SeedSpread,
    adjust_by_holm,
    measure_spread,
)
from phiscale.search.study.rule import COMPOUND, SINGLES, SampleSize, decide


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """An arm's accuracies, over its seeds."""

    name: str
    accuracy: float  # test, mean over seeds
    seed_sd: float  # of the test accuracy
    validation: float
    compute_ratio: float  # exact MACs over the base's
    correction: float  # accuracy that the arm would gain at the target compute

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {
            "name": self.name,
            "accuracy": self.accuracy,
            "seed_sd": self.seed_sd,
            "validation": self.validation,
            "compute": self.compute_ratio,
            "correction": self.correction,
        }


@dataclass(frozen=True, kw_only=True)
class StudyVerdict:
    """The outcome of a scaling study, as its report and its JSON have it."""

    verdict: str
    primary: Contrast
    contrasts: tuple[Contrast, ...]  # compound minus every other arm
    best_single: str  # on validation
    arms: tuple[ArmSummary, ...]
    seeds: int
    seeds_needed: int
    seeds_needed_range: tuple[int, int]  # as well as these seeds estimate their own variance
    images: int
    images_needed: int
    target_compute: float
    seed_sd: float  # of an accuracy, pooled over arms
    expected_seed_sd: float  # what calibrated classifiers of this error would have
    detectable: float  # at 80 % power with these seeds: the primary contrast
    detectable_holm: float  # each of the three
    unequal: tuple[str, ...]  # arms whose compute is more than 3 % off, a sentence each

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return {**asdict(self), "arms": [arm.to_dict() for arm in self.arms]}


def analyse_study(
    arms: Mapping[str, ArmResults],
    *,
    target_compute: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> StudyVerdict:
    """Analyses all arms of a study, by name; all have the same seeds and test images.

    With `target_compute` (over the base's) and an arm called `base`, accuracies are corrected to
    that compute by a law in MACs through the base and the arms. Matched arms differ by up to 3 %,
    worth some hundredths of a point. The correction's own error is left out.
    DataError: an arm is missing, or differs in seeds or images.
    """
    _check(arms)
    corrections = accuracy_corrections(arms, target_compute)
    spreads = _measure_spreads(arms, corrections)
    contrasts = _measure_contrasts(spreads, draws, seed)
    best = max(SINGLES, key=lambda name: float(np.mean(arms[name].validation)) + corrections[name])
    primary, spread = contrasts[best], spreads[best]
    sample, required = SampleSize(spread.seeds, spread.images), required_sample(spread)
    summaries = tuple(_summarise(name, arm, corrections[name]) for name, arm in arms.items())
    error = 1 - float(np.mean([each.accuracy for each in summaries]))
    target = target_compute or arms[COMPOUND].compute_ratio
    return StudyVerdict(
        verdict=decide(primary.low, primary.high, sample=sample, required=required),
        primary=primary,
        contrasts=tuple(contrasts.values()),
        best_single=best,
        arms=summaries,
        seeds=sample.seeds,
        seeds_needed=required.seeds,
        seeds_needed_range=required_seeds_range(spread),
        images=sample.images,
        images_needed=required.images,
        target_compute=target,
        seed_sd=math.sqrt(float(np.mean([each.seed_sd**2 for each in summaries]))),
        expected_seed_sd=expected_seed_sd(error, sample.images),
        detectable=detectable_difference(spread.standard_error, seeds=sample.seeds),
        detectable_holm=detectable_difference(spread.standard_error, len(SINGLES), sample.seeds),
        unequal=describe_unequal(arms, target),
    )


def _measure_spreads(
    arms: Mapping[str, ArmResults], corrections: Mapping[str, float]
) -> dict[str, SeedSpread]:
    """Compound minus every other arm, at equal compute."""
    return {
        name: _shift(
            measure_spread(arms[COMPOUND].correct, arm.correct),
            corrections[COMPOUND] - corrections[name],
        )
        for name, arm in arms.items()
        if name != COMPOUND
    }


def _shift(spread: SeedSpread, shift: float) -> SeedSpread:
    shifted = tuple(difference + shift for difference in spread.seed_differences)
    return replace(spread, difference=spread.difference + shift, seed_differences=shifted)


def _measure_contrasts(
    spreads: Mapping[str, SeedSpread], draws: int, seed: int
) -> dict[str, Contrast]:
    contrasts = {
        name: measure_contrast(name, spread, draws=draws, seed=seed)
        for name, spread in spreads.items()
    }
    adjusted = adjust_by_holm([contrasts[name].p_value or 0.0 for name in SINGLES])
    for name, p_holm in zip(SINGLES, adjusted, strict=True):
        contrasts[name] = replace(contrasts[name], p_holm=p_holm)
    return contrasts


def _summarise(name: str, arm: ArmResults, correction: float) -> ArmSummary:
    by_seed = np.mean(arm.correct, axis=1)
    return ArmSummary(
        name=name,
        accuracy=float(by_seed.mean()),
        seed_sd=float(by_seed.std(ddof=1)),
        validation=float(np.mean(arm.validation)),
        compute_ratio=float(arm.compute_ratio),
        correction=correction,
    )


def _check(arms: Mapping[str, ArmResults]) -> None:
    if missing := [name for name in (COMPOUND, *SINGLES) if name not in arms]:
        raise DataError(f"the study has no arm {', '.join(missing)}. Train it first.")
    shape = np.shape(arms[COMPOUND].correct)
    for name, arm in arms.items():
        if np.shape(arm.correct) != shape or np.shape(arm.validation) != shape[:1]:
            raise DataError(
                f"arm {name} has predictions {np.shape(arm.correct)} and validation accuracies "
                f"{np.shape(arm.validation)}; {COMPOUND} has {shape} (seeds, images). "
                "Train its missing seeds, or leave out those that not all arms have."
            )
        if not (np.isfinite(arm.validation).all() and arm.compute_ratio > 0):
            raise DataError(
                f"arm {name} has a validation accuracy that is not a number, or "
                f"compute_ratio={arm.compute_ratio:g}. Use fractions, and MACs over the base's."
            )
