"""A learning rate for each network: successive halving within an arm, never across arms, since
short trainings favour small networks (Jamieson and Talwalkar, arXiv:1502.07943)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from phiscale.errors import TrainingError, UsageError
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.trial import Trial
from phiscale.training.recipes.recipe import Recipe

SEED = 1000  # of no run that counts


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What each arm tries at part of the length; the better half again at more of it."""

    rates: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    drop_paths: tuple[float, ...] = (0.0,)
    lengths: tuple[float, ...] = (1 / 3,)  # of a training; of less, short ones tell only noise

    def __post_init__(self) -> None:
        if (
            not self.lengths
            or list(self.lengths) != sorted(set(self.lengths))
            or not (self.lengths[0] > 0 and self.lengths[-1] <= 1)
        ):
            raise UsageError(f"lengths {self.lengths} are no rungs. Give rising shares up to 1.")
        if not self.rates or not self.drop_paths or not all(0 < r < math.inf for r in self.rates):
            raise UsageError(f"rates {self.rates} are none to train at. Give numbers above 0.")

    def __str__(self) -> str:
        """Where rates are read, for a report."""
        lengths = " and ".join(f"{length:.2g}" for length in self.lengths)
        return f"{'by halving ' if len(self.lengths) > 1 else ''}at {lengths} of the length"

    def recipes(self, recipe: Recipe) -> list[Recipe]:
        """All that are tried, lowest rates first: of equals the first is taken."""
        return [
            replace(recipe, drop_path=drop_path, optim=replace(recipe.optim, lr_peak=rate))
            for rate in sorted(self.rates)
            for drop_path in sorted(self.drop_paths)
        ]


def successive_halving(
    names: Sequence[str], recipe: Recipe, tuning: Tuning, trial: Callable[[str, Recipe], Trial]
) -> Stages[dict[str, Recipe]]:
    """The recipe that serves each of the named arms best, its length as `recipe` has it.

    `trial(name, recipe)` makes the training of an arm. TrainingError: none of an arm came to an
    end.
    """
    left = {name: tuning.recipes(recipe) for name in names}
    for length in tuning.lengths if len(tuning.recipes(recipe)) > 1 else ():
        trials = {
            name: [
                trial(name, replace(r, epochs=recipe.epochs * length, seed=SEED)) for r in recipes
            ]
            for name, recipes in left.items()
        }
        results = yield [each for name in names for each in trials[name]]
        for name in names:
            errors = [results[each.key].error for each in trials[name]]
            keep = 1 if length == tuning.lengths[-1] else math.ceil(len(errors) / 2)
            best = sorted(range(len(errors)), key=lambda i: (errors[i], i))[:keep]
            if errors[best[0]] == 1.0:
                raise TrainingError(f"no training of {name} came to an end. Use lower rates.")
            left[name] = [left[name][i] for i in sorted(best)]
    return {name: recipes[0] for name, recipes in left.items()}


def edge_rate_notes(chosen: Mapping[str, float], tuning: Tuning) -> list[str]:
    """What a report says of rates that are the least or the most of those tried: the best one may
    lie beyond."""
    ends = {min(tuning.rates): [], max(tuning.rates): []}
    for name, rate in chosen.items():
        if len(tuning.rates) > 1 and rate in ends:
            ends[rate].append(name)
    said = [f"{rate:g} of {' and '.join(names)}" for rate, names in ends.items() if names]
    return (
        [f"At an end of the rates tried: {'; '.join(said)}. Better ones may lie beyond: --rates."]
        if said
        else []
    )
