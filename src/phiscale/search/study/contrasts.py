"""Contrasts of a scaling study: compound scaling minus another arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiscale.search.study.resampling import (
    DRAWS,
    SeedSpread,
    bootstrap_interval,
    measure_spread,
    sign_flip_test,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmResults:
    """What the trainings of one arm predicted."""

    correct: NDArray[np.bool_]  # (seeds, images) of the test set
    validation: NDArray[np.float64]  # (seeds,): accuracy on the validation set, a fraction
    compute_ratio: float = 1.0  # exact MACs over the base's


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Compound scaling minus another arm, in test accuracy."""

    name: str
    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float | None  # permutation over seeds; None where no test was made
    p_holm: float | None  # among the three single dimensions


def measure_contrast(name: str, spread: SeedSpread, *, draws: int, seed: int) -> Contrast:
    """Returns a contrast with its interval and its p-value."""
    low, high = bootstrap_interval(spread, draws=draws, seed=seed)
    return Contrast(
        name=name,
        difference=spread.difference,
        low=low,
        high=high,
        standard_error=spread.standard_error,
        p_value=sign_flip_test(spread.seed_differences, seed=seed),
        p_holm=None,
    )


def estimate_contrast(name: str, compound: ArmResults, other: ArmResults) -> Contrast:
    """Returns a contrast with its interval alone, for arms of different compute."""
    spread = measure_spread(compound.correct, other.correct)
    low, high = bootstrap_interval(spread, draws=DRAWS)
    return Contrast(
        name=name,
        difference=spread.difference,
        low=low,
        high=high,
        standard_error=spread.standard_error,
        p_value=None,
        p_holm=None,
    )
