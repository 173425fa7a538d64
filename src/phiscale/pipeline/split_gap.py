"""Says when a model does clearly worse on test images than on those that selected it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_gap(validation: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """Returns a sentence where test top-1 is below validation top-1 by more than both intervals.

    `validation`, `test`: metrics with `top1` and `interval` (low, high at 95 %), as fractions.
    Returns an empty text where the intervals overlap, or where there was no validation.
    """
    if not validation or test["interval"][1] >= validation["interval"][0]:
        return ""
    return (
        f"top-1 is {100 * test['top1']:.1f} % on test and {100 * validation['top1']:.1f} % on "
        "validation, which is more than both intervals allow. Images of one object, place or "
        "series probably stand in train and validation, while test has others: put each series "
        "into one split, in folders train/, val/ and test/."
    )
