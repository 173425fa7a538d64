"""Corrections for arms whose compute is almost equal: matched arms differ by up to 3 % of MACs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from phiscale.planning.laws import Term
from phiscale.search.study.contrasts import ArmResults
from phiscale.search.study.rule import BASE

EXPONENT = 0.5  # of error in MACs: EfficientNet's published rows have 0.51 to 0.59
TOLERANCE = 0.03  # of compute, in logs


def accuracy_corrections(
    arms: Mapping[str, ArmResults], target_compute: float | None
) -> dict[str, float]:
    """Returns the accuracy to add to each arm, so that all stand at `target_compute`.

    Without a target or a base nothing is added; the base itself is never corrected.
    """
    if target_compute is None or BASE not in arms:
        return dict.fromkeys(arms, 0.0)
    errors = [1 - float(np.mean(arm.correct)) for name, arm in arms.items() if name != BASE]
    law = fit_compute_law(
        1 - float(np.mean(arms[BASE].correct)), float(np.mean(errors)), target_compute
    )
    return {
        name: 0.0 if name == BASE else gain_to_target(law, arm.compute_ratio, target_compute)
        for name, arm in arms.items()
    }


def fit_compute_law(base_error: float, error: float, compute_ratio: float) -> Term:
    """Returns the term A C^-p of a law in MACs through the base (C = 1) and the arms.

    `error` is the mean of the arms at `compute_ratio`. Two points cannot determine an exponent, so
    it is the published one. Without a gain the term is 0.
    """
    if compute_ratio == 1 or error >= base_error:
        return Term(0.0, EXPONENT)
    return Term((base_error - error) / (1 - compute_ratio**-EXPONENT), EXPONENT)


def gain_to_target(law: Term, compute_ratio: float, target_compute: float) -> float:
    """Returns the accuracy that an arm of `compute_ratio` would gain at `target_compute`."""
    return float(law(compute_ratio) - law(target_compute))


def describe_unequal(arms: Mapping[str, ArmResults], target_compute: float) -> tuple[str, ...]:
    """Names arms that no correction makes comparable, in a sentence each."""
    return tuple(
        f"{name} has {arm.compute_ratio / target_compute:.0%} of the compute it is compared at"
        for name, arm in arms.items()
        if name != BASE
        and abs(math.log(arm.compute_ratio / target_compute)) > math.log1p(TOLERANCE)
    )
