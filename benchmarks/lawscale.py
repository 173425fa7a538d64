"""How good are coefficients of a designed experiment and an error law? On synthetic problems.

    python benchmarks/lawscale.py --out docs/studies

Every problem is an error surface over depth, width and resolution with a known optimum, which the
law may not be able to follow. Each method trains networks of EfficientNet-B0's lattice: it reads
their true error plus the noise of a run. Then it names a network for 2, 4 and 16 times B0's MACs.
Regret: that network's true error above the least of the lattice within those MACs, in points. A
quarter of an hour.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawscale_page import COMMAND, COMPARED, SHIPPED, markdown
from lawscale_problems import KINDS, Problem
from lawscale_problems import problem as make_problem
from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Strategy, compound
from phiscale.files import write_json
from phiscale.planning.budget import LatticeAxes, ScalingLattice, lattice_depths
from phiscale.planning.laws import LawRow
from phiscale.planning.laws.points import points_of
from phiscale.planning.laws.posterior import Posterior, posterior
from phiscale.search.coefficients.design import candidates, d_optimal, networks_at
from phiscale.search.coefficients.plan import CoefficientSearch
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.spaces.rays import paper_grid, symmetric_scaling
from phiscale.search.study.plan import RECIPE
from phiscale.search.tuning import Tuning

BASE = get_spec("efficientnet_b0")
COMPUTES = (2.0, 4.0, 16.0)
RATE_COST = 0.003  # of error, for a rate that is twice the best one, or half of it
SLACK = 0.05  # networks for T use 0.95 T to T
REPORTED = 10_000  # first seed; those below served development
PROBLEMS = 200

Floats = NDArray[np.float64]

# Networks


@cache
def networks(compute: float) -> Floats:
    """Multipliers of the lattice's networks of 0.95 to 1 times `compute`: (networks, 3)."""
    x, macs = _lattice()
    return x[(macs <= compute) & (macs > (1 - SLACK) * compute)]


@cache
def _lattice() -> tuple[Floats, Floats]:
    """Multipliers and MACs over the base's of networks of which no dimension is below the base's.

    A grid of alpha, beta and gamma is confined to these, so the law is too.
    """
    axes = LatticeAxes(
        depths=lattice_depths(BASE, 1, 8),
        widths=np.geomspace(1, 4, 90).tolist(),
        pixels=range(224, 897, 8),
    )
    lattice = ScalingLattice.of(BASE, axes)
    return np.exp(lattice.logs), (lattice.grid.cost.macs / cost(BASE).macs).ravel()


def on_ray(direction: Floats, compute: float) -> Floats:
    """The network of `compute` nearest to a ray through the base, in log-multipliers: (3,)."""
    logs = np.log(networks(compute))
    unit = np.asarray(direction) / np.linalg.norm(direction)
    return networks(compute)[np.linalg.norm(logs - np.outer(logs @ unit, unit), axis=1).argmin()]


def ray(strategy: Strategy) -> Floats:
    """The direction of a strategy in ln depth, ln width and ln resolution: (3,)."""
    return np.array([strategy.depth, strategy.width / 2, strategy.resolution / 2])


# Methods: what they train, and the networks that they name


@dataclass(frozen=True)
class Outcome:
    runs: int
    units: float
    networks: dict[float, Floats]  # compute -> multipliers (3,)
    fit: Posterior | None = None
    tuning: float = 0.0  # further units, of tuning learning rates


def trained(problem: Problem, x: Floats, random: np.random.Generator) -> Floats:
    """Errors of one run of each network (networks, 3): (networks,)."""
    return problem.error(x) + random.normal(0, problem.run_sd, len(x))


def one_at_a_time() -> tuple[ScaledNetwork, ...]:
    """The design that varies one dimension at a time, with three compound points."""
    compounds = [(by.depth, by.width, by.resolution) for by in map(compound, (-1, 1, 2))]
    axes = [
        (1.0, 1.0, 1.0),
        *((d, 1.0, 1.0) for d in (0.5, 2.0, 4.0)),
        *((1.0, w, 1.0) for w in (0.71, 1.41, 2.0)),
        *((1.0, 1.0, r) for r in (0.71, 1.41, 2.0)),
    ]
    return networks_at(BASE, [*axes, *compounds])


def by_law(
    problem: Problem, design: Sequence[ScaledNetwork], random: np.random.Generator
) -> Outcome:
    """Trains a design and fits a law."""
    x = np.array([(p.by.depth, p.by.width, p.by.resolution) for p in design])
    rows = [
        LawRow(depth=d, width=w, resolution=r, error=float(error))
        for (d, w, r), error in zip(x, trained(problem, x, random), strict=True)
    ]
    fit = posterior(points_of(rows))
    return Outcome(len(design), sum(p.compute_ratio for p in design), named_networks(fit), fit)


