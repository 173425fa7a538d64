"""Which of half a million points no other point dominates: numpy only, exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]


def undominated(points: Floats) -> Places:
    """Returns the rows of `points` (rows, columns) that no other row equals or betters everywhere.

    Less is better. The rows' numbers are sorted by the first column; of equal rows one stays.
    Kung's divide and conquer (1975): exact, seconds for half a million rows.
    """
    import numpy as np

    order: Places = np.lexsort(points.T[::-1])
    points = points[order]
    if len(points) > 20_000:  # a sample's front dominates most of the others
        sample: Places = np.arange(0, len(points), 20)
        sample = sample[_front(points[sample])]
        kept = ~_dominated(points, points[sample])
        kept[sample] = True
        order, points = order[kept], points[kept]
    return order[_front(points)]


def _front(points: Floats) -> Places:
    """`undominated` of rows in lexicographic order, where only earlier rows can dominate later."""
    import numpy as np

    if len(points) <= 64:
        better: NDArray[np.bool_] = np.all(points[:, None, :] <= points[None, :, :], axis=2)
        return np.flatnonzero(~np.any(np.triu(better, 1), axis=0))
    half = len(points) // 2
    top, bottom = _front(points[:half]), half + _front(points[half:])
    return np.concatenate([top, bottom[~_dominated(points[bottom, 1:], points[top, 1:])]])


def _dominated(points: Floats, others: Floats) -> NDArray[np.bool_]:
    """Whether one of `others` is at most as large in every column, for each of `points`."""
    import numpy as np

    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    if points.shape[1] == 0:
        return np.ones(len(points), dtype=bool)
    if points.shape[1] == 1:
        return points[:, 0] >= others[:, 0].min()
    if points.shape[1] == 2:
        return _dominated_in_two(points, others)
    if len(points) * len(others) <= 8192:
        better: NDArray[np.bool_] = np.all(others[None] <= points[:, None], axis=2)
        return np.any(better, axis=1)
    return _dominated_by_halves(points, others)


def _dominated_in_two(points: Floats, others: Floats) -> NDArray[np.bool_]:
    """`_dominated` for two columns: one pass over the others in order of the first."""
    import numpy as np

    order = np.argsort(others[:, 0])
    first, least = others[order, 0], np.minimum.accumulate(others[order, 1])
    place = np.searchsorted(first, points[:, 0], side="right") - 1
    return np.logical_and(place >= 0, least[place] <= points[:, 1])


def _dominated_by_halves(points: Floats, others: Floats) -> NDArray[np.bool_]:
    """`_dominated` with the others in two halves, split at the median of their first column."""
    import numpy as np

    dominated = np.zeros(len(points), dtype=bool)
    first = others[:, 0]
    low = first <= np.median(first)
    if low.all():
        low = first < first.max()
    if low.any():
        beyond = points[:, 0] >= first[~low].min()
        dominated[~beyond] = _dominated(points[~beyond], others[low])
        rest = np.flatnonzero(beyond)
        dominated[rest] = _dominated(points[rest, 1:], others[low][:, 1:])
        rest = rest[~dominated[rest]]
        dominated[rest] = _dominated(points[rest], others[~low])
    else:  # all equal in this column
        rest = np.flatnonzero(points[:, 0] >= first[0])
        dominated[rest] = _dominated(points[rest, 1:], others[:, 1:])
    return dominated
