"""Selects the networks to train, so that an error law is known as well as a budget allows.

Compute is spent where the law learns most from it: on cheap networks that are large in one
dimension, such as wide, shallow ones of few pixels. A unit is the base's cost, its exact MACs:
seven units pay for seven trainings of the base, or for about twenty of these networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from phiscale.arch.costs import measure_scaling
from phiscale.arch.scaling import ScaledNetwork, Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.lattice import pixel_step
from phiscale.planning.laws.law import RUN_SD

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEPTHS = (0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0)
SIDES = (0.5, 0.71, 1.0, 1.19, 1.41, 1.68, 2.0)  # of width and of resolution
MIN_COST, MAX_COST = 0.2, 4.0
MIN_RUNS = 4  # an error law of three dimensions has at least as many rows
PRIOR_DRAWS = 40
COST_POWER = 0.7  # 0: information alone; 1: information for each unit, all in tiny networks
PASSES = 5  # of exchanges; one or two are usually enough


@lru_cache(maxsize=4)  # a plan is followed many times, by every worker
def candidates(
    base: Spec,
    *,
    native_pixels: int | None = None,
    least: float = MIN_COST,
    most: float = MAX_COST,
) -> tuple[ScaledNetwork, ...]:
    """Returns all different networks at the levels of depth, width and resolution, cheapest first.

    `native_pixels`: of the images; more than that would measure interpolation, not resolution.
    `least`, `most`: cost in units of the base. UsageError: no network is left, or all are alike in
    one dimension.
    """
    levels = ((d, w, r) for d in DEPTHS for w in SIDES for r in SIDES)
    networks = tuple(
        network
        for network in networks_at(base, levels, native_pixels)
        if least <= network.compute_ratio <= most
    )
    for name in ("depth", "width", "resolution"):
        if len({getattr(network.by, name) for network in networks}) < 2:
            raise UsageError(
                f"no two networks between {least:g} and {most:g} times the base's cost differ in "
                f"{name}. Widen the range of costs, or use a base with more room"
                + (" below the images' pixels." if name == "resolution" else ".")
            )
    return networks


def d_optimal(
    networks: Sequence[ScaledNetwork], budget: float, *, run_sd: float = RUN_SD, seed: int = 0
) -> tuple[ScaledNetwork, ...]:
    """Selects the runs to make of `networks` within `budget` units, cheapest first. A network that
    comes twice is trained twice.

    Cost-weighted D-optimality. First, greedily, the run that adds most to the log-determinant of
    the law's information matrix over cost^0.7. The gain is averaged over draws from the prior of
    the law's seven numbers: the law is not linear in its exponents, so the best design depends on
    them. Then runs are exchanged for others that give more information for the cost that is left
    (Fedorov, Theory of Optimal Experiments, 1972; averaging: Chaloner and Verdinelli, Statistical
    Science 1995).

    `run_sd`: run-to-run standard deviation of an error. UsageError: the budget pays for under 4
    runs.
    """
    design = _Design(networks, budget, run_sd, seed)
    design.fill()
    for _ in range(PASSES):
        before = list(design.runs)
        design.exchange()
        design.fill()
        if design.runs == before:
            break
    if len(design.runs) < MIN_RUNS:
        raise UsageError(
            f"{budget:g} times the base's cost buys {len(design.runs)} trainings; a law takes at "
            f"least {MIN_RUNS}. Use a budget of 7 or more."
        )
    costs = design.costs
    return tuple(networks[index] for index in sorted(design.runs, key=lambda i: (costs[i], i)))


class _Design:
    """A design that grows run by run, with the inverse of its information matrix for each draw."""

    def __init__(
        self, networks: Sequence[ScaledNetwork], budget: float, run_sd: float, seed: int
    ) -> None:
        import numpy as np

        self.budget = budget
        self.costs = np.array([network.compute_ratio for network in networks])  # (networks,)
        # (draws, networks, 7) and (draws, 7, 7)
        self.derivatives, information = prior_information(networks, run_sd, seed)
        self.inverse = np.linalg.inv(information)
        self.runs: list[int] = []  # numbers of networks

    def fill(self) -> None:
        """Adds runs as long as the budget pays for one."""
        import numpy as np

        while (affordable := self.costs <= self.budget - self._cost() + 1e-9).any():
            gains = self._gains() / self.costs**COST_POWER
            best = int(np.argmax(np.where(affordable, gains, -1)))
            self.runs.append(best)
            self._update(best, +1)

    def exchange(self) -> None:
        """Exchanges each run for the one with most information at its cost or what is left."""
        import numpy as np

        for place, old in enumerate(list(self.runs)):
            self._update(old, -1)
            left = self.budget - self._cost() + self.costs[old] + 1e-9
            best = int(np.argmax(np.where(self.costs <= left, self._gains(), -1)))
            self.runs[place] = best
            self._update(best, +1)

    def _cost(self) -> float:
        return self.costs[self.runs].sum()

    def _gains(self) -> NDArray[np.float64]:
        """Returns what one more run of each network adds to the log-determinant: (networks,)."""
        import numpy as np

        information = np.sum((self.derivatives @ self.inverse) * self.derivatives, axis=2)
        return np.log1p(information).mean(axis=0)

    def _update(self, network: int, sign: int) -> None:
        """Adds a run (+1) or remove one (-1), by the formula of Sherman and Morrison."""
        import numpy as np

        row = self.derivatives[:, network]
        step = np.einsum("kij,kj->ki", self.inverse, row)
        scale = sign / (1 + sign * np.einsum("ki,ki->k", row, step))
        self.inverse = self.inverse - scale[:, None, None] * step[:, :, None] * step[:, None, :]


def networks_at(
    base: Spec, multipliers: Iterable[tuple[float, float, float]], native_pixels: int | None = None
) -> tuple[ScaledNetwork, ...]:
    """Returns the different networks nearest to multipliers of depth, width and resolution,
    cheapest first. Networks of more pixels than the images are left out."""
    step = pixel_step(base.resolution)
    specs: dict[Spec, None] = {}
    for depth, width, resolution in multipliers:
        pixels = base.resolution
        if resolution != 1:
            pixels = step * max(1, round(base.resolution * resolution / step))
        least = min(2 * base.reduction, base.resolution)
        if least <= pixels <= (native_pixels or math.inf):
            scaled = scale(base, Scaling(depth=depth, width=width))
            specs[replace(scaled, resolution=pixels)] = None
    networks = [measure_scaling(spec, base) for spec in specs]
    return tuple(sorted(networks, key=lambda network: network.compute_ratio))


def prior_information(
    networks: Sequence[ScaledNetwork], run_sd: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns derivatives of a law over `run_sd`, and the prior's information about its numbers.

    The law is e0 + sum A x^-p. Shapes: (draws, networks, 7) and (draws, 7, 7).

    Draws of the prior: ln p ~ N(ln 0.9, 0.8^2) as in the fit, A log-uniform in 0.8 to 5 points.
    """
    import numpy as np

    from phiscale.planning.laws.exponents import PRIOR_MEDIAN, PRIOR_SPREAD

    random = np.random.default_rng(seed)
    p = np.exp(np.log(PRIOR_MEDIAN) + PRIOR_SPREAD * random.standard_normal((PRIOR_DRAWS, 3)))
    p = np.clip(p, 0.15, 4)[:, None]
    a = np.exp(random.uniform(math.log(0.008), math.log(0.05), (PRIOR_DRAWS, 1, 3)))
    x = np.array([(q.by.depth, q.by.width, q.by.resolution) for q in networks])[None]
    powers = x**-p
    rows = np.concatenate([np.ones((*powers.shape[:2], 1)), powers, -a * powers * np.log(x)], 2)
    sd = np.concatenate(
        [np.full((PRIOR_DRAWS, 1), 0.3), np.full((PRIOR_DRAWS, 3), 0.03), PRIOR_SPREAD * p[:, 0]],
        axis=1,
    )
    return rows / run_sd, np.eye(7) / sd[:, :, None] ** 2
