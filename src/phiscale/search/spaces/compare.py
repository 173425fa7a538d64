"""Two design spaces compared by all of their networks rather than by one pick of each: of networks
of equal MACs drawn from either, what share is better than any given error? (Radosavovic et al.,
arXiv:1905.13214 and arXiv:2003.13678.)"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu

from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Strategy
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.report.page import Drawing, Section, page_files
from phiscale.report.svg import BLUE, ORANGE, STYLE, drawing
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.spaces.lattice import Lattice, cost_metric, lattice
from phiscale.search.spaces.rays import ray_distance

FREE = "free"
SPACES = (FREE, *STRATEGIES)
NEAR = 0.1  # how far a network's shares may be from its rule's
FEWEST = 5  # networks of a space


@dataclass(frozen=True, kw_only=True)
class SpaceComparison:
    """The plan: so many networks of each space, a training each."""

    conditions: TrialConditions
    base: Spec
    spaces: tuple[str, str]
    networks: int
    compute: float  # times the base's MACs: of all of them
    native_pixels: int

    def __post_init__(self) -> None:
        for name in self.spaces:
            if name not in SPACES:
                raise UsageError(
                    f"design_space={name!r} is unknown. Use two of {', '.join(SPACES)}."
                )
        if self.spaces[0] == self.spaces[1]:
            raise UsageError("`design_space` compares two. Use two different ones.")
        if self.networks < FEWEST:
            raise UsageError(f"networks={self.networks} has no distribution. Use {FEWEST} or more.")

    @cached_property
    def networks_by_space(self) -> dict[str, list[ScaledNetwork]]:
        """The networks of each space."""
        space = lattice(self.base, cost_metric("macs", None), native_pixels=self.native_pixels)
        return {
            name: sample_networks(
                space, name, self.compute, self.networks, number + 2 * self.conditions.seed
            )
            for number, name in enumerate(self.spaces)
        }

    @property
    def different(self) -> dict[str, int]:
        """How many networks of each space are different."""
        return {
            name: len({p.spec for p in places}) for name, places in self.networks_by_space.items()
        }

    def few(self) -> Iterator[str]:
        """What speaks against the comparison: spaces that hardly have networks."""
        for name, different in self.different.items():
            if 2 * different < self.networks:
                yield (
                    f"{name} has only {different} networks of these MACs, so the same come again, "
                    "with other seeds: take a base of more blocks, channels or pixels (`model`, "
                    "`resolution`)."
                )

    def stages(self) -> Stages[Mapping[tuple[str, int], tuple[ScaledNetwork, Result]]]:
        networks_by_space = self.networks_by_space
        trials = {
            (name, number): self._trial(place, f"{name}, network {number + 1}", number)
            for number in range(self.networks)
            for name, places in networks_by_space.items()
            for place in [places[number]]
        }
        results = yield list(trials.values())
        return {
            (name, number): (networks_by_space[name][number], results[trial.key])
            for (name, number), trial in trials.items()
        }

    def _trial(self, place: ScaledNetwork, name: str, seed: int) -> Trial:
        return self.conditions.trial(
            name,
            place.spec,
            replace(self.conditions.recipe, seed=self.conditions.seed + seed),
            stage="design space",
            attrs=asdict(place.by),
        )

    def to_dict(self) -> dict[str, Any]:
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
    """So many networks of `compute` times the base: for shares of log-compute drawn evenly from
    the simplex, or around a rule's, the nearest one that was not drawn yet. A rule's space is what
    lies within 0.1 of its ray. Where there are no others they come again, for another seed."""
    random = np.random.default_rng(seed)
    middle, within = np.full(3, 1 / 3), space.at(compute)
    if name != FREE:
        rule = STRATEGIES[name]
        middle = np.array([rule.depth, rule.width, rule.resolution])
        off = ray_distance(space.logs[within], rule)
        within = within[off <= max(NEAR, float(off.min()))]
    spread = 1.0 if name == FREE else 1.5 * NEAR
    found, left = [], within
    for _ in range(count):
        shares = middle + spread * (random.dirichlet([1.0, 1.0, 1.0]) - 1 / 3)
        depth, width, _ = (shares / shares.sum()).tolist()
        direction = Strategy(depth=depth, width=width, resolution=1 - depth - width)
        left = left if len(left) else within
        nearest = int(ray_distance(space.logs[left], direction).argmin())
        found.append(space.scaled(int(left[nearest])))
        left = np.delete(left, nearest)
    return found


def report(
    plan: SpaceComparison,
    runs: Mapping[tuple[str, int], tuple[ScaledNetwork, Result]],
    command: str,
) -> tuple[dict[str, str | bytes], dict[str, Any]]:
    """Files of the comparison by name, and what it found. Errors of the validation pictures."""
    errors = {
        name: np.sort([run.error for (other, _), (_, run) in runs.items() if other == name])
        for name in plan.spaces
    }
    a, b = plan.spaces
    test = mannwhitneyu(errors[a], errors[b])
    share = 1 - float(test.statistic) / plan.networks**2  # P(a below b), ties half
    low, high = map(float, np.quantile(_shares(errors[a], errors[b]), [0.025, 0.975]))
    text = [
        f"{plan.networks} networks of each space at {plan.compute:g} times the base's MACs, "
        f"{plan.conditions.recipe.epochs:g} epochs each. A network of {a} has less error than one "
        f"of {b} with probability {share:.2f} [{low:.2f}, {high:.2f}] (Mann and Whitney's test: "
        f"p = {float(test.pvalue):.3f}).",
        *plan.few(),
    ]
    rows = [
        {
            "space": name,
            "networks": len(e),
            "best, %": f"{100 * e[0]:.2f}",
            "median, %": f"{100 * np.median(e):.2f}",
            "mean, %": f"{100 * e.mean():.2f}",
            "worst, %": f"{100 * e[-1]:.2f}",
            "different networks": plan.different[name],
        }
        for name, e in errors.items()
    ]
    sections = [
        Section(
            title="Error distribution functions",
            text=text,
            rows=rows,
            figures=[_figure(errors)],
            note="Bands: 95 % by Dvoretzky, Kiefer, Wolfowitz and Massart, for the "
            "whole of each curve.",
        )
    ]
    found = {
        "errors": {name: e.tolist() for name, e in errors.items()},
        "different": plan.different,
        "first_is_better": {
            "probability": share,
            "low": low,
            "high": high,
            "p_value": float(test.pvalue),
        },
    }
    return page_files(f"Design spaces: {a} against {b}", command, sections), found


def band(count: int, level: float = 0.95) -> float:
    """Half height of a band that holds a whole distribution function of so many draws (Massart,
    Ann. Probab. 1990)."""
    return math.sqrt(math.log(2 / (1 - level)) / (2 * count))


def _shares(a: np.ndarray, b: np.ndarray, draws: int = 2000) -> np.ndarray:
    random = np.random.default_rng(0)
    one = random.choice(a, (draws, len(a), 1))
    two = random.choice(b, (draws, 1, len(b)))
    return ((one < two) + 0.5 * (one == two)).mean(axis=(1, 2))


def _figure(errors: Mapping[str, Sequence[float] | np.ndarray]) -> Drawing:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for (name, e), colour, line in zip(
            errors.items(), (BLUE, ORANGE), ("-", "--"), strict=True
        ):
            x = 100 * np.asarray(e)
            y = np.arange(1, len(x) + 1) / len(x)
            half = band(len(x))
            axes.fill_between(
                x,
                np.maximum(0, y - half),
                np.minimum(1, y + half),
                step="post",
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
            axes.step(x, y, line, where="post", color=colour, label=name)
        axes.set(xlabel="validation error, %", ylabel="share of networks with less", ylim=(0, 1))
        axes.legend(frameon=False)
        return drawing(figure, "edf", "Error distribution functions of two design spaces")
