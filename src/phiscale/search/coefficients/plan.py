"""The plan of a search for alpha, beta and gamma: which networks it trains, stage by stage.

A search uses the paper's grid, or LAWSCALE: a designed experiment and an error law. The design
trains cheap networks that are far from the base in one dimension. They fix the terms of the law
better than a grid of networks near the answer does. The law then says which network is best at any
cost, for any cost metric. The proposals of both are confirmed against scalings that need no search,
in trainings that neither has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from phiscale.arch.costs import cost
from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Scaling
from phiscale.arch.spec import Spec
from phiscale.errors import TrainingError
from phiscale.planning.device import DeviceModel
from phiscale.search.coefficients.design import candidates, d_optimal
from phiscale.search.coefficients.grid import grid_networks
from phiscale.search.coefficients.law import (
    Method,
    MethodResult,
    TrainedPoint,
    estimate_noise,
    fit_law,
    law_error,
    most_uncertain,
    refusal_reason,
)
from phiscale.search.coefficients.rate_surface import RateSurface, TunedRates, tune_rates
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.spaces.lattice import Lattice, cost_metric, lattice
from phiscale.search.spaces.rays import symmetric_scaling
from phiscale.search.study.arms import MAX_OFF_RAY
from phiscale.search.tuning import Tuning

SECOND_ROUND = 0.3  # of the units, spent where the law of the first trainings points
STAGES = ("design", "second round", "grid")


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What the whole search came to."""

    rates: TunedRates
    searched: tuple[MethodResult, ...]
    confirmed: Mapping[str, ScaledNetwork]  # proposals and baselines; none if a method is refused
    runs: Mapping[tuple[str, int], Result]  # of the confirmation, by name and seed

    def of(self, name: str) -> list[Result]:
        """Results of one network's confirmation, in the order of the seeds."""
        return [run for (other, _), run in sorted(self.runs.items()) if other == name]

    @property
    def keys(self) -> set[str]:
        """Keys of all trainings."""
        searched = (run.key for result in self.searched for run in result.runs)
        return {*self.rates.keys, *searched, *(run.key for run in self.runs.values())}


