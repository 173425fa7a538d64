"""Does compound scaling beat the best single dimension at equal compute? The verdict of a study.

The rule stands before the numbers: at least 7 seeds; then the 95 % interval of compound minus the
best single dimension, which is picked on validation, lies above 0, below 0 or within 0.3 point;
else the study says how many seeds it lacks. Accuracies and differences are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import chdtri, ndtri, stdtrit

from phiscale.errors import DataError
from phiscale.planning.laws import Term
from phiscale.search.study.resampling import (
    DRAWS,
    LEVEL,
    MOST_SEEDS,
    POWER,
    SeedSpread,
    bootstrap_interval,
    detectable,
    expected_seed_sd,
    holm,
    sign_flip,
    spread,
)

FEWEST_SEEDS = 7
MARGIN = 0.003  # 0.3 point either way is no difference to anyone
SINGLES = ("depth", "width", "resolution")
COMPUTE_EXPONENT = 0.5  # of error in MACs: EfficientNet's published rows have 0.51 to 0.59
RANGE = 0.8  # level of the range of seeds needed


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmResults:
    """What one way of scaling answered."""

    correct: Any  # bool (seeds, images): the test set
    validation: Any  # (seeds,): accuracy on the validation split, a fraction
    compute: float = 1.0  # exact MACs over the base's


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    name: str
    accuracy: float  # test, mean over seeds
    seed_sd: float  # of the test accuracy
    validation: float
    compute: float
    correction: float  # accuracy that it would have more at the target's compute


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Compound minus another arm, at equal compute."""

    name: str
    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float | None  # permutation over seeds; None where none was made
    p_holm: float | None  # among the three single dimensions


