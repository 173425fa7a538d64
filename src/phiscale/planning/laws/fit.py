"""Fits the numbers of a law to rows. numpy is imported when a fit is needed, not before."""

from __future__ import annotations

from collections.abc import Iterable

from phiscale.errors import UsageError
from phiscale.planning.laws.law import IMAGES_UNIT, RUN_SD, Law, LawRow, Term


def estimate_law(rows: Iterable[LawRow], *, run_sd: float = RUN_SD, source: str = "a fit") -> Law:
    """Fits a law to measured errors: the point estimate of `posterior`.

    It has an images term if every row has `images_seen`. `run_sd`: the seed standard deviation of
    an error. UsageError: there are fewer than 4 rows, no row changes a dimension, or a value
    is no number.
    """
    from phiscale.planning.laws.points import points_of, require_fittable
    from phiscale.planning.laws.posterior import posterior

    return posterior(require_fittable(points_of(rows), 4), run_sd=run_sd, source=source).law()


def fit_lengths(
    rows: Iterable[tuple[float, float]], images_unit: float = IMAGES_UNIT
) -> tuple[float, Term]:
    """Fits error = c + A s^-p to (images seen, error) of one network trained to several lengths.

    c, A >= 0 by least squares, p on a grid; seeds are pooled. Returns c and the term. UsageError:
    there are fewer than 3 lengths.
    """
    import numpy as np

    from phiscale.planning.laws.projection import features, project

    pairs = np.array(sorted(rows), dtype=float).reshape(-1, 2)
    if len(np.unique(pairs[:, 0])) < 3 or not (
        np.isfinite(pairs).all() and (pairs[:, 0] > 0).all()
    ):
        raise UsageError(
            f"{len(np.unique(pairs[:, 0]))} lengths of training cannot fit the images "
            "term. Use errors of one network at 3 lengths or more."
        )
    grid = np.geomspace(0.05, 3, 120)[:, None]
    columns = features(pairs[:, :1] / images_unit, grid)
    squares, coefficients = project(columns, pairs[:, 1], np.ones(len(pairs)))
    best = int(squares.argmin())
    return float(coefficients[best, 0]), Term(float(coefficients[best, 1]), float(grid[best, 0]))
