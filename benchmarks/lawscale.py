"""How good are coefficients of a designed experiment and an error law? On truths that we make.

    python benchmarks/lawscale.py --out docs/studies

Every truth is an error surface over depth, width and resolution that the law may not be able to
follow. Each method trains networks of EfficientNet-B0's lattice (a look at the truth, plus the
noise of a run), then names a network for 2, 4 and 16 times B0's MACs. Regret: its true error above
the least that any network of the lattice has within those MACs, in points. A quarter of an hour.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lawscale_truths import KINDS, Truth, truth
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
from phiscale.search.engine.tuning import Tuning
from phiscale.search.spaces.rays import paper_grid, symmetric_scaling
from phiscale.search.study.plan import RECIPE

BASE = get_spec("efficientnet_b0")
COMPUTES = (2.0, 4.0, 16.0)
RATE_COST = 0.003  # of error, for a rate that is twice the best one, or half of it
SLACK = 0.05  # networks for T use 0.95 T to T
REPORTED = 10_000  # first seed; those below served development
TRUTHS = 200
SHIPPED = "search coefficients"
COMPARED = (SHIPPED, "grid, same compute")

# Networks


@cache
def networks(compute: float) -> Any:
    """Real multipliers of the lattice's networks of 0.95 to 1 times `compute`: (networks, 3)."""
    x, macs = _lattice()
    return x[(macs <= compute) & (macs > (1 - SLACK) * compute)]


@cache
def _lattice() -> tuple[Any, Any]:
    """No dimension shrinks while the network grows: that is where a grid of alpha, beta, gamma is
    confined, so the law is too."""
    axes = LatticeAxes(
        depths=lattice_depths(BASE, 1, 8),
        widths=np.geomspace(1, 4, 90).tolist(),
        pixels=range(224, 897, 8),
    )
    lattice = ScalingLattice.of(BASE, axes)
    return np.exp(lattice.logs), (lattice.grid.cost.macs / cost(BASE).macs).ravel()


def on_ray(direction: Any, compute: float) -> Any:
    """The network of `compute` nearest to a ray through the base, in log-multipliers: (3,)."""
    logs = np.log(networks(compute))
    unit = np.asarray(direction) / np.linalg.norm(direction)
    return networks(compute)[np.linalg.norm(logs - np.outer(logs @ unit, unit), axis=1).argmin()]


def ray(strategy: Strategy) -> Any:
    return np.array([strategy.depth, strategy.width / 2, strategy.resolution / 2])


# Methods: what they train, and the networks that they name


@dataclass(frozen=True)
class Outcome:
    runs: int
    units: float
    chosen: dict[float, Any]  # compute -> multipliers (3,)
    fit: Posterior | None = None
    tuning: float = 0.0  # units of choosing rates, on top


def trained(of: Truth, x: Any, random: np.random.Generator) -> Any:
    return of.error(x) + random.normal(0, of.run_sd, len(x))


def star() -> tuple[ScaledNetwork, ...]:
    """The readable design: base, three levels of every dimension, three compound points."""
    compounds = [(by.depth, by.width, by.resolution) for by in map(compound, (-1, 1, 2))]
    axes = [
        (1.0, 1.0, 1.0),
        *((d, 1.0, 1.0) for d in (0.5, 2.0, 4.0)),
        *((1.0, w, 1.0) for w in (0.71, 1.41, 2.0)),
        *((1.0, 1.0, r) for r in (0.71, 1.41, 2.0)),
    ]
    return networks_at(BASE, [*axes, *compounds])


def by_law(of: Truth, design: Sequence[ScaledNetwork], random: np.random.Generator) -> Outcome:
    x = np.array([(p.by.depth, p.by.width, p.by.resolution) for p in design])
    rows = [
        LawRow(depth=d, width=w, resolution=r, error=float(error))
        for (d, w, r), error in zip(x, trained(of, x, random), strict=True)
    ]
    fit = posterior(points_of(rows))
    return Outcome(len(design), sum(p.compute_ratio for p in design), named(fit), fit)


def named(fit: Posterior) -> dict[float, Any]:
    """The networks that a law names."""

    def best(compute: float) -> Any:
        at = networks(compute)
        error = fit.error(depth=at[:, 0], width=at[:, 1], resolution=at[:, 2])
        return at[np.argmin(error)]

    return {T: best(T) for T in COMPUTES}


def by_command(of: Truth, seed: int, random: np.random.Generator) -> Outcome:
    """What `phiscale search coefficients` does with 7 units: rates tuned in five sizes, a design,
    a second round where its law points, the law of all. The best rate depends on the size, one that
    is off it costs accuracy, and the search knows nothing of either."""
    slopes = random.normal(0, 0.3, 2)  # of log2 of the best rate, in ln depth and ln width

    def result(trial: Trial) -> Result:
        x = np.array([[trial.attrs[name] for name in ("depth", "width", "resolution")]])
        best = math.log2(0.3) + np.log(x[0, :2]) @ slopes
        off = math.log2(trial.recipe.optim.lr_peak) - best
        error = float(trained(of, x, random)[0]) + RATE_COST * off**2
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
            data="a truth",
            fingerprint=f"truth {seed}",
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
    wanted = next(stages)
    while True:
        try:
            wanted = stages.send({trial.key: result(trial) for trial in wanted})
        except StopIteration as end:
            [found], tuning = end.value.searched, end.value.rates.units
            break
    return Outcome(len(found.runs), found.units, named(found.fit), found.fit, tuning)


