"""Variable projection: for exponents on a grid, the best coefficients are a linear problem.

    y = c0 + sum_i c_i x_i^-p_i          c >= 0

Solved exactly for thousands of exponents at once: there is no start to choose and no iteration to
stop too early, which is what made published fits of scaling laws wrong (arXiv:2404.10102).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

RIDGE = 1e-10  # of normalised columns: it only matters where two of them are the same


def features(x: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """1 and x_i^-p_i: (points, axes), (cells, axes) -> (cells, points, 1 + axes)."""
    powers = np.exp(-exponents[:, None, :] * np.log(x)[None])
    return np.concatenate([np.ones((*powers.shape[:2], 1)), powers], axis=2)


def project(
    columns: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares y = columns @ c with c >= 0, for every cell.

    `columns` (cells, rows, terms); `y` (rows,) or (cells, rows); `weight` (rows,), of each square.
    Returns the weighted squares left over (cells,) and c (cells, terms). Few terms: where the free
    solution has a negative coefficient, trying every smaller set of columns is exact.
    """
    cells, _, terms = columns.shape
    root = np.sqrt(weight)
    columns = columns * root[:, None]
    norm = np.linalg.norm(columns, axis=1)
    columns = columns / norm[:, None, :]
    target = np.broadcast_to(root * y, columns.shape[:2])
    gram = columns.transpose(0, 2, 1) @ columns + RIDGE * np.eye(terms)
    moment = (columns.transpose(0, 2, 1) @ target[..., None])[..., 0]
    best, found = np.full(cells, np.inf), np.zeros((cells, terms))
    left = np.arange(cells)  # whose solution is not known to be the best one
    for size in range(terms, 0, -1):
        for active in combinations(range(terms), size):
            chosen = list(active)
            square = gram[np.ix_(left, chosen, chosen)]
            solved = np.linalg.solve(square, moment[np.ix_(left, chosen)][..., None])[..., 0]
            fits = (columns[np.ix_(left, range(columns.shape[1]), chosen)] @ solved[..., None])[
                ..., 0
            ]
            squares = np.sum((fits - target[left]) ** 2, axis=1)
            # a column less is preferred where it does as well
            better = (solved >= 0).all(axis=1) & (squares <= best[left] * (1 + 1e-12))
            rows = left[better]
            best[rows] = squares[better]
            found[rows] = 0
            found[np.ix_(rows, chosen)] = solved[better]
        if size == terms:
            left = left[~np.isfinite(best)]  # the free solution, where allowed, is the best
        if not len(left):
            break
    return best, found / norm


def covariance(columns: np.ndarray, weight: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Covariance of each cell's coefficients for errors of variance 1 / weight: (cells, terms,
    terms). Coefficients that stand at their bound of 0 are taken as known."""
    free = (coefficients > 0).astype(float)
    columns = columns * (np.sqrt(weight)[:, None] * free[:, None, :])
    norm = np.linalg.norm(columns, axis=1)
    norm[norm == 0] = 1.0
    columns = columns / norm[:, None, :]
    gram = columns.transpose(0, 2, 1) @ columns
    places = np.arange(gram.shape[1])
    gram[:, places, places] += RIDGE + (1 - free)
    inverse = np.linalg.inv(gram) * free[:, :, None] * free[:, None, :]
    return inverse / (norm[:, :, None] * norm[:, None, :])
