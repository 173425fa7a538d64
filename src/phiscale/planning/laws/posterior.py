"""How sure an error law is: all exponents that explain the rows, each as far as it explains them.

    e = c0 + sum_i c_i x_i^-p_i          c >= 0, p > 0

A cell of a grid of exponents weighs exp(-squares / 2 run_sd^2) times the prior of its exponents,
its coefficients being solved for (`projection`). A prediction is the mean over cells; its variance
adds what the cells disagree about, what the rows leave open within each of them, and a floor from
leaving rows out, since no truth is exactly of this form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from phiscale.planning.laws.law import COARSE, EXPONENTS, IMAGES_UNIT, RUN_SD, Law, Number, Term
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.prediction import PredictedError
from phiscale.planning.laws.projection import covariance, features, project

PRIOR_MEDIAN, PRIOR_SPREAD = 0.9, 0.8  # of an exponent: ln p ~ N(ln 0.9, 0.8^2)
WIDENS = 0.1  # of an interval, for each doubling of compute beyond the largest row
NEGLIGIBLE = 1e-7  # of the likeliest cell's weight
LEAST_RUN_SD = 3e-4  # of an error printed in tenths of a per cent


@dataclass(frozen=True, eq=False)
class Posterior:
    """Rows, and what they say of exponents and coefficients. Made by `posterior`."""

    points: Points
    exponents: np.ndarray  # (cells, axes)
    coefficients: np.ndarray  # (cells, 1 + axes)
    weight: np.ndarray  # (cells,), sums to 1
    run_sd: float  # run-to-run standard deviation of an error
    run_sd_from: str  # given, replicates, jackknife or assumed
    freedom: float  # degrees of freedom behind run_sd; infinite where it was given or assumed
    grid: tuple[float, ...]  # of exponents, on each axis, where the fit began
    source: str

    def predict(self, x: Any, *, reference: Any = None) -> PredictedError:
        """The error at `x` (..., axes), in the units of the rows.

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

    def moments(self, x: np.ndarray, reference: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the law's error at `x` (points, axes), the floor left out."""
        at = features(x, self.exponents)
        if reference is not None:
            at = at - features(np.asarray(reference, dtype=float)[None], self.exponents)
        each = (at @ self.coefficients[..., None])[..., 0]  # cells, points
        mean = self.weight @ each
        within = np.einsum("cpi,cij,cpj->cp", at, self._spread, at, optimize=True)
        return mean, self.weight @ ((each - mean) ** 2 + self.run_sd**2 * within)

    @cached_property
    def _spread(self) -> np.ndarray:
        known = features(self.points.x, self.exponents)
        return covariance(known, self.points.runs, self.coefficients)

    @cached_property
    def left_out(self) -> PredictedError:
        """What rows at other places predict for each row, the floor not counted: (rows,). NaN where
        they cannot, being as few as the axes or all alike on one."""
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
        """tau: how far truths of this kind are from the law, beyond what noise and few rows
        explain: the value under which the errors on left-out rows are likeliest.

        Counted are rows that the others surround on every axis: beyond them the law is less sure
        already. Where there are none, nothing has tested the law: half of the rows' range.
        """
        told = self.points.interior() & np.isfinite(self.left_out.error)
        if not told.any():
            return float(np.ptp(self.points.error)) / 2
        missed = (self.left_out.error - self.points.error)[told] ** 2
        expected = (self.left_out.sd**2 + self.run_sd**2 / self.points.runs)[told]
        tau = np.concatenate([[0.0], np.geomspace(1e-5, 0.3, 200)])
        variance = tau[:, None] ** 2 + expected
        return float(tau[np.argmin(np.sum(np.log(variance) + missed / variance, axis=1))])

    def law(self) -> Law:
        """The point estimate: mean exponents, e0 and A solved for once more. Few rows do not pin
        an exponent down, and the likeliest cell alone runs to the edge of the grid.

        Its sd is the typical error on a row that only set the exponents. Of the axes depth, width,
        resolution and images only.
        """
        e0, terms = self.terms()
        p = np.array([[term.p for term in terms.values()]])
        columns = features(self.points.x, p)
        missed = []
        for row in range(len(self.points)):
            others = np.arange(len(self.points)) != row
            known = self.points.error[others], self.points.runs[others]
            _, (c, *_) = project(columns[:, others], *known)
            missed.append(float(columns[0, row] @ c - self.points.error[row]))
        sd = max(self.run_sd, math.sqrt(sum(miss**2 for miss in missed) / len(missed)))
        return Law(e0=e0, **terms, sd=sd, source=self.source)  # type: ignore[arg-type]

    def terms(self) -> tuple[float, dict[str, Term]]:
        """e0 and a term for each axis, of the point estimate."""
        p = self.weight @ self.exponents
        _, (c, *_) = project(features(self.points.x, p[None]), self.points.error, self.points.runs)
        e0, *a = map(float, c)
        named = zip(self.points.axes, a, p, strict=True)
        return e0, {axis: Term(A, float(q)) for axis, A, q in named}

    # As an ErrorLaw: what `solve` and `fit` take

    @property
    def sd(self) -> float:
        """Typical error of a prediction among the rows."""
        return math.hypot(self.run_sd, self.floor)

    def error(
        self, *, depth: Number, width: Number, resolution: Number, images: Number | None = None
    ) -> Number:
        """The mean error over cells: floats or arrays that broadcast, as `Law.error`."""
        at = {"depth": depth, "width": width, "resolution": resolution}
        if images is not None and "images" in self.points.axes:
            at["images"] = images / IMAGES_UNIT
        level = float(self.weight @ self.coefficients[:, 0])
        return level + sum(self.term(axis, x) for axis, x in at.items())

    def term(self, axis: str, x: Number) -> Number:
        """The mean over cells of A x^-p on one axis: a sum over the few exponents it has there."""
        p, a = self.marginal(axis)
        return sum(A * x**-q for A, q in zip(a, p, strict=True))

    def marginal(self, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """Exponents on an axis and the weighted A of each: (exponents,) twice."""
        number = self.points.axes.index(axis)
        p, place = np.unique(self.exponents[:, number], return_inverse=True)
        return p, np.bincount(place, self.weight * self.coefficients[:, 1 + number], len(p))

    def draws(self, count: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Laws as likely as they are: exponents (count, axes), coefficients (count, 1 + axes).

        A cell by its weight, then its coefficients for errors with the noise of a run added, which
        keeps them at 0 or above.
        """
        random = np.random.default_rng(seed)
        cells = random.choice(len(self.weight), count, p=self.weight)
        noise = random.normal(size=(count, len(self.points))) / np.sqrt(self.points.runs)
        y = self.points.error + self.run_sd * noise
        p = self.exponents[cells]
        return p, project(features(self.points.x, p), y, self.points.runs)[1]

    def bootstrap(self, count: int = 60, seed: int = 0) -> list[Posterior]:
        """Fits to the law's own errors with what rows are off it, drawn anew among them: a check of
        `draws` that does not draw from its run_sd. Empty where rows are as few as the law's
        numbers, so that it goes through all of them."""
        if self.points.freedom < 1:
            return []
        random = np.random.default_rng(seed)
        mean = self.moments(self.points.x)[0]
        root = np.sqrt(self.points.runs)
        off = root * (self.points.error - mean)
        off = (off - off.mean()) * math.sqrt(
            len(off) / self.points.freedom
        )  # the fit has made them small
        run_sd = max(LEAST_RUN_SD, float(np.sqrt(np.mean(off**2))))
        return [
            _fit(replace(self.points, error=mean + each / root), run_sd, self.grid, self.source)
            for each in random.choice(off, (count, len(off)))
        ]


def posterior(
    points: Points,
    *,
    run_sd: float | None = None,
    grid: Sequence[float] | None = None,
    robust: bool = False,
    source: str = "a fit",
) -> Posterior:
    """The law through `points`, by Bayesian averaging over exponents.

    `run_sd` is the run-to-run standard deviation of an error; None: pooled from rows at equal x,
    else by the jackknife, else 0.0025. `grid` holds the exponents tried on each axis: fewer are
    faster. `robust` counts rows less that are far off (Huber). `points.require_fittable` says
    whether a law can be fitted at all.
    """
    grid = tuple(grid or default_grid(len(points.axes)))
    found = (run_sd, math.inf) if run_sd is not None else None
    ways = {
        "given": lambda: found,
        "replicates": lambda: _replicate_sd(points),
        "jackknife": lambda: _jackknife_sd(points, grid, source),
        "assumed": lambda: (RUN_SD, math.inf),
    }
    told, (sd, freedom) = next((way, sd) for way, ask in ways.items() if (sd := ask()) is not None)
    fit = _fit(points, sd, grid, source)
    for _ in range(5 if robust else 0):
        off = np.abs(fit.moments(points.x)[0] - points.error) * np.sqrt(points.runs)
        heard = np.minimum(1, 1.345 * fit.run_sd / np.maximum(off, 1e-12))
        fit = _fit(replace(points, runs=points.runs * heard), fit.run_sd, grid, source)
    return replace(fit, run_sd_from=told, freedom=freedom)


def default_grid(axes: int) -> tuple[float, ...]:
    """Exponents from 0.15 to 4 on each of so many axes: about 2,000 cells at most."""
    if axes >= 3:
        return EXPONENTS if axes == 3 else COARSE
    low, high = EXPONENTS[0], EXPONENTS[-1]
    return tuple(map(float, np.geomspace(low, high, 97 if axes == 1 else 33)))


def _fit(points: Points, run_sd: float, grid: tuple[float, ...], source: str) -> Posterior:
    axes = [np.array(grid)] * len(points.axes)
    while True:
        cells = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        squares, c = project(features(points.x, cells), points.error, points.runs)
        odds = squares / (2 * run_sd**2) + np.sum(
            np.log(cells / PRIOR_MEDIAN) ** 2 / (2 * PRIOR_SPREAD**2), axis=1
        )
        weight = np.exp(odds.min() - odds)
        kept = weight > NEGLIGIBLE
        cells, c, weight = cells[kept], c[kept], weight[kept] / weight[kept].sum()
        step = axes[0][1] / axes[0][0]
        if 1 / np.sum(weight**2) > 8 or step < 1.01:
            return Posterior(points, cells, c, weight, run_sd, "given", math.inf, grid, source)
        # many good rows put all the weight into a few cells: look between them
        middle = weight @ cells
        axes = [
            np.geomspace(max(p / step**1.5, grid[0]), min(p * step**1.5, grid[-1]), len(grid))
            for p in middle
        ]


def _replicate_sd(points: Points) -> tuple[float, float] | None:
    """Pooled over rows at equal x, and its degrees of freedom; None where those are under two."""
    place = points.groups
    mean = np.bincount(place, points.runs * points.error) / np.bincount(place, points.runs)
    squares = float(np.sum(points.runs * (points.error - mean[place]) ** 2))
    freedom = len(points) - len(mean)
    return (max(LEAST_RUN_SD, math.sqrt(squares / freedom)), freedom) if freedom >= 2 else None


def _jackknife_sd(
    points: Points, grid: tuple[float, ...], source: str
) -> tuple[float, float] | None:
    """From residuals with and without a row: their product has the variance of a run as its mean,
    exactly so in a linear model. None where there are no more rows than numbers in the law."""
    run_sd = RUN_SD
    for _ in range(2):  # the weights of cells depend on it
        if points.freedom < 1:
            return None
        fit = _fit(points, run_sd, grid, source)
        inside = fit.moments(points.x)[0] - points.error
        products = points.runs * inside * (fit.left_out.error - points.error)
        if not np.isfinite(products).any():
            return None
        run_sd = max(LEAST_RUN_SD, math.sqrt(max(0.0, float(np.nanmean(products)))))
    return run_sd, points.freedom


def equal_split_posterior(fit: Posterior, axes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """If all of `axes` had one A and one p between them: the p and the weight of each (cells,).

    Other axes, such as images, keep terms of their own on a coarse grid.
    """
    points = fit.points
    shared = [points.axes.index(axis) for axis in axes]
    own = [number for number in range(len(points.axes)) if number not in shared]
    lines = [np.geomspace(EXPONENTS[0], EXPONENTS[-1], 97), *[np.array(COARSE)] * len(own)]
    cells = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
    together = features(points.x[:, shared], np.repeat(cells[:, :1], len(shared), axis=1))
    columns = [np.ones((*together.shape[:2], 1)), together[..., 1:].sum(2, keepdims=True)]
    if own:
        columns.append(features(points.x[:, own], cells[:, 1:])[..., 1:])
    squares, _ = project(np.concatenate(columns, axis=2), points.error, points.runs)
    odds = squares / (2 * fit.run_sd**2) + np.sum(
        np.log(cells / PRIOR_MEDIAN) ** 2 / (2 * PRIOR_SPREAD**2), axis=1
    )
    weight = np.exp(odds.min() - odds)
    return cells[:, 0], weight / weight.sum()
