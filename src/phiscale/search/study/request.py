"""The settings of a study that a user may change, and the plan that follows from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from phiscale.arch.families import get_spec, resolve_spec
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.files.values import PathOrName, check_at_least, check_trains
from phiscale.planning.budget.lattice import pixel_step
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.trial import TrialConditions
from phiscale.search.study.arms import match_arms
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.power import (
    detectable_difference,
    expected_standard_error,
    seeds_to_detect,
)
from phiscale.search.study.presets import Preset
from phiscale.search.study.rule import MIN_SEEDS
from phiscale.search.tuning import Tuning, check_rates


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """The settings that a user may change beside the preset. None or empty is the preset's.

    UsageError: a setting is out of range.
    """

    base: Spec | None = None
    resolution: int | None = None  # of the base, in pixels
    seeds: int | None = None
    epochs: float | None = None
    train_images: int | None = None
    rates: tuple[float, ...] = ()  # learning rates to select from
    threads: int = 1  # of torch
    seed: int = 0  # the first one

    def __post_init__(self) -> None:
        check_at_least(1, resolution=self.resolution, train_images=self.train_images)
        check_at_least(0, seed=self.seed)
        check_trains(epochs=self.epochs)
        check_rates(self.rates)
        if self.seeds is not None and self.seeds < 2:
            raise UsageError(
                f"seeds={self.seeds} has no spread. Use 2 or more; a verdict of a scaling study "
                f"needs {MIN_SEEDS}."
            )

    def tuning(self, preset: Preset) -> Tuning:
        """Returns the learning rates that every arm tries."""
        return replace(preset.tuning, rates=self.rates) if self.rates else preset.tuning

    def base_spec(self, dataset: DatasetInfo, preset: Preset) -> Spec:
        """Returns the base for these images: below their pixels, so that larger ones are real."""
        base = self.base or get_spec(preset.base)
        usual = preset.resolution if self.base is None else None
        pixels = self.resolution or usual or choose_base_pixels(base, dataset.native_pixels)
        spec = replace(base, classes=len(dataset.classes), resolution=pixels)
        width = preset.base_width
        return spec if width == 1 else scale(spec, Scaling(width=width))

    def conditions(
        self, data: str, dataset: DatasetInfo, preset: Preset, epochs: float
    ) -> TrialConditions:
        """Returns what all trainings of a study have in common."""
        return TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            value_range=dataset.value_range,
            recipe=replace(preset.recipe, epochs=epochs),
            crop=choose_crop(dataset),
            train_images=dataset.limit(self.train_images or preset.train_images),
            threads=self.threads,
            seed=self.seed,
        )


def base_of(model: PathOrName | Spec | None) -> Spec | None:
    """Returns the network that a public function is to scale; None: the preset's."""
    return model if isinstance(model, Spec) or model is None else resolve_spec(os.fspath(model))


def choose_base_pixels(base: Spec, native: int) -> int:
    """Returns half of the images' pixels, so that twice as many are real; no more than the base's.

    `native`: pixels of an image's shorter side.
    """
    step = pixel_step(native)
    return max(step, min(base.resolution, native // 2 // step * step))


def choose_crop(dataset: DatasetInfo) -> float:
    """Returns the fraction of the shorter side that is cropped: all of small images."""
    return 1.0 if dataset.native_pixels <= SMALL_PIXELS else 0.875


def plan_study(
    data: str, preset: Preset, request: StudyRequest, dataset: DatasetInfo
) -> ScalingStudy:
    """Turns a request into a plan on these images. UsageError: no arm fits them."""
    epochs = request.epochs or preset.epochs
    return ScalingStudy(
        conditions=request.conditions(data, dataset, preset, epochs),
        arms=match_arms(
            request.base_spec(dataset, preset),
            preset.arms,
            compute_ratio=preset.compute_ratio,
            epochs=epochs,
            native_pixels=dataset.native_pixels if preset.real_pixels else None,
        ),
        seeds=request.seeds or preset.seeds,
        tuning=request.tuning(preset),
    )


def describe_plan(
    plan: ScalingStudy, seed_sd: tuple[float, float], test_images: int
) -> Iterator[str]:
    """Yields the arms, and the differences that they can detect: lines for a terminal.

    `seed_sd`: likely seed standard deviation of an accuracy, from and to.
    """
    for arm in plan.arms:
        by = arm.network.by
        yield (
            f"{arm.name:<11} depth x{by.depth:<5.3g} width x{by.width:<5.3g} "
            f"{arm.network.spec.resolution:>3} px  {arm.network.compute_ratio:5.2f}x the base's "
            f"MACs  {arm.epochs:g} epochs"
        )
    epochs = plan.conditions.recipe.epochs
    units = [arm.network.compute_ratio * arm.epochs / epochs for arm in plan.arms]
    yield f"{plan.seeds} seeds: {describe_compute(plan.seeds, units)}"
    enough = seeds_to_detect(0.01, seed_sd[1], test_images)
    required = f"up to {max(enough, MIN_SEEDS)} seeds" if enough else "more test images"
    assumed = (
        f"for a seed standard deviation of {100 * seed_sd[0]:g} to {100 * seed_sd[1]:g} points"
    )
    if plan.seeds < MIN_SEEDS:
        yield f"{assumed}, a difference of 1 point needs {required}"
        yield (
            f"{plan.seeds} seeds give no verdict: it needs {MIN_SEEDS}. The same call with "
            f"seeds={MIN_SEEDS} keeps these trainings and adds the others"
        )
        return
    low, high = (
        100
        * detectable_difference(
            expected_standard_error(sd, plan.seeds, test_images), seeds=plan.seeds
        )
        for sd in seed_sd
    )
    yield (
        f"{assumed}, {plan.seeds} seeds and {test_images:,} test images detect a difference of "
        f"{low:.1f} to {high:.1f} points between compound and the best single dimension with 80 % "
        f"power; 1 point needs {required}"
    )


def describe_compute(seeds: int, units: Sequence[float]) -> str:
    """Returns the compute of trainings that each cost so many trainings of the base, per seed."""
    return (
        f"{seeds * len(units)} trainings, the compute of {seeds * sum(units):,.0f} trainings of "
        "the base, without the selection of learning rates"
    )
