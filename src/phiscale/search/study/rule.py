"""The pre-registered decision rule of a scaling study.

The primary contrast is compound scaling minus the best single dimension, at equal compute. The best
one is selected on validation. Differences of accuracy are fractions: 0.01 is one point.
"""

from __future__ import annotations

from typing import NamedTuple

from phiscale.planning.laws.sheet import DIMENSIONS

LEVEL = 0.95
POWER = 0.8
MIN_SEEDS = 7
MAX_SEEDS = 1000  # more are never proposed
MARGIN = 0.003  # smaller differences matter to nobody

COMPOUND = "compound"
SINGLES = DIMENSIONS  # arms that scale one of them alone
BASE = "base"

BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"

RULE = (
    f"Pre-registered decision rule for the 95 % interval: fewer than {MIN_SEEDS} seeds are "
    f"{INCONCLUSIVE}. Above 0 is {BETTER}, below 0 is {WORSE}, within {100 * MARGIN:g} points of 0 "
    f"is {EQUIVALENT}. All else is {INCONCLUSIVE}."
)


class SampleSize(NamedTuple):
    """Seeds of every arm, and test images."""

    seeds: int
    images: int


def decide(low: float, high: float, *, sample: SampleSize, required: SampleSize) -> str:
    """Reads the interval of the primary contrast by the rule, in the rule's order.

    An inconclusive study names the sample that it would need.
    """
    inconclusive = f"{INCONCLUSIVE}: {required.seeds} seeds needed"
    if required.images > sample.images:
        inconclusive = (
            f"{INCONCLUSIVE}: {required.seeds} seeds and {required.images} test images needed"
        )
    if sample.seeds < MIN_SEEDS:
        return inconclusive
    if low > 0:
        return BETTER
    if high < 0:
        return WORSE
    if low >= -MARGIN and high <= MARGIN:
        return EQUIVALENT
    return inconclusive
