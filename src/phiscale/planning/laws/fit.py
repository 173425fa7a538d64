"""From rows to the numbers of a law. numpy is loaded when a fit is asked for, not before."""

from __future__ import annotations

from collections.abc import Iterable

from phiscale.errors import UsageError
from phiscale.planning.laws.law import IMAGES_UNIT, RUN_SD, Law, LawRow, Term


def fit_law(rows: Iterable[LawRow], *, run_sd: float = RUN_SD, source: str = "a fit") -> Law:
    """The law through measured errors: the point estimate of `posterior`; with its images term if
    every row says how many it saw. `run_sd` is the run-to-run standard deviation of an error.

    Errors: UsageError for fewer than 4 rows, for a dimension that no row changes, for no numbers.
    """
    from phiscale.planning.laws.points import points_of, require_fittable
    from phiscale.planning.laws.posterior import posterior

    return posterior(require_fittable(points_of(rows), 4), run_sd=run_sd, source=source).law()


def fit_lengths(
    rows: Iterable[tuple[float, float]], images_unit: float = IMAGES_UNIT
) -> tuple[float, Term]:
    """c and A s^-p from (images seen, error) of one network trained to several lengths.

    error = c + A s^-p with c, A >= 0 by least squares, p on a grid; seeds are pooled.
    """
    import numpy as np

    from phiscale.planning.laws.projection import features, project

    pairs = np.array(sorted(rows), dtype=float).reshape(-1, 2)
    if len(np.unique(pairs[:, 0])) < 3 or not (
        np.isfinite(pairs).all() and (pairs[:, 0] > 0).all()
    ):
        raise UsageError(
            f"{len(np.unique(pairs[:, 0]))} lengths of training cannot fit the images "
            "term. Give errors of one network at 3 lengths or more."
        )
    grid = np.geomspace(0.05, 3, 120)[:, None]
    columns = features(pairs[:, :1] / images_unit, grid)
    squares, found = project(columns, pairs[:, 1], np.ones(len(pairs)))
    best = int(squares.argmin())
    return float(found[best, 0]), Term(float(found[best, 1]), float(grid[best, 0]))
