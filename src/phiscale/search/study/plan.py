"""A scaling study: is scaling all three dimensions better than scaling one, on these images?

Everything is fixed before the first training: arms of equal compute, one recipe whose learning rate
each arm tunes for itself, seeds, and the decision rule (`rule.decide`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from phiscale.data.augment.augment import Augment
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.study.arms import LONGER, Arm
from phiscale.search.tuning import Tuning, successive_halving
from phiscale.training.recipes.recipe import Optim, Recipe, Schedule

# SGD with Nesterov momentum, one cycle annealed to 0; the shift grows with the images.
RECIPE = Recipe(
    batch=128,
    optim=Optim(name="sgd", lr_peak=0.4, weight_decay=5e-4),
    schedule=Schedule(warmup_fraction=0.25),
    augment=Augment(frame="shift", shift=0.12),
    evaluations=1,
)


@dataclass(frozen=True, kw_only=True)
class ScalingStudy:
    """The plan of one study."""

    conditions: TrialConditions
    arms: tuple[Arm, ...]
    seeds: int
    tuning: Tuning

    @property
    def seed_range(self) -> range:
        """The seeds of every arm."""
        return range(self.conditions.seed, self.conditions.seed + self.seeds)

    def stages(self) -> Stages[Outcome]:
        """Tunes every arm, then trains each with every seed."""
        arms = {arm.name: arm for arm in self.arms}
        recipes = yield from successive_halving(
            [name for name in arms if name != LONGER],
            self.conditions.recipe,
            self.tuning,
            lambda name, recipe: self.tuning_trial(arms[name], recipe),
        )
        trials = {
            (arm.name, seed): self._seed_trial(arm, recipes.get(arm.name, recipes["base"]), seed)
            for seed in self.seed_range
            for arm in self.arms
        }
        results = yield list(trials.values())
        runs = {name: results[trial.key] for name, trial in trials.items()}
        return Outcome(recipes=recipes, runs=runs)

    def tuning_trial(self, arm: Arm, recipe: Recipe) -> Trial:
        """Describes a training that helps to select an arm's learning rate."""
        settings = (
            f"rate {recipe.optim.lr_peak:g}, drop path {recipe.drop_path:g}, "
            f"{recipe.epochs:.2g} epochs"
        )
        return self._trial(arm, recipe, settings, stage="tuning", test=False)

    def _seed_trial(self, arm: Arm, recipe: Recipe, seed: int) -> Trial:
        recipe = replace(recipe, epochs=arm.epochs, seed=seed)
        return self._trial(arm, recipe, f"seed {seed}", stage="study", test=True)

    def _trial(self, arm: Arm, recipe: Recipe, settings: str, *, stage: str, test: bool) -> Trial:
        return self.conditions.trial(
            f"{arm.name}, {settings}",
            arm.network.spec,
            recipe,
            stage=stage,
            test=test,
            attrs={"arm": arm.name, **asdict(arm.network.by)},
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for plan.json, which identifies the study."""
        return {
            **self.conditions.to_dict(seeds=self.seeds),
            "tuning": asdict(self.tuning),
            "arms": {arm.name: arm.to_dict() for arm in self.arms},
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was trained: each arm's selected recipe, and the result of each arm and seed."""

    recipes: Mapping[str, Recipe]
    runs: Mapping[tuple[str, int], Result]

    def recipe_of(self, arm: str) -> Recipe:
        """Returns the recipe of an arm; the longer arm has the base's."""
        return self.recipes.get(arm, self.recipes["base"])

    def of(self, arm: str) -> list[Result]:
        """Returns the results of an arm, in the order of its seeds."""
        return [run for (name, _), run in sorted(self.runs.items()) if name == arm]
