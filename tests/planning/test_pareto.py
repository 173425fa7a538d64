"""The Pareto front of points, against a comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.planning.budget import undominated


@given(
    st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.tuples(*[st.integers(0, 6)] * columns), min_size=1, max_size=200
        )
    )
)
def test_the_undominated_are_those_that_no_other_row_equals_or_betters(
    rows: list[tuple[int, ...]],
) -> None:
    points = np.array(rows, dtype=float)
    front = undominated(points)
    better = (points[:, None] <= points[None]).all(axis=2) & (points[:, None] < points[None]).any(
        axis=2
    )
    free = {tuple(row) for row in points[~better.any(axis=0)]}
    assert {tuple(row) for row in points[front]} == free
    assert len(front) == len(free)
    assert list(points[front, 0]) == sorted(points[front, 0])


def test_the_undominated_of_one_column_is_its_least() -> None:
    values = np.random.default_rng(0).permutation(30_000).astype(float)
    assert undominated(values[:, None]).tolist() == [values.argmin()]


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_the_undominated_of_many_rows_beat_all_the_others(columns: int) -> None:
    random = np.random.default_rng(columns)
    points = random.integers(0, 3000, size=(24_000, columns)).astype(float)
    points += points.sum(axis=1, keepdims=True) * random.random((24_000, 1))  # a long front
    front = undominated(points)
    kept = points[front]
    among = (kept[:, None] <= kept[None]).all(axis=2)
    np.fill_diagonal(among, False)
    assert not among.any()
    for part in np.array_split(np.delete(points, front, axis=0), 20):
        assert (kept[:, None] <= part[None]).all(axis=2).any(axis=0).all()
