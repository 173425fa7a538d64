"""Arms of a scaling study, simulated: what they predict, seed by seed and image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phiscale.search.study.contrasts import ArmResults
from phiscale.search.study.rule import SINGLES

EQUAL: dict[str, float] = dict.fromkeys(("compound", *SINGLES), 0.0)
IMAGES = 10_000


def simulate_arms(
    random: np.random.Generator,
    arms: Mapping[str, float],
    *,
    seeds: int = 7,
    seed_sd: float = 0.003,
    arm_sd: float = 0.15,
    images: int = IMAGES,
) -> dict[str, ArmResults]:
    """Arms of about 89 % with these gains in accuracy.

    Every image has a rate of success, most of them 1. Each arm prefers some images: that moves the
    rates of the hard ones (by `arm_sd` over all images), without a gain but by chance of this test
    set. A seed moves an arm by `seed_sd`, on test and validation alike. Each prediction is then
    drawn.
    """
    hard = images // 4
    rate = random.beta(1.3, 1.0, hard)
    results: dict[str, ArmResults] = {}
    for name, gain in arms.items():
        chance = random.normal(0, seed_sd, seeds)
        preference = random.normal(0, arm_sd * 2, hard)
        probability = rate + preference + (gain + chance[:, None]) * images / hard
        correct = np.ones((seeds, images), dtype=bool)
        correct[:, :hard] = random.random((seeds, hard), dtype=np.float32) < probability
        validation = 0.89 + gain + chance + random.normal(0, math.sqrt(0.11 / 5000), seeds)
        results[name] = ArmResults(correct=correct, validation=validation)
    return results


def draw_noise(
    seed: int, seeds: int = 7, images: int = 300
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two arms of shape (seeds, images), each correct for 80 %."""
    random = np.random.default_rng(seed)
    a, b = (random.random((seeds, images)) < 0.8 for _ in range(2))
    return a, b
