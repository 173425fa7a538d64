"""Checks whether a recipe's learning rate suits the scalings of a network.

Each scaling is trained at rates a factor of 2 apart around the rate that the recipe gives for it.
The report says where the best rate lies. This checks the rule of `training.recipes.sizing`: a rate
that was tuned on one network, and scaled by the rule, is within one step of the best for deeper and
wider networks (on the optimum's drift with depth and width: Yang et al., arXiv:2203.03466).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.data.audit import audit, check_readable
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import TrainingError, UsageError
from phiscale.files import check_out_folder, read_checked, write_atomic, write_json
from phiscale.training.log import best_evaluation, read_log
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RecipeEntry
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime
from phiscale.training.state import RUN_FIX

logger = logging.getLogger(__name__)

RESULT, REPORT = "rates.json", "rates.md"


@dataclass(frozen=True, kw_only=True)
class RateRequest:
    """A network, its scalings and the learning rates to train them at."""

    spec: Spec
    data: str
    recipe: Recipe
    entry: RecipeEntry  # says how the recipe scales with the network
    depths: Sequence[float]  # multipliers of the number of blocks
    widths: Sequence[float]  # multipliers of the number of channels
    steps: int  # factors of 2 on each side of the recipe's rate
    resolution: int | None = None  # pixels of a side; None: the network's

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps={self.steps} compares nothing. Use 1 or more.")

    @property
    def scalings(self) -> list[Scaling]:
        """All depths x all widths; the others are compared with the first."""
        return [Scaling(depth=d, width=w) for d in self.depths for w in self.widths]

    @property
    def exponents(self) -> list[int]:
        """Powers of 2 of the rates over the recipe's, in the order of training: 0, -1, 1, ..."""
        return [0, *(sign * n for n in range(1, self.steps + 1) for sign in (-1, 1))]


@dataclass(frozen=True, kw_only=True)
class ScalingRates:
    """A scaling of the network, and its validation errors at all rates."""

    depth: float
    width: float
    recipe_rate: float  # the peak rate that the recipe gives for it
    errors: Mapping[int, float]  # fractions, by power of 2 of the rate over the recipe's

    @property
    def name(self) -> str:
        """The scaling, for tables."""
        return f"depth x{self.depth:g}, width x{self.width:g}"

    @property
    def best_step(self) -> float:
        """The power of 2 at the minimum of the parabola through the best rate and its neighbours;
        at an end of the grid, that end."""
        best = min(sorted(self.errors), key=self.errors.__getitem__)
        neighbours = [best - 1, best, best + 1]
        if not self.errors.keys() >= set(neighbours):
            return float(best)
        a, b, _ = np.polyfit(neighbours, [self.errors[step] for step in neighbours], 2)
        return float(-b / (2 * a)) if a > 0 else float(best)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for rates.json."""
        return {
            "depth": self.depth,
            "width": self.width,
            "rule": self.recipe_rate,
            "errors": dict(self.errors),
            "best": round(self.best_step, 3),
        }


def compare_rates(
    request: RateRequest,
    out: Path,
    runtime: Runtime,
    *,
    device: str = "auto",
    command: str = "",
) -> list[ScalingRates]:
    """Train each scaling at each rate, each in a folder in `out`. The same call resumes.

    Writes rates.json and rates.md there. UsageError: `out` belongs to something else.
    """
    check_out_folder(out, RESULT)
    payload: dict[str, Any] = {"command": command, "networks": []}
    images = open_dataset(request.data)
    check_readable(audit(images, workers=runtime.workers))
    if not (out / RESULT).exists():
        write_json(out / RESULT, payload)  # shows what the folder belongs to
    results: list[ScalingRates] = []
    trainings = _Trainings(request, images, out, runtime, device)
    for number, by in enumerate(request.scalings, 1):
        logger.info(f"network {number} of {len(request.scalings)}")
        results.append(trainings.of_scaling(by))
        payload["networks"].append(results[-1].to_dict())
        write_json(out / RESULT, payload)
    write_atomic(out / REPORT, "\n".join(rate_report(results, command)) + "\n")
    return results


@dataclass(frozen=True)
class _Trainings:
    """Trainings of one request."""

    request: RateRequest
    images: ImageSet
    out: Path
    runtime: Runtime
    device: str

    def of_scaling(self, by: Scaling) -> ScalingRates:
        """Train a scaling at each rate, first at the recipe's."""
        errors: dict[int, float] = {}
        recipe_rate: float | None = None
        for step in self.request.exponents:
            run = self.out / f"depth{by.depth:g}-width{by.width:g}-rate{2.0**step:g}"
            rate = None if recipe_rate is None else recipe_rate * 2.0**step
            errors[step] = self._error(by, run, rate)
            if recipe_rate is None:
                recipe_rate = _trained_rate(run)
        assert recipe_rate is not None
        return ScalingRates(
            depth=by.depth,
            width=by.width,
            recipe_rate=recipe_rate,
            errors={step: errors[step] for step in sorted(errors)},
        )

    def _error(self, by: Scaling, run: Path, rate: float | None) -> float:
        """Train at a rate, or at the one that the recipe gives, and return the validation error;
        1 where the training diverged before its first evaluation."""
        recipe = self.request.recipe
        if rate is not None:
            recipe = replace(recipe, optim=replace(recipe.optim, lr_peak=rate))
        logger.info(run.name)
        training = TrainRequest(
            spec=scale(self.request.spec, by),
            data=self.images,
            audited=True,
            recipe=recipe,
            entry=self.request.entry,
            resolution=self.request.resolution,
        )
        try:
            train_run(training, run, self.runtime, device=self.device)
        except TrainingError as error:  # that it diverged is a result, too
            logger.info(str(error))
        best = best_evaluation(read_log(run))
        return 1.0 if best is None else round(1 - best["validation_top1"], 6)


