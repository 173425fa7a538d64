"""Checks whether a recipe's learning rate suits the scalings of a network.

Each scaling is trained at rates a factor of 2 apart around the rate that the recipe gives for it.
The report says where the best rate lies. This checks the rule of `training.recipes.sizing`: a rate
that was tuned on one network, and scaled by the rule, is within one step of the best for deeper and
wider networks (on the optimum's drift with depth and width: Yang et al., arXiv:2203.03466).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from phiscale.arch.families import resolve_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.data.audit import audit, check_readable
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import TrainingError, UsageError
from phiscale.files import check_out_folder, read_checked, write_atomic, write_json
from phiscale.files.run_files import RECIPE
from phiscale.files.values import PathOrName, check_at_least
from phiscale.search.rates_report import ScalingRates, rate_report
from phiscale.text import python_call
from phiscale.training.callbacks import AnyCallback
from phiscale.training.devices import compute_device
from phiscale.training.log import best_evaluation, read_log
from phiscale.training.parallel.replicas import lanes_for
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RecipeEntry, recipe_entry
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime
from phiscale.training.state import RUN_FIX

logger = logging.getLogger(__name__)

RESULT, REPORT = "rates.json", "rates.md"
MAX_FACTOR = 100  # of depth and width


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
        for name, factors in (("depths", self.depths), ("widths", self.widths)):
            if not factors or not all(0 < factor <= MAX_FACTOR for factor in factors):
                raise UsageError(
                    f"`{name}` needs factors above 0, up to {MAX_FACTOR}. Use e.g. {name}=(1, 3)."
                )
        check_at_least(1, resolution=self.resolution)

    @property
    def scalings(self) -> list[Scaling]:
        """All depths x all widths; the others are compared with the first."""
        return [Scaling(depth=d, width=w) for d in self.depths for w in self.widths]

    @property
    def exponents(self) -> list[int]:
        """Powers of 2 of the rates over the recipe's, in the order of training: 0, -1, 1, ..."""
        return [0, *(sign * n for n in range(1, self.steps + 1) for sign in (-1, 1))]


@dataclass(frozen=True)
class RateComparison:
    """The result of `compare_rates`."""

    scalings: Sequence[ScalingRates]  # the first is what the others are compared with
    out: Path  # folder of the trainings
    command: str = ""  # what made it

    @property
    def report(self) -> Path:
        """The report, in Markdown."""
        return self.out / REPORT

    def lines(self) -> list[str]:
        """The lines of the report: a table, and whether the recipe's rule holds."""
        return rate_report(self.scalings, self.command)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def compare_rates(  # noqa: PLR0913
    model: PathOrName | Spec,
    data: PathOrName,
    out: PathOrName,
    recipe: str,
    *,
    depths: Sequence[float] = (1.0, 3.0),
    widths: Sequence[float] = (1.0, 2.0),
    steps: int = 2,
    epochs: float | None = None,
    resolution: int | None = None,
    seed: int = 0,
    device: str = "auto",
    callbacks: Sequence[AnyCallback] = (),
    command: str = "",
) -> RateComparison:
    """Trains each scaling of a network at learning rates a factor of 2 apart, to see whether the
    rate that a recipe gives for it is the best. The same call resumes.

    `recipe`: a name of `RECIPES`. `depths`, `widths`: multipliers of blocks and channels; all
    combinations are trained. `steps`: factors of 2 on each side of the recipe's rate. `epochs`: of
    each training, by default the recipe's. `resolution`: pixels of a side, by default the
    network's. `callbacks` receive the progress. `command`: what the report says made it, by default
    this call.

    Raises UsageError for arguments out of range, and where `out` belongs to something else.
    """
    command = command or python_call(compare_rates, {**locals(), "callbacks": ()})
    check_at_least(0, seed=seed)
    entry = recipe_entry(recipe)
    varied = replace(
        entry.recipe,
        seed=seed,
        evaluations=1,
        epochs=entry.recipe.epochs if epochs is None else epochs,
        lanes=lanes_for(entry.recipe.batch, compute_device(device)),
    )
    request = RateRequest(
        spec=model if isinstance(model, Spec) else resolve_spec(os.fspath(model)),
        data=os.fspath(data),
        recipe=varied,
        entry=entry,
        depths=depths,
        widths=widths,
        steps=steps,
        resolution=resolution,
    )
    runtime = Runtime(callbacks=callbacks)
    return train_at_rates(request, Path(out), runtime, device=device, command=command)


def train_at_rates(
    request: RateRequest,
    out: Path,
    runtime: Runtime,
    *,
    device: str = "auto",
    command: str = "",
) -> RateComparison:
    """Trains each scaling at each rate, each in a folder in `out`. The same call resumes.

    Writes rates.json and rates.md there. UsageError: `out` belongs to something else.
    """
    check_out_folder(out, RESULT)
    payload: dict[str, Any] = {"command": command, "networks": []}
    images = open_dataset(request.data)
    audited = audit(images, workers=runtime.workers)
    check_readable(audited)
    if not (out / RESULT).exists():
        write_json(out / RESULT, payload)  # shows what the folder belongs to
    results: list[ScalingRates] = []
    trainings = _Trainings(request, images, audited.value_range, out, runtime, device)
    for number, by in enumerate(request.scalings, 1):
        logger.info(f"network {number} of {len(request.scalings)}")
        results.append(trainings.of_scaling(by))
        payload["networks"].append(results[-1].to_dict())
        write_json(out / RESULT, payload)
    comparison = RateComparison(results, out, command)
    write_atomic(comparison.report, f"{comparison}\n")
    return comparison


@dataclass(frozen=True)
class _Trainings:
    """Trainings of one request."""

    request: RateRequest
    images: ImageSet
    value_range: tuple[float, float] | None
    out: Path
    runtime: Runtime
    device: str

    def of_scaling(self, by: Scaling) -> ScalingRates:
        """Trains a scaling at each rate, first at the recipe's."""
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
        """Trains at a rate, or at the one that the recipe gives, and returns the validation error;
        1 where the training diverged before its first evaluation."""
        recipe = self.request.recipe
        if rate is not None:
            recipe = replace(recipe, optim=replace(recipe.optim, lr_peak=rate))
        logger.info(run.name)
        training = TrainRequest(
            spec=scale(self.request.spec, by),
            data=self.images,
            audited=True,
            value_range=self.value_range,
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
    """Returns the peak rate of a training: the recipe's, scaled for its network."""
    return Recipe.from_dict(read_checked(run / RECIPE, RUN_FIX)).optim.lr_peak