@dataclass(frozen=True, kw_only=True)
class StudyVerdict:
    """The outcome of a scaling study, as its report and its JSON tell it."""

    verdict: str
    primary: Contrast
    contrasts: tuple[Contrast, ...]  # compound minus every other arm
    best_single: str  # on validation
    arms: tuple[ArmSummary, ...]
    seeds: int
    seeds_needed: int
    seeds_needed_range: tuple[int, int]  # as far as these seeds tell how much seeds vary
    images: int
    images_needed: int
    target_compute: float
    seed_sd: float  # of an accuracy, pooled over arms
    expected_seed_sd: float  # what calibrated classifiers of this error would have
    detectable: float  # at 80 % power with these seeds: the primary contrast
    detectable_holm: float  # each of the three
    unequal: tuple[str, ...]  # arms whose compute is more than 3 % off, in words

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def settle(
    arms: Mapping[str, ArmResults],
    *,
    compound: str = "compound",
    singles: Sequence[str] = SINGLES,
    base: str = "base",
    target_compute: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> StudyVerdict:
    """The verdict over all arms of a study, by name; same seeds and images in all of them.

    With `target_compute` (over the base's) and an arm called `base`, accuracies are brought to that
    compute by the slope of a law in MACs through the base and the arms (`compute_law`): matched
    arms still differ by up to 3 %, worth some hundredths of a point. Its own error is left out.
    DataError: an arm is missing, or differs in seeds or images.
    """
    _check(arms, (compound, *singles), compound)
    corrections = _corrections(arms, base, target_compute)
    spreads = {
        name: _shifted(
            spread(arms[compound].correct, arm.correct), corrections[compound] - corrections[name]
        )
        for name, arm in arms.items()
        if name != compound
    }
    contrasts = {name: _contrast(name, each, draws, seed) for name, each in spreads.items()}
    adjusted = holm([contrasts[name].p_value or 0.0 for name in singles])
    for name, p_holm in zip(singles, adjusted, strict=True):
        contrasts[name] = replace(contrasts[name], p_holm=p_holm)
    best = max(singles, key=lambda name: float(np.mean(arms[name].validation)) + corrections[name])
    primary, of = contrasts[best], spreads[best]
    seeds_needed, images_needed = needed(of)
    summaries = tuple(_summary(name, arm, corrections[name]) for name, arm in arms.items())
    error = 1 - float(np.mean([each.accuracy for each in summaries]))
    return StudyVerdict(
        verdict=verdict(
            primary.low,
            primary.high,
            seeds=of.seeds,
            seeds_needed=seeds_needed,
            images=of.images,
            images_needed=images_needed,
        ),
        primary=primary,
        contrasts=tuple(contrasts.values()),
        best_single=best,
        arms=summaries,
        seeds=of.seeds,
        seeds_needed=seeds_needed,
        seeds_needed_range=needed_range(of),
        images=of.images,
        images_needed=images_needed,
        target_compute=target_compute or arms[compound].compute,
        seed_sd=math.sqrt(float(np.mean([each.seed_sd**2 for each in summaries]))),
        expected_seed_sd=expected_seed_sd(error, of.images),
        detectable=detectable(of.standard_error, seeds=of.seeds),
        detectable_holm=detectable(of.standard_error, len(singles), of.seeds),
        unequal=unequal(arms, base, target_compute or arms[compound].compute),
    )


def verdict(
    low: float,
    high: float,
    *,
    seeds: int,
    seeds_needed: int,
    images: int = 0,
    images_needed: int = 0,
) -> str:
    """What the interval of the primary contrast says. Fixed in advance, read in this order."""
    undecided = f"undecided: need S'={seeds_needed} seeds"
    if images_needed > images:
        undecided += f" and {images_needed} test images"
    if seeds < FEWEST_SEEDS:
        return undecided
    if low > 0:
        return "benefit"
    if high < 0:
        return "harm"
    if low >= -MARGIN and high <= MARGIN:
        return "no benefit"
    return undecided


def needed(of: SeedSpread) -> tuple[int, int]:
    """The fewest seeds, and images, that settle a difference like this one with 80 % power.

    If the difference is what it seems, its interval then leaves 0 out or stays within the margin.
    Where the test images alone are too few for that, no number of seeds is enough: seeds and images
    then get half of the variance each.
    """
    images = of.images
    if not _settles(of, MOST_SEEDS, images):
        reach, certain = _reach(of)
        enough = 2 * of.image_variance * (certain / reach) ** 2
        images = max(images, math.ceil(enough))
    return _seeds(of, images), images


def needed_range(of: SeedSpread) -> tuple[int, int]:
    """The seeds needed, with `needed`'s images, if the variance between seeds is at either end of
    its 80 % interval (chi-square): few seeds hardly tell it."""
    freedom, tail, images = of.seeds - 1, (1 - RANGE) / 2, needed(of)[1]
    low, high = (
        _seeds(replace(of, seed_variance=of.seed_variance * freedom / chdtri(freedom, p)), images)
        for p in (tail, 1 - tail)
    )
    return low, high


def _seeds(of: SeedSpread, images: int) -> int:
    every = range(FEWEST_SEEDS, MOST_SEEDS)
    return next((seeds for seeds in every if _settles(of, seeds, images)), MOST_SEEDS)


def _settles(of: SeedSpread, seeds: int, images: int) -> bool:
    reach, certain = _reach(of)
    normal = float(ndtri((1 + LEVEL) / 2))
    quantile = certain - normal + float(stdtrit(seeds - 1, (1 + LEVEL) / 2))
    seed_part = quantile**2 * of.seed_variance / seeds
    return seed_part + certain**2 * of.image_variance / images <= reach**2


def _reach(of: SeedSpread) -> tuple[float, float]:
    """How far the interval may reach from the difference for a verdict, and how many standard
    errors that must be. To stay within the margin it may fail on either side, so that each gets
    half of what power leaves: exact at no difference, cautious beside it."""
    away, inside = abs(of.difference), MARGIN - abs(of.difference)
    power = POWER if away >= inside else (1 + POWER) / 2
    return max(away, inside), float(ndtri((1 + LEVEL) / 2) + ndtri(power))


def compute_law(base_error: float, error: float, compute: float) -> Term:
    """The term A C^-p of a law in MACs through the base (C = 1) and the arms at `compute`.

    Two computes cannot tell an exponent, so it is the published one. No gain, no term.
    """
    if compute == 1 or error >= base_error:
        return Term(0.0, COMPUTE_EXPONENT)
    return Term((base_error - error) / (1 - compute**-COMPUTE_EXPONENT), COMPUTE_EXPONENT)


def macs_correction(law: Term, compute: float, target_compute: float) -> float:
    """The accuracy that an arm of `compute` would have more at `target_compute`."""
    return float(law(compute) - law(target_compute))


def unequal(
    arms: Mapping[str, ArmResults], base: str, target_compute: float, tolerance: float = 0.03
) -> tuple[str, ...]:
    """Arms that no correction makes comparable, a sentence each: what they win may be compute."""
    return tuple(
        f"{name} has {arm.compute / target_compute:.0%} of the compute it is compared at"
        for name, arm in arms.items()
        if name != base and abs(math.log(arm.compute / target_compute)) > math.log1p(tolerance)
    )


def _corrections(
    arms: Mapping[str, ArmResults], base: str, target_compute: float | None
) -> dict[str, float]:
    if target_compute is None or base not in arms:
        return dict.fromkeys(arms, 0.0)
    scaled = [1 - float(np.mean(arm.correct)) for name, arm in arms.items() if name != base]
    law = compute_law(
        1 - float(np.mean(arms[base].correct)), float(np.mean(scaled)), target_compute
    )
    return {
        name: 0.0 if name == base else macs_correction(law, arm.compute, target_compute)
        for name, arm in arms.items()
    }


def _shifted(of: SeedSpread, shift: float) -> SeedSpread:
    moved = tuple(each + shift for each in of.seed_differences)
    return replace(of, difference=of.difference + shift, seed_differences=moved)


def _contrast(name: str, of: SeedSpread, draws: int, seed: int) -> Contrast:
    low, high = bootstrap_interval(of, draws=draws, seed=seed)
    return Contrast(
        name=name,
        difference=of.difference,
        low=low,
        high=high,
        standard_error=of.standard_error,
        p_holm=None,
        p_value=sign_flip(of.seed_differences, seed=seed),
    )


def _summary(name: str, arm: ArmResults, correction: float) -> ArmSummary:
    by_seed = np.mean(arm.correct, axis=1)
    return ArmSummary(
        name=name,
        accuracy=float(by_seed.mean()),
        seed_sd=float(by_seed.std(ddof=1)),
        validation=float(np.mean(arm.validation)),
        compute=float(arm.compute),
        correction=correction,
    )


def _check(arms: Mapping[str, ArmResults], wanted: Sequence[str], compound: str) -> None:
    if missing := [name for name in wanted if name not in arms]:
        raise DataError(f"the study has no arm {', '.join(missing)}. Train it, or name another.")
    shape = np.shape(arms[compound].correct)
    for name, arm in arms.items():
        if np.shape(arm.correct) != shape or np.shape(arm.validation) != shape[:1]:
            raise DataError(
                f"arm {name} has answers {np.shape(arm.correct)} and validation "
                f"{np.shape(arm.validation)}, {compound} has {shape} (seeds, images). "
                "Finish its seeds, or leave those out that not all arms have."
            )
        if not (np.isfinite(arm.validation).all() and arm.compute > 0):
            raise DataError(
                f"arm {name} has a validation accuracy that is no number, or compute "
                f"{arm.compute:g}. Give fractions, and MACs over the base's."
            )
