"""alpha, beta, gamma from a law: where it is least under depth * width^2 * resolution^2 = T.

    ln x_i(T) = (ln(p_i A_i / c_i) - ln g) / p_i,   c = 1, 2, 2: a line in ln T with
    slope (1 / p_i) / sum_j(c_j / p_j) and an offset, 0 for all only if the base is balanced

g is what a unit of log-compute gains, the same in every dimension. So the coefficients depend on T
unless the base is balanced; for large T they tend to the slopes. As in the paper
(arXiv:1905.11946, eq. 3) no dimension shrinks while the network grows, nor grows while it shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.scaling import Scaling
from phiscale.errors import UsageError
from phiscale.planning.laws.exponents import cell_weights, grid_cells
from phiscale.planning.laws.law import COARSE, EXPONENTS
from phiscale.planning.laws.points import COST_EXPONENTS
from phiscale.planning.laws.posterior import Posterior
from phiscale.planning.laws.projection import features, project
from phiscale.planning.laws.sheet import DIMENSIONS

COSTS = np.array([COST_EXPONENTS[axis] for axis in DIMENSIONS])

Triple = tuple[float, float, float]  # a number each for depth, width and resolution
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """What the rows say of compound scaling to `compute_ratio` times the base.

    Intervals hold 95 % of the laws that explain the rows. alpha * beta^2 * gamma^2 = 2.
    """

    compute_ratio: float  # d w^2 r^2
    scaling: Scaling  # the best: alpha^phi, beta^phi, gamma^phi with phi = log2(compute_ratio)
    values: Triple  # alpha, beta, gamma
    low: Triple
    high: Triple
    slopes: Triple  # d ln x / d ln T, for large T
    offsets: Triple | None  # ln x at T = 1 of that line; None if no law has one
    draws: Floats  # (draws, 3): alpha, beta, gamma
    equal_split: Triple  # alpha, beta, gamma if all dimensions had the same A and p
    equal_split_costs: Triple  # error there above the best: mean, low, high
    equal_split_inside: bool  # the joint region of 95 % holds it

    @property
    def equal_split_excluded(self) -> bool:
        """Tells whether the rows exclude that all dimensions are alike.

        They do only if the equal split costs accuracy and lies outside the joint region.
        """
        return self.equal_split_costs[1] > 0 and not self.equal_split_inside

    def verdict(self) -> str:
        """Returns what the rows say of the equal-split baseline, in two sentences."""
        mean, low, high = (100 * cost for cost in self.equal_split_costs)
        named = ", ".join(f"{value:.2f}" for value in self.equal_split)
        cost = f"It costs {mean:.2f} points [{low:.2f}, {high:.2f}]"
        if low <= 0:
            cost += ", which may be nothing,"
        inside = self.equal_split_inside
        return (
            f"The equal-split baseline (equal terms: {named}) is "
            f"{'excluded' if self.equal_split_excluded else 'not excluded'} "
            f"at {self.compute_ratio:g}x. "
            f"{cost} {'and' if (low > 0) != inside else 'but'} lies "
            f"{'inside' if inside else 'outside'} the joint region of the coefficients."
        )


def triple(values: Floats) -> Triple:
    """Returns the three numbers of an array (3,) as floats."""
    one, two, three = map(float, values)
    return one, two, three


def optimum(fit: Posterior, compute_ratio: float, *, draws: int = 1000, seed: int = 0) -> Optimum:
    """Finds alpha, beta and gamma at `compute_ratio` times the base, with intervals.

    The values are those of the posterior mean surface, the intervals those of `draws` laws.
    UsageError: the ratio is 1 or not above 0, or the law lacks depth, width or resolution.
    """
    _require_ratio(compute_ratio)
    places = _dimensions_of(fit)
    best = mean_optimum(fit, compute_ratio)
    p, c = fit.draws(draws, seed)
    p, c = p[:, places], c[:, [1 + place for place in places]]
    single = optima(p, c, compute_ratio)
    slopes: Floats = (1 / p) / np.sum(COSTS / p, axis=1, keepdims=True)
    equal = _equal_split(fit, compute_ratio)
    costs = np.sum(c * (np.exp(-p * equal) - np.exp(-p * best)), axis=1)
    to_powers = math.log(2) / math.log(compute_ratio)
    powers = np.exp(single * to_powers)
    depth, width, resolution = map(float, np.exp(best))
    return Optimum(
        compute_ratio=compute_ratio,
        scaling=Scaling(depth=depth, width=width, resolution=resolution),
        values=triple(np.exp(best * to_powers)),
        low=triple(np.quantile(powers, 0.025, axis=0)),
        high=triple(np.quantile(powers, 0.975, axis=0)),
        slopes=triple(slopes.mean(0)),
        offsets=_offsets(p, c),
        draws=powers,
        equal_split=triple(np.exp(equal * to_powers)),
        equal_split_costs=triple(np.array([costs.mean(), *np.quantile(costs, (0.025, 0.975))])),
        equal_split_inside=_inside(np.log(powers[:, :2]), equal[:2] * to_powers),
    )


def _require_ratio(compute_ratio: float) -> None:
    fine = math.isfinite(compute_ratio) and compute_ratio > 0
    if not fine or abs(math.log(compute_ratio)) < 1e-6:
        raise UsageError(
            f"compute_ratio={compute_ratio:g} has no coefficients. "
            "Use a multiple of the base's compute, such as 2."
        )


def _dimensions_of(fit: Posterior) -> list[int]:
    """Returns where depth, width and resolution stand among the axes."""
    if missing := [axis for axis in DIMENSIONS if axis not in fit.points.axes]:
        raise UsageError(
            f"a law of {', '.join(fit.points.axes)} has no coefficients: it lacks "
            f"{', '.join(missing)}. Fit one of depth, width and resolution."
        )
    return [fit.points.axes.index(axis) for axis in DIMENSIONS]


def mean_optimum(fit: Posterior, compute_ratio: float) -> Floats:
    """Returns ln of depth, width and resolution (3,) where the posterior mean error is least.

    The mean is additive too, and convex in each ln x: each falls as g grows.
    """
    lines = [fit.marginal(axis) for axis in DIMENSIONS]
    reach = math.log(compute_ratio) / COSTS
    places = [np.linspace(min(0, end), max(0, end), 2001) for end in reach]
    # ln g there: falls along every line
    gains = [
        np.log(np.maximum(1e-300, np.exp(-np.outer(u, p)) @ (p * a))) - math.log(c)
        for u, (p, a), c in zip(places, lines, COSTS, strict=True)
    ]

    def at(log_gain: Floats) -> Floats:
        logs = [np.interp(-log_gain, -gain, u) for u, gain in zip(places, gains, strict=True)]
        return np.stack(logs, axis=-1)

    return _within_budget(at, np.zeros(1), compute_ratio)[0]


def bootstrap_intervals(
    fit: Posterior, compute_ratio: float, *, count: int = 60
) -> tuple[Triple, Triple] | None:
    """Returns intervals of alpha, beta, gamma (low, high) by `Posterior.bootstrap`.

    They check those of `optimum`, since they do not draw from the law's run_sd. None where the rows
    are too few.
    """
    if not (fits := fit.bootstrap(count)):
        return None
    power = math.log(2) / math.log(compute_ratio)
    powers = np.exp([power * mean_optimum(each, compute_ratio) for each in fits])
    return triple(np.quantile(powers, 0.025, axis=0)), triple(np.quantile(powers, 0.975, axis=0))


def optima(p: Floats, a: Floats, compute_ratio: float) -> Floats:
    """Returns the best ln of the multipliers (laws, 3) of single laws.

    `p`, `a`: exponents and coefficients of depth, width and resolution, (laws, 3) each.
    """
    gains = np.log(np.maximum(p * a / COSTS, 1e-300))
    reach = math.log(compute_ratio) / COSTS
    low, high = np.minimum(0, reach), np.maximum(0, reach)

    def at(log_gain: Floats) -> Floats:
        return np.clip((gains - log_gain[:, None]) / p, low, high)

    return _within_budget(at, np.zeros(len(p)), compute_ratio)


def _within_budget(at: Callable[[Floats], Floats], start: Floats, compute_ratio: float) -> Floats:
    """Returns `at(ln g)` (laws, 3) at the g where it has `compute_ratio`, for every law at once."""
    low, high = start - 800.0, start + 800.0
    for _ in range(70):
        middle = (low + high) / 2
        above = at(middle) @ COSTS > math.log(compute_ratio)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return at((low + high) / 2)


def _offsets(p: Floats, a: Floats) -> Triple | None:
    """Averages over laws ln x_i at T = 1, no bounds, on the line of the module's head."""
    p, a = p[(a > 0).all(1)], a[(a > 0).all(1)]
    if not len(p):
        return None
    gains = np.log(p * a / COSTS)
    log_gain = np.sum(COSTS * gains / p, axis=1) / np.sum(COSTS / p, axis=1)
    return triple(((gains - log_gain[:, None]) / p).mean(0))


