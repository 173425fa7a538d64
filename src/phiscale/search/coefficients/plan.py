"""Finds alpha, beta and gamma by training: the paper's grid search, or a designed experiment and an
error law. Both are then held against what needs no search, in trainings that neither has seen.

LAWSCALE: cheap networks far out in each dimension teach an additive saturating law more than a grid
around the answer does; the law then says which integer network is best at any cost, in any coin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.scaling import STRATEGIES, Scaling, effective, scale
from phiscale.arch.spec import Spec
from phiscale.errors import TrainingError, UsageError
from phiscale.planning.device import DeviceModel
from phiscale.search.coefficients.design import Point, candidates, d_optimal
from phiscale.search.coefficients.law import (
    Method,
    MethodResult,
    Run,
    Triple,
    doubtful,
    fitted,
    law_error,
    noise,
    refusal,
)
from phiscale.search.coefficients.rate_surface import RateSurface, rate_surface
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.engine.tuning import Tuning, successive_halving
from phiscale.search.spaces.lattice import Lattice, Place, cost_metric, lattice
from phiscale.search.spaces.rays import paper_grid, symmetric
from phiscale.search.study.plan import FURTHEST
from phiscale.training.recipes.recipe import Recipe

TUNED = ((1.0, 1.0), (0.5, 0.71), (0.5, 1.41), (2.0, 0.71), (2.0, 1.41))  # depth, width
SECOND = 0.3  # of the units, spent where the law of the first runs points


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Rates of all sizes."""

    surface: RateSurface
    chosen: Mapping[str, float]  # what it goes through, by size
    units: float
    keys: tuple[str, ...]  # of the trainings


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """The whole search."""

    rates: Tuned
    searched: tuple[MethodResult, ...]
    confirmed: Mapping[str, Place]  # the proposals and what needs no search; none if one is refused
    runs: Mapping[tuple[str, int], Result]  # of the confirmation, by name and seed

    def of(self, name: str) -> list[Result]:
        return [run for (other, _), run in sorted(self.runs.items()) if other == name]

    @property
    def keys(self) -> set[str]:
        """Of all trainings."""
        searched = (run.key for found in self.searched for run in found.runs)
        return {*self.rates.keys, *searched, *(run.key for run in self.runs.values())}


