"""How certain an error law is: all exponents, each weighted by how well it explains the rows.

    e = c0 + sum_i c_i x_i^-p_i          c >= 0, p > 0

c_i is printed as A: a coefficient of the law, not alpha, beta or gamma. A cell is one combination
of exponents of a grid. Its exponents are fixed and its coefficients solved for (`projection`). Its
weight is
exp(-squares / 2 run_sd^2) times the prior of its exponents. A prediction is the mean over cells.
Its variance adds three parts: the variance between cells, the variance that the rows leave within
each cell, and a floor from left-out rows, since no truth is exactly of this form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phiscale.planning.laws.exponents import cell_weights, default_grid, grid_cells
from phiscale.planning.laws.law import IMAGES_UNIT, RUN_SD, Law, Number, Term, require_run_sd
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.prediction import PredictedError
from phiscale.planning.laws.projection import covariance, features, project

WIDENS = 0.1  # of an interval, for each doubling of compute beyond the largest row
NEGLIGIBLE = 1e-7  # of the likeliest cell's weight
MIN_RUN_SD = 3e-4  # of an error printed in tenths of a per cent
HUBER = 1.345  # standard deviations from which a robust fit weights a row less
BEST_FLOORS = np.concatenate([[0.0], np.geomspace(1e-5, 0.3, 200)])

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Rows, and what they say of exponents and coefficients. Made by `posterior`."""

    points: Points
    exponents: Floats  # (cells, axes)
    coefficients: Floats  # (cells, 1 + axes)
    weight: Floats  # (cells,), sums to 1
    run_sd: float  # seed standard deviation of an error
    run_sd_from: str  # given, replicates, jackknife or assumed
    freedom: float  # degrees of freedom behind run_sd; infinite if it was given or assumed
    grid: tuple[float, ...]  # exponents on each axis, where the fit began
    source: str

    def predict(self, x: ArrayLike, *, reference: ArrayLike | None = None) -> PredictedError:
        """Predicts the error at `x` (..., axes), a fraction as in the rows.

        With `reference` (axes,): how much larger it is than there.

        Shapes follow `x` without its last axis. Beyond the rows the sd grows by a tenth for every
        doubling of compute.
        """
        x = np.asarray(x, dtype=float)
        flat = x.reshape(-1, len(self.points.axes))
        error, variance = self.moments(flat, reference)
        widened = 1 + WIDENS * np.log2(np.maximum(1, self.points.beyond(flat)))
        sd = widened * np.sqrt(variance + self.floor**2)
        error, sd = error.reshape(x.shape[:-1]), sd.reshape(x.shape[:-1])
        return PredictedError(error[()], sd[()], self.run_sd, self.freedom)

    def moments(self, x: Floats, reference: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Returns mean and variance (points,) of the law's error at `x` (points, axes).

        The floor is left out. With `reference` (axes,): of the difference to the error there.
        """
        at = features(x, self.exponents)
        if reference is not None:
            at = at - features(np.asarray(reference, dtype=float)[None], self.exponents)
        errors = (at @ self.coefficients[..., None])[..., 0]  # cells, points
        mean = self.weight @ errors
        within = np.einsum("cpi,cij,cpj->cp", at, self._covariance, at, optimize=True)
        return mean, self.weight @ ((errors - mean) ** 2 + self.run_sd**2 * within)

    @cached_property
    def _covariance(self) -> Floats:
        columns = features(self.points.x, self.exponents)
        return covariance(columns, self.points.runs, self.coefficients)

    @cached_property
    def left_out(self) -> PredictedError:
        """Predicts each row from rows at other places, without the floor: (rows,).

        NaN where the other rows are as few as the axes, or all alike on one axis.
        """
        error, sd = np.full((2, len(self.points)), np.nan)
        for part in self.points.parts():
            others = self.points.without(part)
            if len(others) > len(self.points.axes) and not others.constant():
                fit = _fit(others, self.run_sd, self.grid, self.source)
                mean, variance = fit.moments(self.points.x[part])
                error[part], sd[part] = mean, np.sqrt(variance)
        return PredictedError(error, sd, self.run_sd, self.freedom)

    @cached_property
    def floor(self) -> float:
        """Returns how far the law is off the true errors, beyond what noise and few rows explain.

        A search reports it as `misfit_sd`. It is a standard deviation, a fraction.

        It is the value under which the errors on left-out rows are likeliest. Only rows that others
        surround on every axis count: beyond them the law is less certain already. Without such rows
        nothing has tested the law, and it is half of the rows' range.
        """
        tested = self.points.interior() & np.isfinite(self.left_out.error)
        if not tested.any():
            return float(np.ptp(self.points.error)) / 2
        missed = (self.left_out.error - self.points.error)[tested] ** 2
        expected = (self.left_out.sd**2 + self.run_sd**2 / self.points.runs)[tested]
        variance = BEST_FLOORS[:, None] ** 2 + expected
        return float(BEST_FLOORS[np.argmin(np.sum(np.log(variance) + missed / variance, axis=1))])

    def law(self) -> Law:
        """Returns the point estimate: mean exponents, with e0 and A solved for once more.

        The mean is taken because few rows do not determine an exponent: the likeliest cell alone
        runs to the edge of the grid. Its sd is the typical error on a row that only set the
        exponents. For the axes depth, width, resolution and images only.
        """
        e0, terms = self.terms()
        p = np.array([[term.p for term in terms.values()]])
        columns = features(self.points.x, p)
        missed: list[float] = []
        for row in range(len(self.points)):
            others = np.arange(len(self.points)) != row
            y, weight = self.points.error[others], self.points.runs[others]
            _, (c, *_) = project(columns[:, others], y, weight)
            missed.append(float(columns[0, row] @ c - self.points.error[row]))
        sd = max(self.run_sd, math.sqrt(sum(miss**2 for miss in missed) / len(missed)))
        return Law(e0=e0, **terms, sd=sd, source=self.source)  # type: ignore[arg-type]

    def terms(self) -> tuple[float, dict[str, Term]]:
        """Returns e0 and a term for each axis, of the point estimate."""
        p = self.weight @ self.exponents
        _, (c, *_) = project(features(self.points.x, p[None]), self.points.error, self.points.runs)
        e0, *a = map(float, c)
        named = zip(self.points.axes, a, p, strict=True)
        return e0, {axis: Term(A, float(q)) for axis, A, q in named}

    # As an ErrorLaw: what `solve` and `fit` take

    @property
    def sd(self) -> float:
        """Returns the typical error of a prediction among the rows."""
        return math.hypot(self.run_sd, self.floor)

    def error(
        self, *, depth: Number, width: Number, resolution: Number, images: Number | None = None
    ) -> Number:
        """Returns the mean error over cells: floats or arrays that broadcast, as `Law.error`."""
        at = {"depth": depth, "width": width, "resolution": resolution}
        if images is not None and "images" in self.points.axes:
            at["images"] = images / IMAGES_UNIT
        level = float(self.weight @ self.coefficients[:, 0])
        return level + sum(self.term(axis, x) for axis, x in at.items())

    def term(self, axis: str, x: Number) -> Number:
        """Averages A x^-p on one axis over cells: a sum over the few exponents it has there."""
        p, a = self.marginal(axis)
        return sum(A * x**-q for A, q in zip(a, p, strict=True))

    def marginal(self, axis: str) -> tuple[Floats, Floats]:
        """Returns the exponents on an axis and the weighted A of each: (exponents,) twice."""
        number = self.points.axes.index(axis)
        p, cell = np.unique(self.exponents[:, number], return_inverse=True)
        terms = np.bincount(cell, self.weight * self.coefficients[:, 1 + number], len(p))
        return p, np.asarray(terms, dtype=float)

    def draws(self, count: int = 1000, seed: int = 0) -> tuple[Floats, Floats]:
        """Draws laws by likelihood: exponents (count, axes), coefficients (count, 1 + axes).

        First a cell by its weight, then its coefficients for errors with the noise of a run added.
        That keeps the coefficients at 0 or above.
        """
        random = np.random.default_rng(seed)
        cells = random.choice(len(self.weight), count, p=self.weight)
        noise = random.normal(size=(count, len(self.points))) / np.sqrt(self.points.runs)
        y = self.points.error + self.run_sd * noise
        p = self.exponents[cells]
        return p, project(features(self.points.x, p), y, self.points.runs)[1]

    def bootstrap(self, count: int = 60, seed: int = 0) -> list[Posterior]:
        """Fits the law to its own errors plus residuals of the rows, drawn with replacement.

        They check `draws`, since they do not draw from run_sd. Empty if the rows are as few as the
        law's numbers, so that it goes through all of them.
        """
        if self.points.freedom < 1:
            return []
        random = np.random.default_rng(seed)
        mean = self.moments(self.points.x)[0]
        root = np.sqrt(self.points.runs)
        residuals = root * (self.points.error - mean)
        shrunk = math.sqrt(len(residuals) / self.points.freedom)  # the fit has made them small
        residuals = (residuals - residuals.mean()) * shrunk
        run_sd = max(MIN_RUN_SD, math.sqrt(float((residuals**2).mean())))
        return [
            _fit(replace(self.points, error=mean + drawn / root), run_sd, self.grid, self.source)
            for drawn in random.choice(residuals, (count, len(residuals)))
        ]


def posterior(
    points: Points,
    *,
    run_sd: float | None = None,
    grid: Sequence[float] | None = None,
    robust: bool = False,
    source: str = "a fit",
) -> Posterior:
    """Fits the law to `points`, by Bayesian averaging over exponents.

    `run_sd`: the seed standard deviation of an error. None: it is pooled from rows at equal x, else
    estimated by the jackknife, else 0.0025. `grid`: the exponents tried on each axis; fewer are
    faster. `robust`: rows that are far off count less (Huber). `points.require_fittable` checks
    beforehand whether a law can be fitted. UsageError: no fit can use `run_sd`.
    """
    grid = tuple(grid or default_grid(len(points.axes)))
    source_of_sd, sd, freedom = _choose_run_sd(points, run_sd, grid, source)
    fit = _fit(points, sd, grid, source)
    for _ in range(5 if robust else 0):
        residuals = np.abs(fit.moments(points.x)[0] - points.error) * np.sqrt(points.runs)
        weights = np.minimum(1, HUBER * fit.run_sd / np.maximum(residuals, 1e-12))
        fit = _fit(replace(points, runs=points.runs * weights), fit.run_sd, grid, source)
    return replace(fit, run_sd_from=source_of_sd, freedom=freedom)


def _choose_run_sd(
    points: Points, run_sd: float | None, grid: tuple[float, ...], source: str
) -> tuple[str, float, float]:
    """Returns where run_sd comes from, its value and its degrees of freedom."""
    if run_sd is not None:
        return "given", require_run_sd(run_sd), math.inf
    if (replicates := _replicate_sd(points)) is not None:
        return "replicates", *replicates
    if (jackknife := _jackknife_sd(points, grid, source)) is not None:
        return "jackknife", *jackknife
    return "assumed", RUN_SD, math.inf


def _fit(points: Points, run_sd: float, grid: tuple[float, ...], source: str) -> Posterior:
    axes: list[Floats] = [np.array(grid)] * len(points.axes)
    while True:
        cells = grid_cells(axes)
        squares, c = project(features(points.x, cells), points.error, points.runs)
        weight = cell_weights(squares, cells, run_sd)
        kept = weight > NEGLIGIBLE
        cells, c, weight = cells[kept], c[kept], weight[kept] / weight[kept].sum()
        step = float(axes[0][1] / axes[0][0])
        if 1 / np.sum(weight**2) > 8 or step < 1.01:
            return Posterior(points, cells, c, weight, run_sd, "given", math.inf, grid, source)
        # many good rows put all the weight into a few cells: look between them
        axes = [
            np.geomspace(max(p / step**1.5, grid[0]), min(p * step**1.5, grid[-1]), len(grid))
            for p in map(float, weight @ cells)
        ]


def _replicate_sd(points: Points) -> tuple[float, float] | None:
    """Pools run_sd over rows at equal x, with degrees of freedom; None if those are below two."""
    group = points.groups
    mean = np.bincount(group, points.runs * points.error) / np.bincount(group, points.runs)
    squares = float(np.sum(points.runs * (points.error - mean[group]) ** 2))
    freedom = len(points) - len(mean)
    return (max(MIN_RUN_SD, math.sqrt(squares / freedom)), freedom) if freedom >= 2 else None


def _jackknife_sd(
    points: Points, grid: tuple[float, ...], source: str
) -> tuple[float, float] | None:
    """Returns run_sd from residuals with and without a row, and its degrees of freedom.

    The mean of their products is the variance of a run, exactly so in a linear model. None if there
    are no more rows than numbers in the law.
    """
    run_sd = RUN_SD
    for _ in range(2):  # the weights of cells depend on it
        if points.freedom < 1:
            return None
        fit = _fit(points, run_sd, grid, source)
        inside = fit.moments(points.x)[0] - points.error
        products = points.runs * inside * (fit.left_out.error - points.error)
        if not np.isfinite(products).any():
            return None
        mean = float(np.nanmean(products))  # pyright: ignore[reportUnknownArgumentType]
        run_sd = max(MIN_RUN_SD, math.sqrt(max(0.0, mean)))
    return run_sd, points.freedom
