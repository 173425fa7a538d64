"""Trained networks as points: where each stands on the axes of a law, and what error it had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiscale.errors import UsageError
from phiscale.planning.laws.law import IMAGES_UNIT, LawRow

# What a unit of ln x costs in ln MACs: d w^2 r^2 (arXiv:1905.11946, eq. 3).
COST_EXPONENTS = {"depth": 1.0, "width": 2.0, "resolution": 2.0}

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Points:
    """`x` is (rows, axes), above 0, in any unit; `error` a fraction and `runs` are (rows,)."""

    axes: tuple[str, ...]
    x: Floats
    error: Floats
    runs: Floats
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.error)

    @property
    def freedom(self) -> int:
        """Rows beyond the numbers of a law: e0, and A and p of each axis."""
        return len(self) - 2 * len(self.axes) - 1

    def select(self, rows: Sequence[int]) -> Points:
        """Returns some of the rows, or all of them in another order."""
        kept = list(rows)
        names = tuple(self.names[row] for row in kept)
        return Points(self.axes, self.x[kept], self.error[kept], self.runs[kept], names)

    def without(self, rows: Sequence[int] | Places) -> Points:
        """Returns all rows but these."""
        return self.select([row for row in range(len(self)) if row not in set(map(int, rows))])

    @property
    def groups(self) -> Places:
        """Returns the group of each row, a number from 0: rows at equal x are one group. (rows,)"""
        _, group = np.unique(np.round(np.log(self.x), 9), axis=0, return_inverse=True)
        return group.reshape(-1)

    def parts(self, most: int = 24) -> list[Places]:
        """Rows to leave out together: every group by itself, or at most so many parts."""
        part = self.groups % most
        return [np.flatnonzero(part == number) for number in np.unique(part)]

    def interior(self) -> NDArray[np.bool_]:
        """Tells whether rows of other groups lie on both sides of a row on every axis: (rows,)."""
        inside = np.zeros(len(self), dtype=bool)
        for row, group in enumerate(self.groups):
            others = self.x[self.groups != group]
            if len(others):
                at = self.x[row]
                inside[row] = bool((others.min(0) <= at).all() and (at <= others.max(0)).all())
        return inside

    def constant(self) -> tuple[str, ...]:
        """Axes on which all rows have the same value: their terms cannot be determined."""
        ranges = np.ptp(np.log(self.x), axis=0)
        return tuple(axis for axis, span in zip(self.axes, ranges, strict=True) if span < 1e-9)

    def compute(self, x: Floats) -> Floats:
        """Returns the cost of networks at `x` (..., axes), up to a factor: (...).

        MACs if they are an axis, else d w^2 r^2 of the axes that exist, else the first axis.
        """
        if "macs" in self.axes:
            return x[..., self.axes.index("macs")]
        powers = [COST_EXPONENTS.get(axis, 0.0) for axis in self.axes]
        return np.prod(x**powers, axis=-1) if any(powers) else x[..., 0]

    def beyond(self, x: Floats) -> Floats:
        """Tells how far `x` (..., axes) is beyond the rows: (...).

        Compute over that of the largest row, or images seen over those of the longest training,
        whichever is more.
        """
        over = self.compute(x) / self.compute(self.x).max()
        if "images" not in self.axes:
            return over
        seen = self.axes.index("images")
        return np.maximum(over, x[..., seen] / self.x[:, seen].max())


def points_of(rows: Iterable[LawRow]) -> Points:
    """Rows as points of depth, width and resolution; of images seen too if every row has them."""
    rows = tuple(rows)
    lengths = bool(rows) and all(row.images_seen is not None for row in rows)
    x = [[row.depth, row.width, row.resolution] for row in rows]
    if lengths:
        x = [[*at, (row.images_seen or 0) / IMAGES_UNIT] for at, row in zip(x, rows, strict=True)]
    axes = ("depth", "width", "resolution", *(("images",) if lengths else ()))
    return Points(
        axes,
        np.array(x, dtype=float).reshape(len(rows), len(axes)),
        np.array([row.error for row in rows], dtype=float),
        np.array([row.runs for row in rows], dtype=float),
        tuple(row.name or f"row {number}" for number, row in enumerate(rows, 1)),
    )


def require_fittable(points: Points, least: int) -> Points:
    """Returns the points if a law can be fitted to them; `least` rows are needed.

    UsageError: they do not allow it; the message names the row or axis at fault.
    """
    *first, last = points.axes
    if len(points) < least:
        others = "one enlarged network in each dimension" if first else "larger ones"
        raise UsageError(
            f"{len(points)} rows cannot fit a law of "
            f"{', '.join(first)}{' and ' if first else ''}{last}. "
            f"Use at least {least} rows: the base and {others}."
        )
    fine = (np.isfinite(points.x) & (points.x > 0)).all(1) & np.isfinite(points.error)
    if not (fine & (points.runs > 0)).all():
        name = points.names[int(np.argmin(fine & (points.runs > 0)))]
        raise UsageError(
            f"{name} has a multiplier or a number of runs that is not above 0, or an "
            "error that is not a number. Fix or remove that row."
        )
    for axis in points.constant():
        value = points.x[0, points.axes.index(axis)]
        raise UsageError(
            f"all rows have {axis} {value:g}, so its term cannot be determined. "
            f"Add a network of another {axis}."
        )
    return points