@dataclass(frozen=True, kw_only=True)
class CoefficientSearch:
    """The plan of one search."""

    conditions: TrialConditions  # the first seed is the confirmation's
    base: Spec
    methods: tuple[Method, ...]
    units: float  # of trainings of the base that each method may spend
    compute: float  # times the base's cost: where coefficients are wanted
    cost: str = "macs"
    device: DeviceModel | None = None
    native_pixels: int | None = None
    validation_images: int = 1000
    seeds: int = 3  # of the confirmation; 0: none
    tuning: Tuning

    def stages(self) -> Stages[SearchOutcome]:
        tuned = yield from self._rates()
        rates = tuned.surface
        space = self.lattice()
        searched = []
        for method in self.methods:
            search = self._lawscale if method == "lawscale" else self._paper_grid
            searched.append((yield from search(rates, space)))
        refused = any(found.refused for found in searched)
        places = {} if refused else self._compared(searched, space)
        trials = {
            (name, seed): self._trial(place.spec, place.by, rates, name, "confirmation", seed)
            for seed in range(self.conditions.seed, self.conditions.seed + self.seeds)
            for name, place in places.items()
        }
        results = yield list(trials.values())
        return SearchOutcome(
            rates=tuned,
            searched=tuple(searched),
            confirmed=places,
            runs={name: results[trial.key] for name, trial in trials.items()},
        )

    def _compared(self, searched: Sequence[MethodResult], space: Lattice) -> dict[str, Place]:
        """What the confirmation trains: the proposals, and what needs no search."""
        places = {f"{found.method} proposal": found.proposal for found in searched}
        rays = {
            "paper ray": STRATEGIES["compound"],
            "symmetric null": symmetric(self.compute),
            "uniform": STRATEGIES["uniform"],
            "dWr": STRATEGIES["dWr"],
        }
        places |= {
            name: place
            for name, ray in rays.items()
            if (place := space.on_ray(ray, self.compute)).off_ray <= FURTHEST
        }
        fit = next((found.fit for found in searched if found.fit), None)
        if fit is not None:
            singles = {
                name: space.on_ray(STRATEGIES[name], self.compute)
                for name in ("depth", "width", "resolution")
            }
            pure = [name for name, place in singles.items() if place.off_ray <= FURTHEST]
            if pure:  # else rounding leaves none that only grows so
                best = min(pure, key=lambda name: law_error(fit, singles[name].by))
                places[f"{best} alone"] = singles[best]
        return places

    def lattice(self) -> Lattice:
        metric = cost_metric(self.cost, self.device)
        return lattice(self.base, metric, native_pixels=self.native_pixels)

    def _rates(self) -> Stages[Tuned]:
        """Halving in the base and in four corners of depth and width, in small pictures: a rate
        does not depend on them much, its price does."""
        pixels = max(2 * self.base.reduction, self.base.resolution // 2)
        low = replace(self.base, resolution=min(pixels, self.base.resolution))
        specs = {
            f"depth x{d:g}, width x{w:g}": scale(low, Scaling(depth=d, width=w)) for d, w in TUNED
        }
        sizes = {name: effective(spec, low) for name, spec in specs.items()}  # as rounded
        tried: dict[str, float] = {}  # units by key

        def trial(name: str, recipe: Recipe) -> Trial:
            found = self._of(
                specs[name], sizes[name], recipe, f"{name}, rate {recipe.optim.lr_peak:g}", "tuning"
            )
            macs = cost(specs[name]).macs / cost(self.base).macs
            tried[found.key] = macs * recipe.epochs / self.conditions.recipe.epochs
            return found

        chosen = yield from successive_halving(
            list(sizes), self.conditions.recipe, self.tuning, trial
        )
        tuned = {name: recipe.optim.lr_peak for name, recipe in chosen.items()}
        surface = rate_surface({sizes[name]: rate for name, rate in tuned.items()}, self.tuning)
        return Tuned(surface=surface, chosen=tuned, units=sum(tried.values()), keys=tuple(tried))

    def _lawscale(self, rates: RateSurface, space: Lattice) -> Stages[MethodResult]:
        """A D-optimal design, a law, and a second round where that law is in doubt: around its
        proposal, or, where the law does not hold, everywhere."""
        among = candidates(self.base, native_pixels=self.native_pixels)
        first = d_optimal(among, self.units * (1 - SECOND))
        runs = yield from self._train(first, rates, "design")
        of = noise(runs, self.validation_images)
        fit, misfit = fitted(runs, of), of.misfit
        left = self.units - sum(run.cost for run in runs)
        near = among if misfit else self._near(among)
        second = doubtful(fit, space.best(fit, self.compute), near, left)
        if second:
            runs += yield from self._train(second, rates, "second round")
            of = noise(runs, self.validation_images)
            fit = fitted(runs, of)
        found = MethodResult(
            method="lawscale",
            runs=tuple(runs),
            fit=fit,
            noise=of,
            everywhere=misfit,
            proposal=space.best(fit, self.compute),
        )
        return replace(found, refused=refusal(found, self.compute))

    def _near(self, among: Sequence[Point]) -> list[Point]:
        """Those that cost about as much as what is asked for, in the search's own coin; all, where
        none costs so much."""
        metric = cost_metric(self.cost, self.device)
        own = float(metric(cost(self.base)))

        def over(point: Point) -> float:
            return point.cost if self.cost == "macs" else float(metric(cost(point.spec))) / own

        near = [p for p in among if self.compute / 3 <= over(p) <= 1.05 * self.compute]
        return near or list(among)

    def _paper_grid(self, rates: RateSurface, space: Lattice) -> Stages[MethodResult]:
        """The paper's search: candidates of twice the base's compute, the best one as trained."""
        chosen, rounded = self.grid(space)
        points = [Point(spec=place.spec, by=place.by, cost=place.macs) for place in chosen]
        runs = yield from self._train(points, rates, "grid")
        runs = [
            replace(run, candidates=tuple(rounded[place.spec]))
            for run, place in zip(runs, chosen, strict=True)
        ]
        best = min(range(len(runs)), key=lambda i: (runs[i].error, i))
        return MethodResult(
            method="grid", runs=tuple(runs), proposal=chosen[best], candidates=runs[best].candidates
        )

    def grid(self, space: Lattice) -> tuple[list[Place], dict[Spec, list[Triple]]]:
        """As many candidates of the paper's grid as the units pay for, spread over it, and which of
        them round to one network. UsageError: the units pay for no two."""
        phi = math.log2(self.compute)
        places: dict[Spec, Place] = {}
        rounded: dict[Spec, list[Triple]] = {}
        for alpha, beta, gamma in paper_grid():
            by = Scaling(depth=alpha**phi, width=beta**phi, resolution=gamma**phi)
            place = space.on_ray(by, self.compute)
            known = places.get(place.spec)
            if known is None or place.off_ray < known.off_ray:
                places[place.spec] = place
            rounded.setdefault(place.spec, []).append((alpha, beta, gamma))
        chosen = _spread(list(places.values()), self.units)
        if len(chosen) < min(2, len(places)) or sum(p.macs for p in chosen) > self.units:
            dearest = max(place.macs for place in places.values())
            raise UsageError(
                f"--units {self.units:g} pays for no grid at --compute "
                f"{self.compute:g}. Use {math.ceil(2 * dearest)} or more, or --method "
                "lawscale."
            )
        return chosen, rounded

    def _train(self, points: Sequence[Point], rates: RateSurface, stage: str) -> Stages[list[Run]]:
        """One training each; a network that stands twice gets another seed, and so does one of an
        earlier stage: the same training again would teach nothing."""
        first = self.conditions.seed + 100 * (1 + ("design", "second round", "grid").index(stage))
        seen: dict[Spec, int] = {}
        trials = []
        for point in points:
            seed = first + seen.get(point.spec, 0)
            seen[point.spec] = seed - first + 1
            by = point.by
            name = f"depth x{by.depth:.2f}, width x{by.width:.2f}, {point.spec.resolution} px"
            trials.append(self._trial(point.spec, by, rates, name, stage, seed))
        results = yield trials
        runs = [
            Run(
                by=point.by,
                cost=point.cost,
                rate=trial.recipe.optim.lr_peak,
                key=trial.key,
                error=results[trial.key].error,
                loss=results[trial.key].validation_loss,
                name=trial.name,
            )
            for point, trial in zip(points, trials, strict=True)
        ]
        if all(run.error == 1.0 for run in runs):
            raise TrainingError(
                f"no training of the {stage} came to an end: there is no best one. "
                "Use lower --rates."
            )
        return runs

    def _trial(
        self, spec: Spec, by: Scaling, rates: RateSurface, name: str, stage: str, seed: int
    ) -> Trial:
        optim = replace(self.conditions.recipe.optim, lr_peak=round(rates.at(by), 4))
        return self._of(
            spec,
            by,
            replace(self.conditions.recipe, optim=optim, seed=seed),
            f"{name}, seed {seed}",
            stage,
        )

    def _of(self, spec: Spec, by: Scaling, recipe: Recipe, name: str, stage: str) -> Trial:
        return self.conditions.trial(
            name, spec, recipe, stage=stage, test=stage == "confirmation", attrs=asdict(by)
        )

    def to_dict(self) -> dict[str, Any]:
        """What the folder of the search says that it is."""
        names = ("methods", "units", "compute", "cost", "native_pixels", "seeds")
        return {
            **self.conditions.to_dict(**{name: getattr(self, name) for name in names}),
            "base": self.base.to_dict(),
            "tuning": asdict(self.tuning),
            "device_model": self.device.to_dict() if self.device else None,
        }


def _spread(places: Sequence[Place], units: float) -> list[Place]:
    """As many as the units pay for: the one nearest the middle, then always the one furthest from
    all that are chosen."""
    logs = np.array(
        [
            [math.log(p.by.depth), 2 * math.log(p.by.width), 2 * math.log(p.by.resolution)]
            for p in places
        ]
    )
    far = np.linalg.norm(logs - logs.mean(axis=0), axis=1)
    chosen, left = [int(far.argmin())], units - places[int(far.argmin())].macs
    while len(chosen) < len(places):
        gap = np.linalg.norm(logs[:, None] - logs[chosen][None], axis=2).min(axis=1)
        gap[[i for i, p in enumerate(places) if p.macs > left or i in chosen]] = -1
        best = int(gap.argmax())
        if gap[best] < 0:
            break
        chosen.append(best)
        left -= places[best].macs
    return [places[i] for i in sorted(chosen)]
