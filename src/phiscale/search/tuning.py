"""Tuning of the learning rate of each network, by successive halving.

Jamieson and Talwalkar, arXiv:1502.07943. A rung is a length of training. After each rung the better
half of the rates goes on to the next; after the last one the best is left. Optuna's
`SuccessiveHalvingPruner` uses the same words. By default there is one rung, at a third of the
training. Networks are never compared with each other: short trainings favour small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from phiscale.errors import TrainingError, UsageError
from phiscale.files.values import check_trains
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.trial import Trial
from phiscale.training.recipes.recipe import Recipe

SEED = 1000  # of trainings that tune; no other training has it


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The rates that each arm tries, and the rungs of successive halving."""

    rates: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    drop_paths: tuple[float, ...] = (0.0,)
    lengths: tuple[float, ...] = (1 / 3,)  # rungs, as shares of a training; shorter ones show noise

    def __post_init__(self) -> None:
        if (
            not self.lengths
            or list(self.lengths) != sorted(set(self.lengths))
            or not (self.lengths[0] > 0 and self.lengths[-1] <= 1)
        ):
            raise UsageError(
                f"lengths={self.lengths} are no shares of a training. Use rising shares up to 1, "
                "such as (0.25, 0.5)."
            )
        if not self.rates or not self.drop_paths:
            raise UsageError("`rates` is empty. Use one learning rate or more.")
        check_rates(self.rates)

    def __str__(self) -> str:
        """Describes when rates are compared, for a report."""
        lengths = " and ".join(f"{length:.2g}" for length in self.lengths)
        return f"{'by halving ' if len(self.lengths) > 1 else ''}at {lengths} of the length"

    def recipes(self, recipe: Recipe) -> list[Recipe]:
        """Returns the recipes to try, lowest rates first: of equals the first wins."""
        return [
            replace(recipe, drop_path=drop_path, optim=replace(recipe.optim, lr_peak=rate))
            for rate in sorted(self.rates)
            for drop_path in sorted(self.drop_paths)
        ]


def check_rates(rates: Iterable[float]) -> None:
    """Raises UsageError for learning rates that train nothing."""
    for rate in rates:
        check_trains(rates=rate)


def successive_halving(
    names: Sequence[str], recipe: Recipe, tuning: Tuning, trial: Callable[[str, Recipe], Trial]
) -> Stages[dict[str, Recipe]]:
    """Returns the best recipe for each of the named arms, as long as `recipe`.

    `trial(name, recipe)` describes a training of an arm. TrainingError: all trainings of an arm
    failed.
    """
    remaining = {name: tuning.recipes(recipe) for name in names}
    for length in tuning.lengths if len(tuning.recipes(recipe)) > 1 else ():
        trials = {
            name: [
                trial(name, replace(r, epochs=recipe.epochs * length, seed=SEED)) for r in recipes
            ]
            for name, recipes in remaining.items()
        }
        results = yield [one for name in names for one in trials[name]]
        for name in names:
            errors = [results[one.key].error for one in trials[name]]
            keep = 1 if length == tuning.lengths[-1] else math.ceil(len(errors) / 2)
            best = sorted(range(len(errors)), key=lambda i: (errors[i], i))[:keep]
            if errors[best[0]] == 1.0:
                raise TrainingError(f"every training of {name} failed. Use lower `rates`.")
            remaining[name] = [remaining[name][i] for i in sorted(best)]
    return {name: recipes[0] for name, recipes in remaining.items()}


def edge_rate_notes(best_rates: Mapping[str, float], tuning: Tuning) -> list[str]:
    """Returns caveats of a report: best rates at an end of those tried."""
    ends = {min(tuning.rates): [], max(tuning.rates): []}
    for name, rate in best_rates.items():
        if len(tuning.rates) > 1 and rate in ends:
            ends[rate].append(name)
    edges = [f"{rate:g} of {' and '.join(names)}" for rate, names in ends.items() if names]
    return (
        [
            f"At an end of the rates tried: {'; '.join(edges)}. "
            "Better ones may lie beyond: use other `rates`."
        ]
        if edges
        else []
    )
