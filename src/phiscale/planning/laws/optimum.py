"""alpha, beta, gamma from a law: where it is least under depth * width^2 * resolution^2 = T.

    ln x_i(T) = (ln(p_i A_i / c_i) - ln price) / p_i,   c = 1, 2, 2: a line in ln T with
    slope (1 / p_i) / sum_j(c_j / p_j) and an offset, 0 for all only if the base is balanced

so coefficients depend on T unless it is, and slopes alone are what they tend to. As in the paper
(arXiv:1905.11946, eq. 3) no dimension shrinks while the network grows, nor the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phiscale.arch.scaling import Scaling
from phiscale.errors import UsageError
from phiscale.planning.laws.points import COST_EXPONENTS
from phiscale.planning.laws.posterior import Posterior, posterior_of_equals

DIMENSIONS = ("depth", "width", "resolution")
COSTS = np.array([COST_EXPONENTS[axis] for axis in DIMENSIONS])

Three = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """What the rows say of compound scaling to `compute` times the base.

    Intervals hold 95 % of the laws that explain the rows. alpha * beta^2 * gamma^2 = 2.
    """

    compute: float
    scaling: Scaling  # the best one: alpha^phi, beta^phi, gamma^phi with phi = log2(compute)
    values: Three  # alpha, beta, gamma
    low: Three
    high: Three
    slopes: Three  # d ln x / d ln T, for large T
    slopes_low: Three
    slopes_high: Three
    offsets: Three | None  # ln x at T = 1 of that line; None if no law has one
    draws: np.ndarray  # (draws, 3): alpha, beta, gamma
    null: Three  # of the symmetric null: the same A and p in all dimensions
    null_costs: Three  # error there above the best: mean, low, high
    null_inside: bool  # does the joint region of 95 % hold it?

    @property
    def null_excluded(self) -> bool:
        """Do the rows exclude that all dimensions are alike? Only if equal ones cost accuracy, and
        their coefficients are outside the joint region too."""
        return self.null_costs[1] > 0 and not self.null_inside

    def verdict(self) -> str:
        """The symmetric null in a sentence."""
        mean, low, high = (100 * cost for cost in self.null_costs)
        named = ", ".join(f"{value:.2f}" for value in self.null)
        costs = f"it costs {mean:.2f} points [{low:.2f}, {high:.2f}]"
        if low <= 0:
            costs += ", which may be nothing,"
        return (
            f"The symmetric null (equal terms: {named}) is "
            f"{'excluded' if self.null_excluded else 'not excluded'} at {self.compute:g}x: "
            f"{costs} {'and' if (low > 0) != self.null_inside else 'but'} lies "
            f"{'inside' if self.null_inside else 'outside'} the joint region of the coefficients."
        )


def optimum(fit: Posterior, compute: float, *, draws: int = 1000, seed: int = 0) -> Optimum:
    """alpha, beta, gamma at `compute` times the base, with intervals over `draws` of the posterior.

    The values are those of the posterior mean surface. Errors: UsageError for a compute of 1 or
    none, and for a law without depth, width and resolution.
    """
    if not (math.isfinite(compute) and compute > 0) or abs(math.log(compute)) < 1e-6:
        raise UsageError(
            f"no coefficients at compute={compute:g}. Give how many times the base's, such as 2."
        )
    if missing := [axis for axis in DIMENSIONS if axis not in fit.points.axes]:
        raise UsageError(
            f"a law of {', '.join(fit.points.axes)} has no coefficients: it lacks "
            f"{', '.join(missing)}. Fit one of depth, width and resolution."
        )
    places = [fit.points.axes.index(axis) for axis in DIMENSIONS]
    best = mean_optimum(fit, compute)
    p, c = fit.draws(draws, seed)
    p, c = p[:, places], c[:, [1 + place for place in places]]
    each = optima(p, c, compute)
    slopes = (1 / p) / np.sum(COSTS / p, axis=1, keepdims=True)
    null = _symmetric(fit, compute)
    costs = np.sum(c * (np.exp(-p * null) - np.exp(-p * best)), axis=1)
    to_powers = math.log(2) / math.log(compute)
    found = np.exp(each * to_powers)
    return Optimum(
        compute=compute,
        scaling=Scaling(**dict(zip(DIMENSIONS, map(float, np.exp(best)), strict=True))),
        values=_three(np.exp(best * to_powers)),
        low=_three(np.quantile(found, 0.025, axis=0)),
        high=_three(np.quantile(found, 0.975, axis=0)),
        slopes=_three(slopes.mean(0)),
        slopes_low=_three(np.quantile(slopes, 0.025, axis=0)),
        slopes_high=_three(np.quantile(slopes, 0.975, axis=0)),
        offsets=_offsets(p, c),
        draws=found,
        null=_three(np.exp(null * to_powers)),
        null_costs=_three(np.array([costs.mean(), *np.quantile(costs, (0.025, 0.975))])),
        null_inside=_inside(np.log(found[:, :2]), null[:2] * to_powers),
    )


def mean_optimum(fit: Posterior, compute: float) -> np.ndarray:
    """ln of depth, width, resolution (3,) where the posterior mean error is least.

    The mean is additive too, and convex in each ln x: each falls with the price of log-compute.
    """
    lines = [fit.marginal(axis) for axis in DIMENSIONS]
    reach = math.log(compute) / COSTS
    places = [np.linspace(min(0, end), max(0, end), 2001) for end in reach]
    # what a unit of log-compute buys there: falls along every line
    gains = [
        np.log(np.maximum(1e-300, np.exp(-np.outer(u, p)) @ (p * a))) - math.log(c)
        for u, (p, a), c in zip(places, lines, COSTS, strict=True)
    ]

    def at(price: np.ndarray) -> np.ndarray:
        each = [np.interp(-price, -gain, u) for u, gain in zip(places, gains, strict=True)]
        return np.stack(each, axis=-1)

    return _within_budget(at, np.zeros(1), compute)[0]


def bootstrapped(fit: Posterior, compute: float, *, count: int = 60) -> tuple[Three, Three] | None:
    """Intervals of alpha, beta, gamma (low, high) by `Posterior.bootstrap`: a check of those of
    `optimum` that does not draw from their run_sd. None where rows are too few for it."""
    if not (again := fit.bootstrap(count)):
        return None
    power = math.log(2) / math.log(compute)
    found = np.exp([power * mean_optimum(each, compute) for each in again])
    return _three(np.quantile(found, 0.025, axis=0)), _three(np.quantile(found, 0.975, axis=0))


def optima(p: np.ndarray, a: np.ndarray, compute: float) -> np.ndarray:
    """The same of single laws: exponents and A (laws, 3) -> ln of the multipliers (laws, 3)."""
    gains = np.log(np.maximum(p * a / COSTS, 1e-300))
    reach = math.log(compute) / COSTS
    low, high = np.minimum(0, reach), np.maximum(0, reach)
    return _within_budget(
        lambda price: np.clip((gains - price[:, None]) / p, low, high), np.zeros(len(p)), compute
    )


def _within_budget(
    at: Callable[[np.ndarray], np.ndarray], start: np.ndarray, compute: float
) -> np.ndarray:
    """`at(price)` (laws, 3) at the price where it costs `compute`, for every law at once."""
    low, high = start - 800.0, start + 800.0
    for _ in range(70):
        middle = (low + high) / 2
        dear = at(middle) @ COSTS > math.log(compute)
        low, high = np.where(dear, middle, low), np.where(dear, high, middle)
    return at((low + high) / 2)


def _offsets(p: np.ndarray, a: np.ndarray) -> Three | None:
    """Mean over laws of ln x_i at T = 1, no bounds, on the line of the module's head."""
    p, a = p[(a > 0).all(1)], a[(a > 0).all(1)]
    if not len(p):
        return None
    gains = np.log(p * a / COSTS)
    price = np.sum(COSTS * gains / p, axis=1) / np.sum(COSTS / p, axis=1)
    return _three(((gains - price[:, None]) / p).mean(0))


def _symmetric(fit: Posterior, compute: float) -> np.ndarray:
    """ln of the multipliers that are best if all dimensions have the same A and p."""
    p, weight = posterior_of_equals(fit, DIMENSIONS)
    each = optima(np.repeat(p[:, None], 3, axis=1), np.ones((len(p), 3)), compute)
    return weight @ each


def _inside(draws: np.ndarray, point: np.ndarray) -> bool:
    """Is `point` (2,) in the 95 % region of `draws` (draws, 2)? As far out as draws themselves."""
    centre = draws.mean(0)
    inverse = np.linalg.pinv(np.cov(draws.T) + 1e-12 * np.eye(2))
    far = np.einsum("ni,ij,nj->n", draws - centre, inverse, draws - centre)
    return float((point - centre) @ inverse @ (point - centre)) <= np.quantile(far, 0.95)


def _three(values: np.ndarray) -> Three:
    one, two, three = map(float, values)
    return one, two, three
