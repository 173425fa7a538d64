"""Variable projection: for exponents on a grid, the best coefficients are a linear problem.

    y = c0 + sum_i c_i x_i^-p_i          c >= 0

It is solved exactly for thousands of exponents at once. There is no start to choose and no
iteration that stops too early, which made published fits of scaling laws wrong (arXiv:2404.10102).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-10  # of normalised columns: it only matters where two of them are the same

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


def features(x: Floats, exponents: Floats) -> Floats:
    """Returns 1 and x_i^-p_i: (points, axes), (cells, axes) -> (cells, points, 1 + axes)."""
    powers = np.exp(-exponents[:, None, :] * np.log(x)[None])
    return np.concatenate([np.ones((*powers.shape[:2], 1)), powers], axis=2)


def project(columns: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Solves y = columns @ c by least squares with c >= 0, for every cell.

    `columns` (cells, rows, terms); `y` (rows,) or (cells, rows); `weight` (rows,), of each square.
    Returns the weighted squares that remain (cells,) and c (cells, terms). The terms are few, so
    where the free solution has a negative coefficient every smaller set of columns is tried: exact.
    """
    cells, _, terms = columns.shape
    root = np.sqrt(weight)
    columns = columns * root[:, None]
    norm = np.linalg.norm(columns, axis=1)
    columns = columns / norm[:, None, :]
    target = np.broadcast_to(root * y, columns.shape[:2])
    gram = columns.transpose(0, 2, 1) @ columns + RIDGE * np.eye(terms)
    moment = (columns.transpose(0, 2, 1) @ target[..., None])[..., 0]
    best, coefficients = np.full(cells, np.inf), np.zeros((cells, terms))
    open_cells: Places = np.arange(cells, dtype=np.intp)  # the best solution is not certain yet
    every_row: Places = np.arange(columns.shape[1], dtype=np.intp)
    for size in range(terms, 0, -1):
        for active in (np.array(each, dtype=np.intp) for each in combinations(range(terms), size)):
            square = gram[np.ix_(open_cells, active, active)]
            solved = np.linalg.solve(square, moment[np.ix_(open_cells, active)][..., None])[..., 0]
            used = columns[np.ix_(open_cells, every_row, active)]
            fits = (used @ solved[..., None])[..., 0]
            squares = np.sum((fits - target[open_cells]) ** 2, axis=1)
            # a column less is preferred where it does as well
            better = (solved >= 0).all(axis=1) & (squares <= best[open_cells] * (1 + 1e-12))
            rows = open_cells[better]
            best[rows] = squares[better]
            coefficients[rows] = 0
            coefficients[np.ix_(rows, active)] = solved[better]
        if size == terms:
            open_cells = open_cells[~np.isfinite(best)]  # an allowed free solution is the best
        if not len(open_cells):
            break
    return best, coefficients / norm


def covariance(columns: Floats, weight: Floats, coefficients: Floats) -> Floats:
    """Returns the covariance of each cell's coefficients for errors of variance 1 / weight.

    (cells, rows, terms), (rows,), (cells, terms) -> (cells, terms, terms). Coefficients at their
    bound of 0 have no variance.
    """
    free = (coefficients > 0).astype(float)
    columns = columns * (np.sqrt(weight)[:, None] * free[:, None, :])
    norm = np.linalg.norm(columns, axis=1)
    norm[norm == 0] = 1.0
    columns = columns / norm[:, None, :]
    gram = columns.transpose(0, 2, 1) @ columns
    diagonal = range(gram.shape[1])
    gram[:, diagonal, diagonal] += RIDGE + (1 - free)
    inverse = np.linalg.inv(gram) * free[:, :, None] * free[:, None, :]
    return inverse / (norm[:, :, None] * norm[:, None, :])
