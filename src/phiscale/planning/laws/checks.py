"""Is the law the right model? What others predict for rows left out, and rows that fit in nowhere.

law        the additive law itself
macs       the saturating power law of compute alone
quadratic  ln error as a quadratic in ln x: it bends anywhere, and explains nothing
gp         the law and a Gaussian process on its residuals (`report.gp`)

Where quadratic or gp predicts left-out rows clearly better, the law's form is wrong for these rows,
so `allow` refuses to go far beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from phiscale.errors import UsageError
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.planning.laws.prediction import NORMAL_95, quantile_95

FARTHEST = 8.0  # times the compute of the largest row, where another model wins
WINS = 2.0  # standard errors
GROSS = 3.0  # sd between a row and what all others say of it
FREE = ("quadratic", "gp")  # models that would show the law's form to be wrong
FEW = 7  # exponents on each of several axes while rows are looked for: a hundred fits
SUSPECTS = 8  # rows that are looked at, the ones farthest off what the others predict


@dataclass(frozen=True)
class Outlier:
    """A row that the others do not expect."""

    name: str
    error: float
    expected: float  # by the other rows
    sds: float  # how many standard deviations apart

    def __str__(self) -> str:
        side = "worse" if self.error > self.expected else "better"
        points = 100 * abs(self.error - self.expected)
        return (
            f"{self.name} is {points:.2f} points {side} than the other rows expect "
            f"({self.sds:.1f} sd): look at how it was trained, or leave it out."
        )


@dataclass(frozen=True)
class Checks:
    """Errors on left-out rows: root mean squares, as fractions, over the rows all could predict."""

    rms: dict[str, float] = field(default_factory=dict)  # empty: too few rows to tell
    rows: int = 0
    ahead: dict[str, float] = field(default_factory=dict)  # of the law, in standard errors
    flags: tuple[Outlier, ...] = ()

    @property
    def winner(self) -> str:
        """Which predicts left-out rows best; the law where too few rows tell."""
        return min(self.rms, key=self.rms.__getitem__) if self.rms else "law"

    @property
    def better_models(self) -> tuple[str, ...]:
        """Free models that are ahead of the law by more than 2 standard errors."""
        return tuple(name for name in FREE if self.ahead.get(name, 0.0) > WINS)

    def allow(self, beyond: float, name: str) -> None:
        """Raises UsageError for a network `beyond` times the largest row's compute, where the law
        is not to be trusted that far."""
        if beyond <= FARTHEST or not self.better_models:
            return
        other = self.better_models[0]
        raise UsageError(
            f"{name} has {beyond:.3g}x the compute, or images seen, of the largest row, and "
            f"{other} predicts rows left out better than the law ({100 * self.rms[other]:.2f} "
            f"against {100 * self.rms['law']:.2f} points). Ask for at most {FARTHEST:g}x, "
            "or train a network nearer to it and add its row."
        )

    def summary(self) -> str:
        """Which model wins, in a line."""
        if not self.rms:
            return "Too few rows to leave one out: no other model was compared."
        told = ", ".join(f"{name} {100 * value:.2f}" for name, value in self.rms.items())
        clear = [f"{name} by {se:.1f}" for name, se in self.ahead.items() if se > WINS]
        verdict = (
            f"Clearly better than the law, in standard errors: {', '.join(clear)}."
            if clear
            else "None is better than the law by more than 2 standard errors."
        )
        return f"Points off on {self.rows} rows left out: {told}. {verdict}"


def check(
    fit: Posterior, macs: Points | None = None, more: Mapping[str, np.ndarray] | None = None
) -> Checks:
    """Compares the law with other models on rows left out, and looks for rows that fit in nowhere.

    `macs`: the same rows on the one axis of MACs; `more`: what further models predict for each row
    from all others, (rows,) each, NaN where they cannot.
    """
    predicted = {"law": fit.left_out.error}
    if macs is not None and fit.points.axes != macs.axes and not macs.constant():
        alone = posterior(macs, run_sd=fit.run_sd, source=fit.source)
        predicted["macs"] = alone.left_out.error
    if (bent := quadratic_left_out(fit.points)) is not None:
        predicted["quadratic"] = bent
    predicted |= dict(more or {})
    predicted = {name: np.clip(error, 0.0, 1.0) for name, error in predicted.items()}
    told = np.isfinite(np.stack(list(predicted.values()))).all(0)
    if told.sum() < 4:
        return Checks(flags=find_outliers(fit))
    squares = {name: (error - fit.points.error)[told] ** 2 for name, error in predicted.items()}
    rms = {name: math.sqrt(value.mean()) for name, value in squares.items()}
    ahead = {
        name: _in_standard_errors(squares["law"] - value)
        for name, value in squares.items()
        if name != "law"
    }
    return Checks(rms, int(told.sum()), ahead, find_outliers(fit))


def _in_standard_errors(differences: np.ndarray) -> float:
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / error if error > 0 else 0.0


def quadratic_left_out(points: Points) -> np.ndarray | None:
    """For each row (rows,), what a quadratic in ln x fitted to the others makes of it. Without the
    products of axes where rows are too few for them; None where they are too few at all."""
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
    found = np.empty(len(points))
    for part in points.parts():
        others = np.setdiff1d(np.arange(len(points)), part)
        weighted = columns[others] * root[others, None]
        c = np.linalg.lstsq(weighted, (root * y)[others], rcond=None)[0]
        found[part] = np.exp(np.minimum(0.0, columns[part] @ c))
    return found


def find_outliers(fit: Posterior) -> tuple[Outlier, ...]:
    """Rows that all others, fitted without them, miss by more than 3 standard deviations of a run.

    The worst is taken out before the next is looked for, since it pulls the others' law off; at
    most a quarter of the rows. A run_sd from the jackknife is estimated again without the row.
    """
    points, flags = fit.points, []
    few = max(1, round(len(fit.grid) / FEW)) if len(points.axes) > 2 else 1
    off = np.abs(fit.left_out.error - points.error) / np.hypot(fit.left_out.sd, fit.run_sd)
    suspects = {points.names[row] for row in np.argsort(-np.nan_to_num(off))[:SUSPECTS]}
    while len(flags) < len(fit.points) // 4:
        found = [
            _surprise(points, row, fit.grid[::few], fit.run_sd) if name in suspects else None
            for row, name in enumerate(points.names)
        ]
        worst = int(np.argmax([flag.sds if flag else -1.0 for flag in found]))
        given = None if fit.run_sd_from == "jackknife" else fit.run_sd
        flag = _surprise(points, worst, fit.grid[::few], given, floor=True)
        if flag.sds <= GROSS:
            break
        flags.append(flag)
        points = points.without([worst])
    return tuple(flags)


def _surprise(
    points: Points, row: int, grid: tuple[float, ...], run_sd: float | None, *, floor: bool = False
) -> Outlier:
    others, name, error = points.without([row]), points.names[row], float(points.error[row])
    if len(others) <= len(points.axes) + 1 or others.constant():
        return Outlier(name, error, error, 0.0)
    fit = posterior(others, run_sd=run_sd, grid=grid)
    mean, variance = fit.moments(points.x[row : row + 1])
    expected, noise = float(mean[0]), float(variance[0]) + fit.run_sd**2
    if floor:  # takes a fit for every row
        noise += fit.floor**2
    # few degrees of freedom make a run_sd that is small by chance
    heavy = quantile_95(fit.freedom) / NORMAL_95
    return Outlier(name, error, expected, abs(expected - error) / math.sqrt(noise) / heavy)