def named_networks(fit: Posterior) -> dict[float, Floats]:
    """The network of least error by a law, for each compute."""

    def best(compute: float) -> Floats:
        at = networks(compute)
        error = fit.error(depth=at[:, 0], width=at[:, 1], resolution=at[:, 2])
        return at[np.argmin(error)]

    return {T: best(T) for T in COMPUTES}


def by_command(problem: Problem, seed: int, random: np.random.Generator) -> Outcome:
    """What `phiscale search coefficients` does with 7 units.

    It tunes learning rates in five sizes, trains a design, then a second round where its law is
    least, and fits the law to all. The best rate depends on the size and another rate costs
    accuracy; the search does not know either.
    """
    slopes = random.normal(0, 0.3, 2)  # of log2 of the best rate, in ln depth and ln width

    def result(trial: Trial) -> Result:
        x = np.array([[trial.attrs[name] for name in ("depth", "width", "resolution")]])
        best = math.log2(0.3) + np.log(x[0, :2]) @ slopes
        off = math.log2(trial.recipe.optim.lr_peak) - best
        error = float(trained(problem, x, random)[0]) + RATE_COST * off**2
        return Result(
            key=trial.key,
            name=trial.name,
            attrs=trial.attrs,
            trial={},
            validation_error=error,
            validation_loss=1.0,
            validation_images=0,
        )

    stages = CoefficientSearch(
        conditions=TrialConditions(
            data="a problem",
            fingerprint=f"problem {seed}",
            crop=1.0,
            recipe=RECIPE,
        ),
        base=BASE,
        methods=("lawscale",),
        units=7,
        compute=4.0,
        tuning=Tuning(),
        seeds=2,
        validation_images=50_000,  # ImageNet's: runs vary by 0.15 points and more
    ).stages()
    trials = next(stages)
    while True:
        try:
            trials = stages.send({trial.key: result(trial) for trial in trials})
        except StopIteration as end:
            [outcome], tuning = end.value.searched, end.value.rates.units
            break
    return Outcome(
        len(outcome.runs), outcome.units, named_networks(outcome.fit), outcome.fit, tuning
    )


def by_grid(problem: Problem, runs: int, random: np.random.Generator, *, surface: bool) -> Outcome:
    """The paper's search at phi = 1, for as many of its candidates as `runs`.

    `surface`: the least of a quadratic through them in the shares of depth and width, instead of
    the best single run.
    """
    grid = np.log(np.array(paper_grid()))
    rays = grid[random.choice(len(grid), runs, replace=False)]
    error = trained(problem, np.array([on_ray(each, 2.0) for each in rays]), random)
    direction = rays[error.argmin()]
    if surface:
        c, *_ = np.linalg.lstsq(_quadratic(rays), error, rcond=None)
        direction = grid[np.argmin(_quadratic(grid) @ c)]
    return Outcome(runs, 2.0 * runs, {T: on_ray(direction, T) for T in COMPUTES})


def _quadratic(rays: Floats) -> Floats:
    """Columns of a quadratic in the shares of depth and width: (rays, 6)."""
    cost_logs = rays * (1, 2, 2)
    d, w, _ = (cost_logs / cost_logs.sum(1, keepdims=True)).T
    return np.column_stack([np.ones(len(rays)), d, w, d * d, w * w, d * w])


def no_search(compute_to_network: Callable[[float], Floats]) -> Outcome:
    """A rule that trains nothing."""
    return Outcome(0, 0.0, {T: compute_to_network(T) for T in COMPUTES})


def _equal_split(compute: float) -> Floats:
    """The network nearest to the equal-split baseline."""
    by = symmetric_scaling(compute)
    logs = np.log([by.depth, by.width, by.resolution])
    return networks(compute)[np.linalg.norm(np.log(networks(compute)) - logs, axis=1).argmin()]


@cache
def designs() -> dict[str, tuple[ScaledNetwork, ...]]:
    among = candidates(BASE)
    return {
        "law, designed": d_optimal(among, 7),
        "law, designed, twice the compute": d_optimal(among, 14),
        "law, star": one_at_a_time(),
    }


