"""Power of a scaling study: the noise to expect, what it can detect, and the sample it needs."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from scipy.special import chdtri, ndtri, stdtrit

from phiscale.errors import DataError
from phiscale.search.study.resampling import SeedSpread
from phiscale.search.study.rule import (
    LEVEL,
    MARGIN,
    MAX_SEEDS,
    MIN_SEEDS,
    POWER,
    SampleSize,
)

RANGE_LEVEL = 0.8  # of the range of required seeds


def expected_seed_sd(error: float, images: int) -> float:
    """Returns the seed standard deviation of a test accuracy, for calibrated classifiers.

    It is sqrt(error / 2n), after Jordan, arXiv:2304.01910. Short trainings have up to three times
    as much.
    """
    return math.sqrt(error / (2 * images))


def expected_standard_error(
    seed_sd: float, seeds: int, images: int, image_sd: float = 0.16
) -> float:
    """Returns the standard error of a difference of two arms' means: sqrt(2 sd^2 / S + tau^2 / n).

    `image_sd` (tau): standard deviation over images of the difference in their rate of success;
    0.12 to 0.20 is usual.
    """
    return math.sqrt(2 * seed_sd**2 / seeds + image_sd**2 / images)


def detectable_difference(
    standard_error: float, contrasts: int = 1, seeds: int | None = None
) -> float:
    """Returns the true difference that is detected with 80 % power.

    It is 2.8 standard errors, or 3.2 with Holm's correction for three contrasts. With `seeds`,
    Student's quantile allows for a standard error that few seeds estimate: 3.3 at 7 seeds.
    """
    tail = 1 - (1 - LEVEL) / 2 / contrasts
    quantile = float(ndtri(tail)) if seeds is None else float(stdtrit(seeds - 1, tail))
    return standard_error * (quantile + float(ndtri(POWER)))


def seeds_to_detect(
    difference: float, seed_sd: float, images: int, *, contrasts: int = 1, image_sd: float = 0.16
) -> int | None:
    """Returns the fewest seeds that detect `difference`, or None.

    None: more than a thousand seeds, or more images, are needed. DataError: `difference` is 0.
    """
    if not difference:
        raise DataError(
            "difference=0 cannot be detected. Use the smallest difference that matters."
        )
    error = partial(expected_standard_error, seed_sd, images=images, image_sd=image_sd)
    candidates = range(2, MAX_SEEDS + 1)
    return next(
        (s for s in candidates if detectable_difference(error(s), contrasts, s) <= abs(difference)),
        None,
    )


def required_sample(spread: SeedSpread) -> SampleSize:
    """Returns the smallest sample that decides a difference like this one with 80 % power.

    If the true difference is the observed one, its interval then excludes 0 or stays within the
    margin. Where no number of seeds is enough with these test images, more images are required:
    seeds and images then contribute half of the variance each.
    """
    images = spread.images
    if not _decides(spread, MAX_SEEDS, images):
        reach, errors = _reach(spread)
        images = max(images, math.ceil(2 * spread.image_variance * (errors / reach) ** 2))
    return SampleSize(_fewest_seeds(spread, images), images)


def required_seeds_range(spread: SeedSpread) -> tuple[int, int]:
    """Returns the required seeds at both ends of an 80 % interval of the seed variance.

    The interval is chi-square's: few seeds estimate their own variance poorly. The images are those
    of `required_sample`.
    """
    freedom, tail = spread.seeds - 1, (1 - RANGE_LEVEL) / 2
    images = required_sample(spread).images
    low, high = (
        _fewest_seeds(
            replace(spread, seed_variance=spread.seed_variance * freedom / chdtri(freedom, p)),
            images,
        )
        for p in (tail, 1 - tail)
    )
    return low, high


def _fewest_seeds(spread: SeedSpread, images: int) -> int:
    candidates = range(MIN_SEEDS, MAX_SEEDS)
    return next((seeds for seeds in candidates if _decides(spread, seeds, images)), MAX_SEEDS)


def _decides(spread: SeedSpread, seeds: int, images: int) -> bool:
    """Whether such a sample leads to a verdict with 80 % power."""
    reach, errors = _reach(spread)
    normal = float(ndtri((1 + LEVEL) / 2))
    quantile = errors - normal + float(stdtrit(seeds - 1, (1 + LEVEL) / 2))
    seed_part = quantile**2 * spread.seed_variance / seeds
    return seed_part + errors**2 * spread.image_variance / images <= reach**2


def _reach(spread: SeedSpread) -> tuple[float, float]:
    """How far the interval may reach from the difference, and how many standard errors that is.

    To stay within the margin the interval may fail on either side, so each gets half of what power
    leaves: exact at no difference, cautious beside it.
    """
    away, inside = abs(spread.difference), MARGIN - abs(spread.difference)
    power = POWER if away >= inside else (1 + POWER) / 2
    return max(away, inside), float(ndtri((1 + LEVEL) / 2) + ndtri(power))