@dataclass(frozen=True, kw_only=True)
class CoefficientSearch:
    """The plan of one search."""

    conditions: TrialConditions  # its seed is the confirmation's first; earlier stages add 100s
    base: Spec
    methods: tuple[Method, ...]
    units: float  # compute that each method may spend, in trainings of the base
    compute: float  # where coefficients are wanted: times the base's cost
    cost: str = "macs"  # the cost metric
    device: DeviceModel | None = None
    native_pixels: int | None = None
    validation_images: int = 1000
    seeds: int = 3  # of the confirmation; 0: none
    tuning: Tuning

    def stages(self) -> Stages[SearchOutcome]:
        """Tunes rates, searches by each method, confirms what they propose."""
        rates = yield from tune_rates(self.conditions, self.base, self.tuning)
        space = self.lattice()
        searched: list[MethodResult] = []
        for method in self.methods:
            search = self._lawscale if method == "lawscale" else self._paper_grid
            searched.append((yield from search(rates.surface, space)))
        refused = any(result.refused for result in searched)
        networks = {} if refused else self._compared(searched, space)
        first = self.conditions.seed
        trials = {
            (name, seed): self._trial(network, rates.surface, name, "confirmation", seed)
            for seed in range(first, first + self.seeds)
            for name, network in networks.items()
        }
        results = yield list(trials.values())
        return SearchOutcome(
            rates=rates,
            searched=tuple(searched),
            confirmed=networks,
            runs={name: results[trial.key] for name, trial in trials.items()},
        )

    def lattice(self) -> Lattice:
        """Every network that the base can be scaled to, with its cost."""
        metric = cost_metric(self.cost, self.device)
        return lattice(self.base, metric, native_pixels=self.native_pixels)

    def _compared(
        self, searched: Sequence[MethodResult], space: Lattice
    ) -> dict[str, ScaledNetwork]:
        """What the confirmation trains: the proposals, and scalings that need no search."""
        networks = {f"{result.method} proposal": result.proposal for result in searched}
        rays = {
            "paper ray": STRATEGIES["compound"],
            "equal-split baseline": symmetric_scaling(self.compute),
            "uniform": STRATEGIES["uniform"],
            "dWr": STRATEGIES["dWr"],
        }
        networks |= {
            name: network
            for name, ray in rays.items()
            if (network := space.on_ray(ray, self.compute)).off_ray <= MAX_OFF_RAY
        }
        fit = next((result.fit for result in searched if result.fit), None)
        if fit is not None:
            singles = {
                name: space.on_ray(STRATEGIES[name], self.compute)
                for name in ("depth", "width", "resolution")
            }
            pure = [name for name, network in singles.items() if network.off_ray <= MAX_OFF_RAY]
            if pure:  # else rounding leaves no network that scales one dimension alone
                best = min(pure, key=lambda name: law_error(fit, singles[name].by))
                networks[f"{best} alone"] = singles[best]
        return networks

    def _lawscale(self, rates: RateSurface, space: Lattice) -> Stages[MethodResult]:
        """A D-optimal design, a law, and a second round where that law is in doubt: around its
        proposal, or everywhere if the law does not hold."""
        among = candidates(self.base, native_pixels=self.native_pixels)
        design = d_optimal(among, self.units * (1 - SECOND_ROUND))
        runs = yield from self._train(design, rates, "design")
        noise = estimate_noise(runs, self.validation_images)
        fit, misfit = fit_law(runs, noise), noise.misfit
        left = self.units - sum(run.compute_ratio for run in runs)
        near = among if misfit else self._near(among)
        second = most_uncertain(fit, space.best(fit, self.compute), near, left)
        if second:
            runs += yield from self._train(second, rates, "second round")
            noise = estimate_noise(runs, self.validation_images)
            fit = fit_law(runs, noise)
        result = MethodResult(
            method="lawscale",
            runs=tuple(runs),
            fit=fit,
            noise=noise,
            explored_everywhere=misfit,
            proposal=space.best(fit, self.compute),
        )
        return replace(result, refused=refusal_reason(result, self.compute))

    def _near(self, among: Sequence[ScaledNetwork]) -> list[ScaledNetwork]:
        """Networks that cost about as much as requested, in the search's cost metric; all of them
        where none costs so much."""
        metric = cost_metric(self.cost, self.device)
        of_base = float(metric(cost(self.base)))

        def ratio(network: ScaledNetwork) -> float:
            if self.cost == "macs":
                return network.compute_ratio
            return float(metric(cost(network.spec))) / of_base

        near = [n for n in among if self.compute / 3 <= ratio(n) <= 1.05 * self.compute]
        return near or list(among)

    def _paper_grid(self, rates: RateSurface, space: Lattice) -> Stages[MethodResult]:
        """The paper's search: train candidates of twice the base's compute, take the best one."""
        networks, candidates = grid_networks(space, self.compute, self.units)
        runs = yield from self._train(networks, rates, "grid")
        runs = [
            replace(run, candidates=tuple(candidates[network.spec]))
            for run, network in zip(runs, networks, strict=True)
        ]
        best = min(range(len(runs)), key=lambda i: (runs[i].error, i))
        return MethodResult(
            method="grid",
            runs=tuple(runs),
            proposal=networks[best],
            candidates=runs[best].candidates,
        )

    def _train(
        self, networks: Sequence[ScaledNetwork], rates: RateSurface, stage: str
    ) -> Stages[list[TrainedPoint]]:
        """Trains each once. A network that occurs twice, or in an earlier stage, gets another seed:
        the same training again would teach nothing."""
        first = self.conditions.seed + 100 * (1 + STAGES.index(stage))
        seen: dict[Spec, int] = {}
        trials: list[Trial] = []
        for network in networks:
            seed = first + seen.get(network.spec, 0)
            seen[network.spec] = seed - first + 1
            trials.append(self._trial(network, rates, _label(network), stage, seed))
        results = yield trials
        runs = [
            TrainedPoint(
                by=network.by,
                compute_ratio=network.compute_ratio,
                rate=trial.recipe.optim.lr_peak,
                key=trial.key,
                error=results[trial.key].error,
                loss=results[trial.key].validation_loss,
                name=trial.name,
            )
            for network, trial in zip(networks, trials, strict=True)
        ]
        if all(run.error == 1.0 for run in runs):
            raise TrainingError(
                f"every training of the {stage} failed: there is no best one. Use lower `rates`."
            )
        return runs

    def _trial(
        self, network: ScaledNetwork, rates: RateSurface, name: str, stage: str, seed: int
    ) -> Trial:
        optim = replace(self.conditions.recipe.optim, lr_peak=round(rates.at(network.by), 4))
        return self.conditions.trial(
            f"{name}, seed {seed}",
            network.spec,
            replace(self.conditions.recipe, optim=optim, seed=seed),
            stage=stage,
            test=stage == "confirmation",
            attrs=asdict(network.by),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        names = ("methods", "units", "compute", "cost", "native_pixels", "seeds")
        return {
            **self.conditions.to_dict(**{name: getattr(self, name) for name in names}),
            "base": self.base.to_dict(),
            "tuning": asdict(self.tuning),
            "device_model": self.device.to_dict() if self.device else None,
        }


def _label(network: ScaledNetwork) -> str:
    by: Scaling = network.by
    return f"depth x{by.depth:.2f}, width x{by.width:.2f}, {network.spec.resolution} px"
