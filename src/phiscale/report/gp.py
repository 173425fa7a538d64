"""A Gaussian process on what an error law leaves over: does anything else than noise remain?"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from phiscale.planning.laws.posterior import Posterior, posterior

logger = logging.getLogger(__name__)

FEWEST = 6  # rows, below which two hyperparameters are no better than a guess
FEW = 7  # exponents on each of several axes: a fit for every row


def gp_left_out(fit: Posterior) -> np.ndarray | None:
    """For each row (rows,), what the law and the process, fitted to the others, make of it; None
    where rows are too few. The process runs over ln x, its noise is that of a run."""
    points = fit.points
    if len(points) < FEWEST or (process := _process()) is None:
        return None
    grid = fit.grid[:: max(1, round(len(fit.grid) / FEW))] if len(points.axes) > 2 else fit.grid
    found = np.full(len(points), np.nan)
    for part in points.parts():
        others = points.without(part)
        if others.constant():
            continue
        law = posterior(others, run_sd=fit.run_sd, grid=grid)
        left = others.error - law.moments(others.x)[0]
        with warnings.catch_warnings():  # a length at its bound: the residuals are noise or a level
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            process.fit(np.log(others.x), left / fit.run_sd)
        at = points.x[part]
        found[part] = law.moments(at)[0] + fit.run_sd * np.asarray(process.predict(np.log(at)))
    return found


def _process() -> Any:
    """scikit-learn's process; None, and a warning, where it is not installed (phiscale-core)."""
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ModuleNotFoundError:
        logger.warning("The check by a Gaussian process needs scikit-learn: pip install phiscale.")
        return None
    kernel = ConstantKernel(4.0, (1e-2, 1e4)) * RBF(1.0, (0.2, 10.0)) + WhiteKernel(1.0, "fixed")
    return GaussianProcessRegressor(kernel, random_state=0)
