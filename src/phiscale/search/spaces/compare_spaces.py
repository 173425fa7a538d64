"""A comparison of two design spaces by many networks of each, rather than by the best one of each.

Networks of equal MACs are drawn from both spaces and trained. The distributions of their errors
are compared (Radosavovic et al., arXiv:1905.13214 and arXiv:2003.13678).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Strategy
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.spaces.lattice import Lattice, cost_metric, lattice
from phiscale.search.spaces.rays import ray_distance

FREE = "free"  # the space of all scalings
SPACES = (FREE, *STRATEGIES)
NEAR = 0.1  # how far a network's shares may be from its strategy's
FEWEST = 5  # networks of a space
DRAWS = 2000  # of the bootstrap

SpaceRuns = Mapping[tuple[str, int], tuple[ScaledNetwork, Result]]
"""Trained networks and their results, by space and number."""


@dataclass(frozen=True, kw_only=True)
class SpaceComparison:
    """The plan: a number of networks of each space, one training of each."""

    conditions: TrialConditions
    base: Spec
    spaces: tuple[str, str]
    networks: int  # of each space
    compute: float  # MACs of every network over the base's
    native_pixels: int

    def __post_init__(self) -> None:
        for name in self.spaces:
            if name not in SPACES:
                raise UsageError(
                    f"design_space={name!r} is unknown. Use two of {', '.join(SPACES)}."
                )
        if self.spaces[0] == self.spaces[1]:
            raise UsageError(
                f"`design_space` compares two; both are {self.spaces[0]!r}. Use different ones."
            )
        if self.networks < FEWEST:
            raise UsageError(f"networks={self.networks} has no distribution. Use {FEWEST} or more.")

    @cached_property
    def networks_by_space(self) -> dict[str, list[ScaledNetwork]]:
        """The networks of each space, in the order they were drawn."""
        space = lattice(self.base, cost_metric("macs", None), native_pixels=self.native_pixels)
        return {
            name: sample_networks(
                space, name, self.compute, self.networks, number + 2 * self.conditions.seed
            )
            for number, name in enumerate(self.spaces)
        }

    @property
    def unique_counts(self) -> dict[str, int]:
        """The number of different networks of each space."""
        return {
            name: len({network.spec for network in networks})
            for name, networks in self.networks_by_space.items()
        }

    def caveats(self) -> Iterator[str]:
        """Yields a sentence for each space that hardly has networks."""
        for name, unique in self.unique_counts.items():
            if 2 * unique < self.networks:
                yield (
                    f"{name} has only {unique} networks of these MACs, so they are repeated with "
                    "other seeds. Use a base of more blocks, channels or pixels (`model`, "
                    "`resolution`)."
                )

    def stages(self) -> Stages[SpaceRuns]:
        """Yields one stage with all trainings."""
        networks_by_space = self.networks_by_space
        trials = {
            (name, number): self._trial(
                networks[number], f"{name}, network {number + 1}", seed=number
            )
            for number in range(self.networks)
            for name, networks in networks_by_space.items()
        }
        results = yield list(trials.values())
        return {
            (name, number): (networks_by_space[name][number], results[trial.key])
            for (name, number), trial in trials.items()
        }

    def _trial(self, network: ScaledNetwork, name: str, seed: int) -> Trial:
        return self.conditions.trial(
            name,
            network.spec,
            replace(self.conditions.recipe, seed=self.conditions.seed + seed),
            stage="design space",
            attrs=asdict(network.by),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        return {
            **self.conditions.to_dict(
                networks=self.networks, compute=self.compute, native_pixels=self.native_pixels
            ),
            "spaces": list(self.spaces),
            "base": self.base.to_dict(),
        }


def sample_networks(
    space: Lattice, name: str, compute: float, count: int, seed: int
) -> list[ScaledNetwork]:
    """Draws `count` networks of `compute` times the base's MACs from a design space.

    Shares of log-compute are drawn evenly from the simplex, or around a strategy's shares. Each
    draw gives the nearest network that was not drawn yet. The space of a strategy is what lies
    within 0.1 of its ray. Where no network is left, all may be drawn again.
    """
    random = np.random.default_rng(seed)
    center, within = np.full(3, 1 / 3), space.at(compute)
    if name != FREE:
        strategy = STRATEGIES[name]
        center = np.array([strategy.depth, strategy.width, strategy.resolution])
        off = ray_distance(space.logs[within], strategy)
        within = within[off <= max(NEAR, float(off.min()))]
    spread = 1.0 if name == FREE else 1.5 * NEAR
    networks: list[ScaledNetwork] = []
    remaining = within
    for _ in range(count):
        shares = center + spread * (random.dirichlet([1.0, 1.0, 1.0]) - 1 / 3)
        depth, width, _ = (shares / shares.sum()).tolist()
        direction = Strategy(depth=depth, width=width, resolution=1 - depth - width)
        remaining = remaining if len(remaining) else within
        nearest = int(ray_distance(space.logs[remaining], direction).argmin())
        networks.append(space.scaled(int(remaining[nearest])))
        remaining = np.delete(remaining, nearest)
    return networks


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorComparison:
    """Errors of the networks of two spaces, and how likely the first space is the better one."""

    errors: Mapping[str, NDArray[np.float64]]  # by space, sorted: (networks,), fractions
    probability: float  # that a network of the first space has less error than one of the second
    low: float  # of its 95 % interval
    high: float
    p_value: float  # of Mann and Whitney's test

    def to_dict(self, unique_counts: Mapping[str, int]) -> dict[str, Any]:
        """Plain data for the JSON file of a comparison."""
        return {
            "errors": {name: errors.tolist() for name, errors in self.errors.items()},
            "different": dict(unique_counts),
            "first_is_better": {
                "probability": self.probability,
                "low": self.low,
                "high": self.high,
                "p_value": self.p_value,
            },
        }


def compare_errors(plan: SpaceComparison, runs: SpaceRuns) -> ErrorComparison:
    """Compares the validation errors of two spaces: Mann and Whitney's test, and a bootstrap."""
    errors = {
        name: np.sort([result.error for (space, _), (_, result) in runs.items() if space == name])
        for name in plan.spaces
    }
    first, second = (errors[name] for name in plan.spaces)
    test = mannwhitneyu(first, second)
    low, high = map(float, np.quantile(_bootstrap(first, second), [0.025, 0.975]))
    return ErrorComparison(
        errors=errors,
        probability=1 - float(test.statistic) / plan.networks**2,  # ties count half
        low=low,
        high=high,
        p_value=float(test.pvalue),
    )


def _bootstrap(
    first: NDArray[np.float64], second: NDArray[np.float64], draws: int = DRAWS
) -> NDArray[np.float64]:
    """Returns resampled probabilities that the first error is the lower one: (draws,)."""
    random = np.random.default_rng(0)
    one = random.choice(first, (draws, len(first), 1))
    two = random.choice(second, (draws, 1, len(second)))
    return ((one < two) + 0.5 * (one == two)).mean(axis=(1, 2))
