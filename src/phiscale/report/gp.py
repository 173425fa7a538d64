"""A Gaussian process on the residuals of an error law: do they hold more than noise?"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.planning.laws.posterior import Posterior, posterior

logger = logging.getLogger(__name__)

FEWEST_ROWS = 6  # below it, two hyperparameters are no better than a guess
EXPONENTS = 7  # on each of several axes, since every row needs a fit


def gp_left_out(fit: Posterior) -> NDArray[np.float64] | None:
    """Predicts each row from the other rows, by the law plus the process.

    Returns errors of shape (rows,); NaN where the other rows do not vary; None for too few rows.
    The process runs over ln x; its noise is the seed standard deviation.
    """
    points = fit.points
    if len(points) < FEWEST_ROWS or (process := _process()) is None:
        return None
    grid = (
        fit.grid[:: max(1, round(len(fit.grid) / EXPONENTS))] if len(points.axes) > 2 else fit.grid
    )
    predicted = np.full(len(points), np.nan)
    for part in points.parts():
        others = points.without(part)
        if others.constant():
            continue
        law = posterior(others, run_sd=fit.run_sd, grid=grid)
        residuals = others.error - law.moments(others.x)[0]
        with warnings.catch_warnings():  # a length at its bound: the residuals are noise or a level
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            process.fit(np.log(others.x), residuals / fit.run_sd)
        at = points.x[part]
        predicted[part] = law.moments(at)[0] + fit.run_sd * np.asarray(process.predict(np.log(at)))
    return predicted


def _process() -> Any:
    """Returns scikit-learn's process, or None with a warning where it is not installed."""
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ModuleNotFoundError:
        logger.warning("The check by a Gaussian process needs scikit-learn: pip install phiscale.")
        return None
    kernel = ConstantKernel(4.0, (1e-2, 1e4)) * RBF(1.0, (0.2, 10.0)) + WhiteKernel(1.0, "fixed")
    return GaussianProcessRegressor(kernel, random_state=0)
