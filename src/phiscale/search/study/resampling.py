"""Statistics of paired arms. Two arms are trained with the same seeds and predict the same test
images, so seeds and images are both samples, crossed, and arms are paired in both.

Differences are fractions: 0.01 is one point of accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from phiscale.errors import DataError
from phiscale.search.study.rule import LEVEL

DRAWS = 10_000
EXACT_SEEDS = 12  # up to here all 2^S signs are enumerated


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """A difference of two arms and where its variance comes from.

    Model of the paired differences: x[seed, image] = difference + seed + image + residual. The
    residual is the chance of one image with one seed; it is part of `seed_variance`, once.
    """

    difference: float
    seed_differences: tuple[float, ...]  # mean over all images, for each seed
    seed_variance: float  # of those, with S - 1 degrees of freedom
    image_variance: float  # of an image's true difference, without the residual
    images: int

    @property
    def seeds(self) -> int:
        return len(self.seed_differences)

    @property
    def standard_error(self) -> float:
        """Of the difference, with respect to new seeds and new images."""
        return self.error_at(self.seeds)

    def error_at(self, seeds: int, images: int | None = None) -> float:
        """Returns the standard error that so many seeds and images would have."""
        return math.sqrt(self.seed_variance / seeds + self.image_variance / (images or self.images))


def measure_spread(correct: NDArray[np.bool_], other: NDArray[np.bool_]) -> SeedSpread:
    """Analyses the difference of two arms, `correct` minus `other`, both of shape (seeds, images).

    Row s of both is trained with seed s; column i of both is image i. The analysis of variance is
    that of a crossed layout: the image variance is the excess of their mean square over the
    residual's. DataError: shapes or types differ, or there are fewer than 2 seeds or images.
    """
    a, b = np.asarray(correct), np.asarray(other)
    _check_paired(a, b)
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


def _check_paired(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> None:
    if a.dtype != bool or b.dtype != bool or a.ndim != 2 or a.shape != b.shape:
        raise DataError(
            f"arms of {a.dtype} {a.shape} and {b.dtype} {b.shape} cannot be paired. Use bool "
            "arrays (seeds, images) of the same seeds and test images."
        )
    if min(a.shape) < 2:
        raise DataError(
            f"{a.shape[0]} seeds and {a.shape[1]} images have no spread. Use 2 or more of both."
        )


def bootstrap_interval(
    spread: SeedSpread, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Returns the 95 % interval of a difference: two-level bootstrap over seeds and images.

    Resampling rows and columns of the table itself counts the residual three times (Owen, The
    pigeonhole bootstrap, Ann. Appl. Stat. 2007). Here each level contributes its own variance:
    seeds are drawn, and a normal for the images, of which there are many. A percentile interval
    over few seeds is too narrow by t / z and S / (S - 1), so the draws of the seeds are stretched
    by as much. Images come in pairs of either sign, so swapped arms mirror the interval exactly.
    """
    random = np.random.default_rng(seed)
    half, seeds = draws // 2, spread.seeds
    counts = random.multinomial(seeds, [1 / seeds] * seeds, size=half)
    tail = (1 + LEVEL) / 2
    stretch = math.sqrt(seeds / (seeds - 1)) * float(stdtrit(seeds - 1, tail) / ndtri(tail))
    off = stretch * (counts @ np.array(spread.seed_differences) / seeds - spread.difference)
    image = math.sqrt(spread.image_variance / spread.images) * random.standard_normal(half)
    drawn = spread.difference + np.concatenate([off + image, off - image])
    low, high = np.quantile(drawn, [1 - tail, tail])
    return float(low), float(high)


def sign_flip_test(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Returns the two-sided p-value of the paired permutation test over seeds.

    For equal arms every seed's sign is chance. Exact up to 12 seeds (the least p is 2 / 2^S), a
    seeded sample of the signs above. DataError: there are no differences, or one is not finite.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(
            f"differences={differences!r} have no p-value. Use one finite difference for each seed."
        )
    if len(values) <= EXACT_SEEDS:
        signs = np.array(list(product((1, -1), repeat=len(values))))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), size=(draws, len(values)))
        signs[0] = 1  # the observed one: p is never 0
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= sums[0] - 1e-12))


def adjust_by_holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusts p-values for being one of several (Holm, Scand. J. Stat. 1979), in their order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)
