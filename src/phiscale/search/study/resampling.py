"""Is one arm of a study better than another? Arms are trained with several seeds and answer the
same test images, so seeds and images are both samples, crossed, and the arms are paired in both.

Differences are fractions: 0.01 = one point of accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from phiscale.errors import DataError

LEVEL = 0.95
DRAWS = 10_000
MOST_SEEDS = 1000  # more are never asked for
EXACT_SEEDS = 12  # up to here all 2^S signs are tried
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """A difference of two arms and where its variance comes from.

    Model of the paired differences: x[seed, image] = difference + seed + image + rest. The rest is
    an image's luck with a seed; it is part of `seed_variance`, once.
    """

    difference: float
    seed_differences: tuple[float, ...]  # over all images, one a seed
    seed_variance: float  # of those, S - 1 degrees
    image_variance: float  # of an image's true difference, the rest taken out
    images: int

    @property
    def seeds(self) -> int:
        return len(self.seed_differences)

    @property
    def standard_error(self) -> float:
        """Of the difference, to new seeds and new images."""
        return self.error_at(self.seeds)

    def error_at(self, seeds: int, images: int | None = None) -> float:
        """The standard error that so many seeds and images would have."""
        return math.sqrt(self.seed_variance / seeds + self.image_variance / (images or self.images))


def spread(correct: Any, other: Any) -> SeedSpread:
    """The difference of two arms, `correct` minus `other`, each bool (seeds, images).

    Row s of both is trained with seed s; column i of both is image i. Analysis of variance of the
    crossed layout: the image variance is what their mean square has above that of the rest.
    DataError: other shapes or types, fewer than 2 seeds or images.
    """
    a, b = np.asarray(correct), np.asarray(other)
    if a.dtype != bool or b.dtype != bool or a.ndim != 2 or a.shape != b.shape:
        raise DataError(
            f"arms of {a.dtype} {a.shape} and {b.dtype} {b.shape} cannot be paired. Give bool "
            "arrays (seeds, images) of the same seeds and test images."
        )
    if min(a.shape) < 2:
        raise DataError(
            f"{a.shape[0]} seeds and {a.shape[1]} images show no spread. Give 2 or more of both."
        )
    x = a.astype(np.int8) - b
    seeds, images = x.shape
    by_seed = x.sum(axis=1, dtype=np.int64) / images
    by_image = x.sum(axis=0, dtype=np.int64) / seeds
    mean = float(by_seed.mean())
    seed_squares = images * float(np.sum((by_seed - mean) ** 2))
    image_squares = seeds * float(np.sum((by_image - mean) ** 2))
    rest = np.count_nonzero(x) - seeds * images * mean**2 - seed_squares - image_squares
    rest_mean = max(0.0, rest) / ((seeds - 1) * (images - 1))
    return SeedSpread(
        difference=mean,
        seed_differences=tuple(by_seed.tolist()),
        seed_variance=seed_squares / images / (seeds - 1),
        image_variance=max(0.0, (image_squares / (images - 1) - rest_mean) / seeds),
        images=images,
    )


def bootstrap_interval(of: SeedSpread, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a difference: two-level bootstrap over seeds and images.

    Resampling rows and columns of the table itself counts an image's luck with a seed three times
    (Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 2007). So each level brings its own
    variance here: seeds are drawn, and a normal for the images, of which there are many. A
    percentile interval over few seeds is too narrow by t / z and S / (S - 1): the draws of the
    seeds are stretched by as much. Images come in pairs +-, so that swapped arms mirror it exactly.
    """
    random = np.random.default_rng(seed)
    half, seeds = draws // 2, of.seeds
    counts = random.multinomial(seeds, [1 / seeds] * seeds, size=half)
    tail = (1 + LEVEL) / 2
    stretch = math.sqrt(seeds / (seeds - 1)) * float(stdtrit(seeds - 1, tail) / ndtri(tail))
    off = stretch * (counts @ np.array(of.seed_differences) / seeds - of.difference)
    image = math.sqrt(of.image_variance / of.images) * random.standard_normal(half)
    drawn = of.difference + np.concatenate([off + image, off - image])
    low, high = np.quantile(drawn, [1 - tail, tail])
    return float(low), float(high)


def sign_flip(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test: of equal arms, every seed's sign is chance.

    Exact up to 12 seeds (the least p is 2 / 2^S), a seeded sample of the signs above.
    DataError: no differences, or one that is no number.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError("a permutation test takes one finite difference a seed. Give those.")
    if len(values) <= EXACT_SEEDS:
        signs = np.array(list(product((1, -1), repeat=len(values))))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), size=(draws, len(values)))
        signs[0] = 1  # the one that was seen: p is never 0
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= sums[0] - 1e-12))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted for being one of several (Holm, Scand. J. Stat. 1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)


# Planning a study: how much noise, and what it can show


def expected_seed_sd(error: float, images: int) -> float:
    """Run-to-run sd of a test accuracy: sqrt(error / 2n), for calibrated classifiers.

    After Jordan, arXiv:2304.01910; short trainings have up to three times as much.
    """
    return math.sqrt(error / (2 * images))


def expected_error(seed_sd: float, seeds: int, images: int, image_sd: float = 0.16) -> float:
    """Standard error of a difference of two arms' means: sqrt(2 sd^2 / S + tau^2 / n).

    `image_sd`: of an image's difference in its rate of success; 0.12 to 0.20 is usual.
    """
    return math.sqrt(2 * seed_sd**2 / seeds + image_sd**2 / images)


def detectable(standard_error: float, contrasts: int = 1, seeds: int | None = None) -> float:
    """The true difference found with 80 % power: 2.8 standard errors, 3.2 under Holm over three.

    With so few `seeds` that they tell the standard error badly, Student's quantile: 3.3 of them at
    7 seeds.
    """
    tail = 1 - (1 - LEVEL) / 2 / contrasts
    quantile = float(ndtri(tail)) if seeds is None else float(stdtrit(seeds - 1, tail))
    return standard_error * (quantile + float(ndtri(POWER)))


def seeds_to_detect(
    difference: float, seed_sd: float, images: int, *, contrasts: int = 1, image_sd: float = 0.16
) -> int | None:
    """The fewest seeds whose detectable difference is `difference`; None: more images are needed,
    or more than a thousand seeds.

    DataError: a difference of 0 cannot be detected.
    """
    if not difference:
        raise DataError("a difference of 0 cannot be detected. Give the least one that matters.")
    error = partial(expected_error, seed_sd, images=images, image_sd=image_sd)
    every = range(2, MOST_SEEDS + 1)
    return next((s for s in every if detectable(error(s), contrasts, s) <= abs(difference)), None)