def methods(problem: Problem, seed: int) -> dict[str, Callable[[], Outcome]]:
    """All methods by name, each with its own noise, which the others do not change."""

    def noise(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, number])

    by_name: dict[str, Callable[[], Outcome]] = {
        name: lambda n=number, design=design: by_law(problem, design, noise(n))
        for number, (name, design) in enumerate(designs().items(), 1)
    }
    by_name[SHIPPED] = lambda: by_command(problem, seed, noise(10))
    by_name["grid, same compute"] = lambda: by_grid(problem, 3, noise(11), surface=False)
    by_name["grid, 13 runs"] = lambda: by_grid(problem, 13, noise(12), surface=False)
    by_name["quadratic through the grid's 13 runs"] = lambda: by_grid(
        problem, 13, noise(12), surface=True
    )
    for name, label in (("compound", "paper's ray"), ("uniform", "uniform"), ("dWr", "dWr")):
        direction = ray(STRATEGIES[name])
        by_name[label] = lambda to=direction: no_search(lambda compute: on_ray(to, compute))
    by_name["symmetric null"] = lambda: no_search(_equal_split)
    return by_name


# Scores


def study(
    seeds: Sequence[int], only: Sequence[str] = (), intervals_of: Sequence[str] = KINDS
) -> dict[str, Any]:
    """Regrets of all methods over problems, and how often the law's intervals hold the true value.

    `only`: these methods, among them the two that are compared. `intervals_of`: the kinds of
    problems whose intervals are checked.
    """
    regrets: dict[str, list[list[float]]] = {}
    costs: dict[str, tuple[int, float]] = {}
    covered: dict[str, list[Any]] = {kind: [] for kind in intervals_of}
    tuning = 0.0
    for seed in seeds:
        problem = make_problem(seed)
        least = {T: problem.error(networks(T)).min() for T in COMPUTES}
        for name, method in methods(problem, seed).items():
            if only and name not in only:
                continue
            outcome = method()
            true = {T: float(problem.error(x[None])[0]) for T, x in outcome.networks.items()}
            regrets.setdefault(name, []).append([100 * (true[T] - least[T]) for T in COMPUTES])
            costs[name] = outcome.runs, round(outcome.units, 1)
            tuning = max(tuning, outcome.tuning)
            if name == SHIPPED and outcome.fit and problem.kind in covered:
                covered[problem.kind].append(coverage(problem, outcome.fit, outcome.networks))
    scores = {name: np.array(rows) for name, rows in regrets.items()}
    search, grid = (scores[name] for name in COMPARED)
    kind = np.array([make_problem(seed).kind for seed in seeds])
    # problems, (error, margin), (inside, half-width), computes
    law = {each: np.array(rows) for each, rows in covered.items()}
    everything = np.concatenate(list(law.values()))
    return {
        "truths": len(seeds),
        "first_seed": seeds[0],
        "computes": list(COMPUTES),
        "tuning_units": round(tuning, 2),
        "methods": {
            name: {
                "runs": costs[name][0],
                "units": costs[name][1],
                "mean_regret_points": score.mean(0).round(4).tolist(),
                "worst_twentieth_points": np.quantile(score, 0.95, axis=0).round(4).tolist(),
                "mean_regret_points_by_kind": {
                    each: score[kind == each].mean(0).round(4).tolist() for each in KINDS
                },
            }
            for name, score in scores.items()
        },
        "intervals": {
            what: {
                "coverage_by_kind": {
                    each: rows[:, number, 0].mean(0).round(4).tolist() for each, rows in law.items()
                },
                "median_half_width_points": np.median(everything[:, number, 1], axis=0)
                .round(3)
                .tolist(),
            }
            for number, what in enumerate(("error", "margin over the paper's ray"))
        },
        "better_than_grid_of_same_compute": np.mean(search < grid, axis=0).round(3).tolist(),
    }


def coverage(problem: Problem, fit: Posterior, networks: dict[float, Floats]) -> list[Any]:
    """Whether 95 % intervals hold the true value, and half their width in points, at each compute.

    First of the selected network's error, then of its margin over the paper's ray.
    """
    paper = ray(STRATEGIES["compound"])
    rows = []
    for over in (False, True):
        inside, half = [], []
        for compute, x in networks.items():
            at = on_ray(paper, compute) if over else x
            low, high = fit.predict(at, reference=x if over else None).expected_interval
            true = float(problem.error(at[None])[0]) - (
                float(problem.error(x[None])[0]) if over else 0
            )
            inside.append(low - 1e-12 <= true <= high + 1e-12)
            half.append(50 * (high - low))
        rows.append([inside, half])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--first-seed", type=int, default=REPORTED)
    arguments = parser.parse_args()
    result = study(range(arguments.first_seed, arguments.first_seed + arguments.problems))
    result["command"] = COMMAND
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "lawscale-synthetic.json", result)
    page = markdown(result)
    (arguments.out / "lawscale-synthetic.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
