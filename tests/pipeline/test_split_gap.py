"""A model that does clearly worse on test images than on validation images is told."""

import pytest

from phiscale.pipeline.split_gap import split_gap


def metrics(top1: float, low: float, high: float) -> dict[str, object]:
    return {"top1": top1, "interval": [low, high]}


@pytest.mark.parametrize(
    ("validation", "test", "says"),
    [
        (metrics(0.98, 0.95, 0.99), metrics(0.744, 0.68, 0.80), "74.4 % on test and 98.0 % on"),
        (metrics(0.90, 0.85, 0.93), metrics(0.86, 0.80, 0.90), ""),  # within the intervals
        (metrics(0.80, 0.75, 0.85), metrics(0.95, 0.92, 0.97), ""),  # better is no problem
        ({}, metrics(0.10, 0.05, 0.15), ""),  # never validated
    ],
)
def test_a_test_result_below_both_intervals_is_a_warning(validation, test, says: str):  # type: ignore[no-untyped-def]
    gap = split_gap(validation, test)
    assert says in gap and bool(gap) == bool(says)
