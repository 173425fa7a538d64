"""Which networks to train so that an error law is known as well as a budget allows.

Compute is spent where the law learns most from it: on cheap networks far out in one dimension, such
as wide, shallow ones of few pixels, never on a grid around the answer. Units are the base's cost,
its exact MACs: seven units pay for seven trainings of the base, or for about twenty of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from phiscale.arch.costs import measure_scaling
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import ScaledNetwork, Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.laws.law import RUN_SD

DEPTHS = (0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0)
SIDES = (0.5, 0.71, 1.0, 1.19, 1.41, 1.68, 2.0)  # of width and of resolution
LEAST_COST, MOST_COST = 0.2, 4.0
FEWEST_RUNS = 4  # an error law of three dimensions has at least as many rows
PRIOR_DRAWS = 40
COST_POWER = 0.7  # between 0 (information alone) and 1 (information a unit, all in tiny networks)
PASSES = 5  # of exchanges; one or two are usually enough


@lru_cache(maxsize=4)  # a plan is followed many times, by every worker
def candidates(
    base: Spec,
    *,
    native_pixels: int | None = None,
    least: float = LEAST_COST,
    most: float = MOST_COST,
) -> tuple[ScaledNetwork, ...]:
    """Every different real network at the levels of depth, width and resolution, cheapest first.

    `native_pixels`: of the images; more than that would measure interpolation, not resolution.
    `least`, `most`: cost in units of the base. UsageError: none is left, or all are alike in one
    dimension.
    """
    found = networks_at(
        base, ((d, w, r) for d in DEPTHS for w in SIDES for r in SIDES), native_pixels
    )
    kept = tuple(point for point in found if least <= point.compute_ratio <= most)
    for name in ("depth", "width", "resolution"):
        if len({getattr(point.by, name) for point in kept}) < 2:
            raise UsageError(
                f"no two networks between {least:g} and {most:g} times the base's cost differ in "
                f"{name}. Widen the range of costs, or take a base with more room"
                + (" below the images' pixels." if name == "resolution" else ".")
            )
    return kept


def d_optimal(
    among: Sequence[ScaledNetwork], budget: float, *, run_sd: float = RUN_SD, seed: int = 0
) -> tuple[ScaledNetwork, ...]:
    """The runs to make of `among` within `budget` units; a point twice is two trainings of it.

    Cost-weighted D-optimality: greedily the run that adds most to the log-determinant of the law's
    information matrix, averaged over draws from the prior of its seven numbers (the law is not
    linear in its exponents, so the best design depends on them), over cost^0.7; then exchanges of
    one run for another that tell more for what is left (Fedorov, Theory of Optimal Experiments,
    1972; averaging: Chaloner and Verdinelli, Statistical Science 1995). Cheapest first.
    `run_sd`: run-to-run standard deviation of an error. UsageError: the budget buys under 4 runs.
    """
    import numpy as np

    costs = np.array([point.compute_ratio for point in among])
    rows, known = prior_information(among, run_sd, seed)  # (draws, points, 7), (draws, 7, 7)
    inverse = np.linalg.inv(known)
    chosen: list[int] = []

    def gains() -> Any:
        """What one more run of each point adds to the log-determinant: (points,)."""
        information = np.sum((rows @ inverse) * rows, axis=2)  # (draws, points)
        return np.log1p(information).mean(axis=0)

    def count(point: int, sign: int) -> None:
        """A run more (+1) or less (-1): Sherman and Morrison."""
        nonlocal inverse
        step = np.einsum("kij,kj->ki", inverse, rows[:, point])
        scale = sign / (1 + sign * np.einsum("ki,ki->k", rows[:, point], step))
        inverse = inverse - scale[:, None, None] * step[:, :, None] * step[:, None, :]

    def fill() -> None:
        """Runs as long as one can be paid."""
        while (paid := costs <= budget - costs[chosen].sum() + 1e-9).any():
            best = int(np.argmax(np.where(paid, gains() / costs**COST_POWER, -1)))
            chosen.append(best)
            count(best, +1)

    fill()
    for _ in range(PASSES):
        before = list(chosen)
        for place, old in enumerate(before):
            count(old, -1)
            left = budget - costs[chosen].sum() + costs[old] + 1e-9
            best = int(np.argmax(np.where(costs <= left, gains(), -1)))
            chosen[place] = best
            count(best, +1)
        fill()
        if chosen == before:
            break
    if len(chosen) < FEWEST_RUNS:
        raise UsageError(
            f"{budget:g} times the base's cost buys {len(chosen)} trainings; a law takes at least "
            f"{FEWEST_RUNS}. Use a budget of 7 or more."
        )
    return tuple(among[index] for index in sorted(chosen, key=lambda i: (costs[i], i)))


def networks_at(
    base: Spec, wanted: Iterable[tuple[float, float, float]], native_pixels: int | None = None
) -> tuple[ScaledNetwork, ...]:
    """The different real networks nearest to multipliers of depth, width and resolution, but those
    of more pixels than the images; cheapest first."""
    step = 8 if base.resolution > SMALL_PIXELS else 4
    specs: dict[Spec, None] = {}
    for depth, width, resolution in wanted:
        pixels = base.resolution
        if resolution != 1:
            pixels = step * max(1, round(base.resolution * resolution / step))
        if pixels >= min(2 * base.reduction, base.resolution) and pixels <= (
            native_pixels or math.inf
        ):
            wide = scale(base, Scaling(depth=depth, width=width))
            specs[replace(wide, resolution=pixels)] = None
    found = [measure_scaling(spec, base) for spec in specs]
    return tuple(sorted(found, key=lambda point: point.compute_ratio))


def prior_information(among: Sequence[ScaledNetwork], run_sd: float, seed: int) -> tuple[Any, Any]:
    """Derivatives of e0 + sum A x^-p by e0, A, p, over `run_sd`, and the prior's information.

    Draws of the prior: ln p ~ N(ln 0.9, 0.8^2) as in the fit, A log-uniform in 0.8 to 5 points.
    """
    import numpy as np

    from phiscale.planning.laws.exponents import PRIOR_MEDIAN, PRIOR_SPREAD

    random = np.random.default_rng(seed)
    p = np.exp(np.log(PRIOR_MEDIAN) + PRIOR_SPREAD * random.standard_normal((PRIOR_DRAWS, 3)))
    p = np.clip(p, 0.15, 4)[:, None]
    a = np.exp(random.uniform(math.log(0.008), math.log(0.05), (PRIOR_DRAWS, 1, 3)))
    x = np.array([(q.by.depth, q.by.width, q.by.resolution) for q in among])[None]
    powers = x**-p
    rows = np.concatenate([np.ones((*powers.shape[:2], 1)), powers, -a * powers * np.log(x)], 2)
    sd = np.concatenate(
        [np.full((PRIOR_DRAWS, 1), 0.3), np.full((PRIOR_DRAWS, 3), 0.03), PRIOR_SPREAD * p[:, 0]],
        axis=1,
    )
    return rows / run_sd, np.eye(7) / sd[:, :, None] ** 2