def by_grid(of: Truth, runs: int, random: np.random.Generator, *, surface: bool) -> Outcome:
    """The paper's search at phi = 1, for as many of its candidates as the budget pays.

    `surface`: the least of a quadratic through them in the shares of depth and width, instead of
    the best single run.
    """
    grid = np.log(np.array(paper_grid()))
    rays = grid[random.choice(len(grid), runs, replace=False)]
    error = trained(of, np.array([on_ray(each, 2.0) for each in rays]), random)
    direction = rays[error.argmin()]
    if surface:
        c, *_ = np.linalg.lstsq(_quadratic(rays), error, rcond=None)
        direction = grid[np.argmin(_quadratic(grid) @ c)]
    return Outcome(runs, 2.0 * runs, {T: on_ray(direction, T) for T in COMPUTES})


def _quadratic(rays: Any) -> Any:
    cost_logs = rays * (1, 2, 2)
    d, w, _ = (cost_logs / cost_logs.sum(1, keepdims=True)).T
    return np.column_stack([np.ones(len(rays)), d, w, d * d, w * w, d * w])


def no_search(compute_to_network: Callable[[float], Any]) -> Outcome:
    return Outcome(0, 0.0, {T: compute_to_network(T) for T in COMPUTES})


def _symmetric(compute: float) -> Any:
    by = symmetric_scaling(compute)
    place = np.log([by.depth, by.width, by.resolution])
    return networks(compute)[np.linalg.norm(np.log(networks(compute)) - place, axis=1).argmin()]


@cache
def designs() -> dict[str, tuple[ScaledNetwork, ...]]:
    among = candidates(BASE)
    return {
        "law, designed": d_optimal(among, 7),
        "law, designed, twice the compute": d_optimal(among, 14),
        "law, star": star(),
    }


def methods(of: Truth, seed: int) -> dict[str, Callable[[], Outcome]]:
    """All of them by name, each with noise of its own that the others do not change."""

    def noise(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, number])

    found: dict[str, Callable[[], Outcome]] = {
        name: lambda n=number, design=design: by_law(of, design, noise(n))
        for number, (name, design) in enumerate(designs().items(), 1)
    }
    found[SHIPPED] = lambda: by_command(of, seed, noise(10))
    found["grid, same compute"] = lambda: by_grid(of, 3, noise(11), surface=False)
    found["grid, 13 runs"] = lambda: by_grid(of, 13, noise(12), surface=False)
    found["quadratic through the grid's 13 runs"] = lambda: by_grid(of, 13, noise(12), surface=True)
    for name, label in (("compound", "paper's ray"), ("uniform", "uniform"), ("dWr", "dWr")):
        direction = ray(STRATEGIES[name])
        found[label] = lambda to=direction: no_search(lambda compute: on_ray(to, compute))
    found["symmetric null"] = lambda: no_search(_symmetric)
    return found


# Scores


