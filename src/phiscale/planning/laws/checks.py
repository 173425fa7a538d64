"""Is the law the right model? Other models on left-out rows, and rows that fit no model.

law        the additive law itself
macs       the saturating power law of compute alone
quadratic  ln error as a quadratic in ln x: it bends anywhere, and explains nothing
gp         the law and a Gaussian process on its residuals (`report.gp`)

If quadratic or gp predicts left-out rows clearly better, the law's form is wrong for these rows.
Then `require_range` refuses predictions far beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phiscale.errors import UsageError
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.planning.laws.prediction import NORMAL_95, quantile_95

MAX_EXTRAPOLATION = 8.0  # times the compute of the largest row, where another model predicts better
CLEARLY_BETTER = 2.0  # standard errors
OUTLIER_SDS = 3.0  # between a row and what all others predict for it
FREE = ("quadratic", "gp")  # models that would show the law's form to be wrong
FEW_EXPONENTS = 7  # on each of several axes while outliers are searched: a hundred fits
SUSPECTS = 8  # rows that are tested, the ones farthest from what the others predict

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outlier:
    """A row that the others predict badly."""

    name: str
    error: float
    expected: float  # by the other rows
    sds: float  # how many standard deviations apart

    def __str__(self) -> str:
        side = "worse" if self.error > self.expected else "better"
        points = 100 * abs(self.error - self.expected)
        return (
            f"{self.name} is {points:.2f} points {side} than the other rows predict "
            f"({self.sds:.1f} sd). Check how it was trained, or leave it out."
        )


@dataclass(frozen=True)
class Checks:
    """Errors on left-out rows: root mean squares, as fractions, over rows that all models predict.

    The names of the fields are those of `law.json`.
    """

    rms: dict[str, float] = field(default_factory=dict[str, float])  # empty: too few rows
    rows: int = 0
    ahead: dict[str, float] = field(default_factory=dict[str, float])  # in standard errors
    flags: tuple[Outlier, ...] = ()

    @property
    def winner(self) -> str:
        """Returns the model that predicts left-out rows best; the law if there are too few rows."""
        return min(self.rms, key=self.rms.__getitem__) if self.rms else "law"

    @property
    def better_models(self) -> tuple[str, ...]:
        """Returns the free models that are better than the law by more than 2 standard errors."""
        return tuple(name for name in FREE if self.ahead.get(name, 0.0) > CLEARLY_BETTER)

    def require_range(self, beyond: float, name: str) -> None:
        """Checks that the law can be trusted as far as a network. UsageError: it cannot.

        `beyond`: its compute over that of the largest row; `name`: what the message calls it.
        """
        if beyond <= MAX_EXTRAPOLATION or not self.better_models:
            return
        other = self.better_models[0]
        raise UsageError(
            f"{name} has {beyond:.3g}x the compute, or images seen, of the largest row, and "
            f"{other} predicts left-out rows better than the law ({100 * self.rms[other]:.2f} "
            f"against {100 * self.rms['law']:.2f} points). Use at most {MAX_EXTRAPOLATION:g}x, "
            "or train a network nearer to it and add its row."
        )

    def summary(self) -> str:
        """Returns a line: which model predicts left-out rows best."""
        if not self.rms:
            return "Too few rows to leave one out: the law was not compared with other models."
        errors = ", ".join(f"{name} {100 * value:.2f}" for name, value in self.rms.items())
        clear = [f"{name} by {se:.1f}" for name, se in self.ahead.items() if se > CLEARLY_BETTER]
        verdict = (
            f"Clearly better than the law, in standard errors: {', '.join(clear)}."
            if clear
            else "No model is better than the law by more than 2 standard errors."
        )
        return f"Error in points on {self.rows} left-out rows: {errors}. {verdict}"


def check(
    fit: Posterior, macs: Points | None = None, more: Mapping[str, Floats] | None = None
) -> Checks:
    """Compares the law with other models on left-out rows, and finds rows that fit no model.

    `macs`: the same rows on the one axis of MACs; `more`: what further models predict for each row
    from all others, (rows,) each, NaN where they cannot.
    """
    predicted = {"law": fit.left_out.error}
    if macs is not None and fit.points.axes != macs.axes and not macs.constant():
        alone = posterior(macs, run_sd=fit.run_sd, source=fit.source)
        predicted["macs"] = alone.left_out.error
    if (quadratic := quadratic_left_out(fit.points)) is not None:
        predicted["quadratic"] = quadratic
    predicted |= dict(more or {})
    predicted = {name: np.clip(error, 0.0, 1.0) for name, error in predicted.items()}
    common = np.isfinite(np.stack(list(predicted.values()))).all(0)
    if common.sum() < 4:
        return Checks(flags=find_outliers(fit))
    squares = {name: (error - fit.points.error)[common] ** 2 for name, error in predicted.items()}
    rms = {name: math.sqrt(value.mean()) for name, value in squares.items()}
    ahead = {
        name: _in_standard_errors(squares["law"] - value)
        for name, value in squares.items()
        if name != "law"
    }
    return Checks(rms, int(common.sum()), ahead, find_outliers(fit))


def _in_standard_errors(differences: Floats) -> float:
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / error if error > 0 else 0.0


def quadratic_left_out(points: Points) -> Floats | None:
    """Predicts each row by a quadratic in ln x, fitted to the other rows: (rows,).

    Without the products of axes if the rows are too few for them; None if they are too few at all.
    """
    logs = np.log(points.x) - np.log(points.x).mean(0)
    axes = logs.shape[1]
    pairs = [(i, j) for i in range(axes) for j in range(i, axes)]
    columns = np.column_stack(
        [np.ones(len(points)), logs, *[logs[:, i] * logs[:, j] for i, j in pairs]]
    )
    if len(points) < columns.shape[1] + 2:
        columns = np.column_stack([np.ones(len(points)), logs, logs**2])
    if len(points) < columns.shape[1] + 2 or (points.error <= 0).any():
        return None
    root, y = np.sqrt(points.runs), np.log(points.error)
    predicted = np.empty(len(points))
    for part in points.parts():
        others = np.setdiff1d(np.arange(len(points)), part)
        weighted = columns[others] * root[others, None]
        c = np.linalg.lstsq(weighted, (root * y)[others], rcond=None)[0]
        predicted[part] = np.exp(np.minimum(0.0, columns[part] @ c))
    return predicted


def find_outliers(fit: Posterior) -> tuple[Outlier, ...]:
    """Rows that a fit to all others misses by more than 3 standard deviations of a run.

    The worst row is removed before the next is searched, since it distorts the fit. At most a
    quarter of the rows are outliers. A run_sd from the jackknife is estimated anew without the row.
    """
    points, outliers = fit.points, list[Outlier]()
    step = max(1, round(len(fit.grid) / FEW_EXPONENTS)) if len(points.axes) > 2 else 1
    off = np.abs(fit.left_out.error - points.error) / np.hypot(fit.left_out.sd, fit.run_sd)
    farthest = map(int, np.argsort(-np.nan_to_num(off))[:SUSPECTS])
    suspects = {points.names[row] for row in farthest}
    while len(outliers) < len(fit.points) // 4:
        candidates = [
            _test_row(points, row, fit.grid[::step], fit.run_sd) if name in suspects else None
            for row, name in enumerate(points.names)
        ]
        worst = int(np.argmax([each.sds if each else -1.0 for each in candidates]))
        run_sd = None if fit.run_sd_from == "jackknife" else fit.run_sd
        outlier = _test_row(points, worst, fit.grid[::step], run_sd, floor=True)
        if outlier.sds <= OUTLIER_SDS:
            break
        outliers.append(outlier)
        points = points.without([worst])
    return tuple(outliers)


def _test_row(
    points: Points, row: int, grid: tuple[float, ...], run_sd: float | None, *, floor: bool = False
) -> Outlier:
    """Tells how far a row is from a fit to the others; `floor`: the law's floor counts as noise."""
    others, name, error = points.without([row]), points.names[row], float(points.error[row])
    if len(others) <= len(points.axes) + 1 or others.constant():
        return Outlier(name, error, error, 0.0)
    fit = posterior(others, run_sd=run_sd, grid=grid)
    mean, variance = fit.moments(points.x[row : row + 1])
    expected, noise = float(mean[0]), float(variance[0]) + fit.run_sd**2
    if floor:  # this takes a fit for every row
        noise += fit.floor**2
    # with few degrees of freedom a run_sd may be small by chance
    heavy = quantile_95(fit.freedom) / NORMAL_95
    return Outlier(name, error, expected, abs(expected - error) / math.sqrt(noise) / heavy)
