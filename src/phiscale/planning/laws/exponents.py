"""The grid of exponents that a posterior averages over, and the weight of each of its cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phiscale.planning.laws.law import COARSE, EXPONENTS

PRIOR_MEDIAN, PRIOR_SPREAD = 0.9, 0.8  # of an exponent: ln p ~ N(ln 0.9, 0.8^2)

Floats = NDArray[np.float64]


def default_grid(axes: int) -> tuple[float, ...]:
    """Returns exponents from 0.15 to 4 for each of so many axes: about 2,000 cells at most."""
    if axes >= 3:
        return EXPONENTS if axes == 3 else COARSE
    low, high = EXPONENTS[0], EXPONENTS[-1]
    line: Floats = np.geomspace(low, high, 97 if axes == 1 else 33, dtype=np.float64)
    return tuple(map(float, line))


def grid_cells(axes: Sequence[Floats]) -> Floats:
    """Returns every combination of exponents: (cells, axes)."""
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)


def cell_weights(squares: Floats, cells: Floats, run_sd: float) -> Floats:
    """Returns the posterior weight of each cell (cells,), 1 for the likeliest.

    `squares` (cells,): what `project` left of the errors; `cells` (cells, axes): the exponents.
    """
    odds = squares / (2 * run_sd**2) + np.sum(
        np.log(cells / PRIOR_MEDIAN) ** 2 / (2 * PRIOR_SPREAD**2), axis=1
    )
    return np.exp(odds.min() - odds)