def study(
    seeds: Sequence[int], only: Sequence[str] = (), sure_of: Sequence[str] = KINDS
) -> dict[str, Any]:
    """Regrets of all methods (or `only` some, the two that are compared among them) over truths,
    and how often the law's intervals hold the truth, if it is of a kind in `sure_of`."""
    regrets: dict[str, list[list[float]]] = {}
    spent: dict[str, tuple[int, float]] = {}
    sure: dict[str, list[Any]] = {kind: [] for kind in sure_of}
    tuning = 0.0
    for seed in seeds:
        of = truth(seed)
        least = {T: of.error(networks(T)).min() for T in COMPUTES}
        for name, method in methods(of, seed).items():
            if only and name not in only:
                continue
            outcome = method()
            true = {T: float(of.error(x[None])[0]) for T, x in outcome.chosen.items()}
            regrets.setdefault(name, []).append([100 * (true[T] - least[T]) for T in COMPUTES])
            spent[name] = outcome.runs, round(outcome.units, 1)
            tuning = max(tuning, outcome.tuning)
            if name == SHIPPED and outcome.fit and of.kind in sure:
                sure[of.kind].append(sureness(of, outcome.fit, outcome.chosen))
    scores = {name: np.array(rows) for name, rows in regrets.items()}
    kind = np.array([truth(seed).kind for seed in seeds])
    # truths, (error, margin), (held, half-width), computes
    law = {each: np.array(rows) for each, rows in sure.items()}
    everything = np.concatenate(list(law.values()))
    return {
        "truths": len(seeds),
        "first_seed": seeds[0],
        "computes": list(COMPUTES),
        "tuning_units": round(tuning, 2),
        "methods": {
            name: {
                "runs": spent[name][0],
                "units": spent[name][1],
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
        "better_than_grid_of_same_compute": np.mean(
            scores[SHIPPED] < scores["grid, same compute"], axis=0
        )
        .round(3)
        .tolist(),
    }


def sureness(of: Truth, fit: Posterior, chosen: dict[float, Any]) -> list[Any]:
    """Whether 95 % intervals hold the truth, and half their width in points, at each compute: of
    the chosen network's error, and of how much larger that of the paper's ray is."""
    paper = ray(STRATEGIES["compound"])
    found = []
    for over in (False, True):
        held, half = [], []
        for compute, x in chosen.items():
            at = on_ray(paper, compute) if over else x
            low, high = fit.predict(at, reference=x if over else None).expected_interval
            true = float(of.error(at[None])[0]) - (float(of.error(x[None])[0]) if over else 0)
            held.append(low - 1e-12 <= true <= high + 1e-12)
            half.append(50 * (high - low))
        found.append([held, half])
    return found


# The report

COMMAND = "python benchmarks/lawscale.py --out docs/studies"


def markdown(found: dict[str, Any]) -> str:
    """The page of a study, from its JSON."""
    computes = [f"{T:g}x" for T in found["computes"]]
    heads = " | ".join(computes)
    per_kind = found["truths"] // len(KINDS)
    lines = [
        "# Coefficients from a designed experiment and a law, on truths that we made",
        "",
        wrapped(
            f"`{COMMAND}`: {found['truths']} error surfaces, {per_kind} of each kind, first seed "
            f"{found['first_seed']} (other seeds served development). Methods train networks of "
            "EfficientNet-B0's lattice (units: B0's MACs; noise of a run 0.15 or 0.30 points) and "
            "name one for 2, 4 and 16 times B0's MACs, none of whose dimensions is below B0's. "
            "Regret: points of error above the best there."
        ),
        "",
        f"| method | runs | units | {heads} | worst 5 % at 4x |",
        "|---|---:|---:|" + "---:|" * (len(found["computes"]) + 1),
    ]
    for name, score in found["methods"].items():
        means = " | ".join(f"{value:.3f}" for value in score["mean_regret_points"])
        lines.append(
            f"| {name} | {score['runs']} | {score['units']:g} | {means} | "
            f"{score['worst_twentieth_points'][1]:.2f} |"
        )
    level, margin = found["intervals"].values()
    lines += [
        "",
        wrapped(
            "By kind of truth: mean regret at 4x, of the whole search (`phiscale search "
            "coefficients`: rates tuned, a design, a second round) and of the grid for the same "
            f"compute; and how often the law's 95 % intervals hold the truth ({', '.join(computes)}"
            "): the error of the network that it chose, and how much better that is than the "
            "paper's ray."
        ),
        "",
        "| truth | search | grid | error held | margin held |",
        "|---|---:|---:|---|---|",
    ]
    for kind in level["coverage_by_kind"]:
        search, grid = (
            found["methods"][name]["mean_regret_points_by_kind"][kind][1] for name in COMPARED
        )
        held = (_shares(of["coverage_by_kind"][kind]) for of in (level, margin))
        lines.append(f"| {kind} | {search:.3f} | {grid:.3f} | {' | '.join(held)} |")
    better = _shares(found["better_than_grid_of_same_compute"])
    widths = (
        ", ".join(f"{width:.1f}" for width in of["median_half_width_points"])
        for of in (level, margin)
    )
    lines += [
        "",
        wrapped(
            f"The search's network is better than the grid's in {better} of truths. Intervals are "
            f"wide: half of them reach {next(widths)} points to each side for the error and "
            f"{next(widths)} for the margin. Runs are small, so the level of a large network is a "
            "long way off, though which one is best is not."
        ),
        "",
        wrapped(
            "The best rate depends on the size, and a rate twice or half of it costs 0.3 points: "
            f"the whole search tunes it, in short trainings that take {found['tuning_units']:.1f} "
            "units on top; the other rows have the best one for nothing. What this does not show: "
            "noise is the same at every size, and truths are separable or nearly so. Real "
            "trainings are the test of that."
        ),
        "",
    ]
    return "\n".join(lines)


def wrapped(text: str) -> str:
    return textwrap.fill(text, 130, break_long_words=False, break_on_hyphens=False)


def _shares(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0%}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truths", type=int, default=TRUTHS)
    parser.add_argument("--first-seed", type=int, default=REPORTED)
    asked = parser.parse_args()
    found = study(range(asked.first_seed, asked.first_seed + asked.truths))
    found["command"] = COMMAND
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / "lawscale-synthetic.json", found)
    page = markdown(found)
    (asked.out / "lawscale-synthetic.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
