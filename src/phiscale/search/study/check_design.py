"""Caveats of a scaling study: of its design before it trains, and of its results."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.spaces.rays import TOLERANCE
from phiscale.search.study.arms import BEYOND
from phiscale.search.study.plan import ScalingStudy
from phiscale.search.study.rule import BASE, COMPOUND, MIN_SEEDS, SINGLES
from phiscale.search.study.verdict import StudyVerdict
from phiscale.training.schedule import find_problems

FEW_IMAGES = 10  # of a class


def check_design(plan: ScalingStudy, dataset: DatasetInfo) -> Iterator[str]:
    """Yields a sentence for each flaw of the design, before any image is trained on."""
    images = plan.conditions.train_images or dataset.train
    yield from _check_compute(plan)
    yield from find_problems(plan.conditions.recipe, images)
    yield from check_image_count(images, len(dataset.classes))
    if plan.seeds < MIN_SEEDS:
        seeds = "one seed is" if plan.seeds == 1 else f"{plan.seeds} seeds are"
        yield (
            f"{seeds} fewer than the {MIN_SEEDS} that a verdict needs: differences cannot be "
            "distinguished from chance"
        )
    upsampled = [
        arm.name
        for arm in plan.arms
        if arm.network.spec.resolution > dataset.native_pixels and arm.name != BEYOND
    ]
    if upsampled:
        yield (
            f"{', '.join(upsampled)}: inputs of more pixels than the images' "
            f"{dataset.native_pixels} are upsampled, so that resolution buys interpolation"
        )
    if len(plan.tuning.rates) * len(plan.tuning.drop_paths) == 1:
        yield "all arms have one learning rate: what suits the base may not suit the others"


def _check_compute(plan: ScalingStudy) -> Iterator[str]:
    compute = {arm.name: arm.network.compute_ratio for arm in plan.arms}
    singles = [compute[name] for name in SINGLES if name in compute]
    if COMPOUND not in compute or not singles:
        return
    ratios = sorted(compute[COMPOUND] / each for each in singles)
    if ratios[0] < 1 - 2 * TOLERANCE or ratios[-1] > 1 + 2 * TOLERANCE:
        yield (
            f"the compound arm has {floor(100 * ratios[0])}-{ceil(100 * ratios[-1])} % of the "
            "compute of the single dimensions: this compares compute, not scaling"
        )


def check_image_count(images: int, classes: int) -> Iterator[str]:
    """Yields a sentence where there are too few training images for any comparison."""
    if images < FEW_IMAGES * classes:
        yield (
            f"{images} training images of {classes} classes are too few: chance decides what they "
            "teach"
        )


def check_results(verdict: StudyVerdict) -> Iterator[str]:
    """Yields a sentence for each flaw that only the results show."""
    yield from verdict.unequal
    base = next((arm for arm in verdict.arms if arm.name == BASE), None)
    for name in under_trained(verdict):
        arm = next(arm for arm in verdict.arms if arm.name == name)
        assert base is not None
        yield (
            f"{name} is {100 * (base.accuracy - arm.accuracy):.1f} points below the base that it "
            "contains: this training is too short for it and says nothing about its capacity"
        )


def under_trained(verdict: StudyVerdict) -> list[str]:
    """Names the arms that are significantly below the base, which every arm contains."""
    base = next((arm for arm in verdict.arms if arm.name == BASE), None)
    if base is None:
        return []
    names: list[str] = []
    for arm in verdict.arms:
        below = base.accuracy - arm.accuracy
        error = (base.seed_sd**2 + arm.seed_sd**2) ** 0.5 / verdict.seeds**0.5
        if below > 2 * error and below > 0:
            names.append(arm.name)
    return names