def _trained_rate(run: Path) -> float:
    """Return the peak rate of a training: the recipe's, scaled for its network."""
    return Recipe.from_dict(read_checked(run / "recipe.json", RUN_FIX)).optim.lr_peak


def rate_report(results: Sequence[ScalingRates], command: str) -> list[str]:
    """Return the lines of a table in Markdown, and whether the rule holds."""
    steps = sorted(results[0].errors)
    header = " | ".join(f"x{2.0**step:g}" for step in steps)
    return [
        "# Does the learning rate transfer?",
        "",
        f"Made by `{command}`. Validation errors at the rule's rate times a power of 2.",
        "One seed: the question is whether the best rate is within a step of the rule's.",
        "",
        f"| network | rule | {header} | best, in steps from the rule | drift of the best rate |",
        "|---|---:|" + "---:|" * (len(steps) + 2),
        *(_row(each, results[0]) for each in results),
        "",
        *_conclusion(results),
    ]


def _row(result: ScalingRates, base: ScalingRates) -> str:
    errors = " | ".join(f"{100 * error:.1f} %" for _, error in sorted(result.errors.items()))
    drift = np.log2(result.recipe_rate / base.recipe_rate) + result.best_step - base.best_step
    return (
        f"| {result.name} | {result.recipe_rate:.3g} | {errors} | {result.best_step:+.2f} "
        f"| {drift:+.2f} |"
    )


def _conclusion(results: Sequence[ScalingRates]) -> Iterator[str]:
    worst = max(results, key=lambda result: abs(result.best_step))
    holds = "The rule holds" if abs(worst.best_step) <= 1 else "The rule does not hold"
    yield (
        f"{holds}: the best rate is off by at most {abs(worst.best_step):.2f} steps of factor "
        f"2 ({worst.name})."
    )
    last = max(results[0].errors)
    at_end = [result.name for result in results if abs(result.best_step) == last]
    if at_end:
        yield (
            f"At the end of the grid, so perhaps beyond it: {', '.join(at_end)}; "
            f"use steps={last + 1}."
        )