def _equal_split(fit: Posterior, compute_ratio: float) -> Floats:
    """Returns ln of the multipliers (3,) that are best if all dimensions have the same A and p."""
    p, weight = _equal_split_posterior(fit)
    single = optima(np.repeat(p[:, None], 3, axis=1), np.ones((len(p), 3)), compute_ratio)
    return weight @ single


def _equal_split_posterior(fit: Posterior) -> tuple[Floats, Floats]:
    """Returns the p of all dimensions and its weight, (cells,) each, if they share one A and one p.

    Other axes, such as images, keep terms of their own on a coarse grid.
    """
    points = fit.points
    shared = [points.axes.index(axis) for axis in DIMENSIONS]
    others = [number for number in range(len(points.axes)) if number not in shared]
    exponents: Floats = np.geomspace(EXPONENTS[0], EXPONENTS[-1], 97, dtype=np.float64)
    coarse: Floats = np.array(COARSE)
    cells = grid_cells([exponents, *[coarse] * len(others)])
    together = features(points.x[:, shared], np.repeat(cells[:, :1], len(shared), axis=1))
    columns = [np.ones((*together.shape[:2], 1)), together[..., 1:].sum(2, keepdims=True)]
    if others:
        columns.append(features(points.x[:, others], cells[:, 1:])[..., 1:])
    squares, _ = project(np.concatenate(columns, axis=2), points.error, points.runs)
    weight = cell_weights(squares, cells, fit.run_sd)
    return cells[:, 0], weight / weight.sum()


def _inside(draws: Floats, point: Floats) -> bool:
    """Tells if `point` (2,) is in the 95 % region of `draws` (draws, 2), by Mahalanobis."""
    centre = draws.mean(0)
    inverse = np.linalg.pinv(np.cov(draws.T) + 1e-12 * np.eye(2))
    far = np.einsum("ni,ij,nj->n", draws - centre, inverse, draws - centre)
    return float((point - centre) @ inverse @ (point - centre)) <= np.quantile(far, 0.95)
