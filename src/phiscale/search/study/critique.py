"""What speaks against a comparison of scalings, before a picture is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor

from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.spaces.rays import TOLERANCE
from phiscale.search.study.plan import SINGLE, ScalingStudy
from phiscale.search.study.verdict import FEWEST_SEEDS, StudyVerdict
from phiscale.training.schedule import find_problems

FEW_PICTURES = 10  # of a class


def critique(plan: ScalingStudy, dataset: DatasetInfo) -> Iterator[str]:
    """A sentence for each fault: unequal compute, a rate or an average that does not come to rest,
    too few seeds, pixels that the pictures do not have."""
    arms = {arm.name: arm for arm in plan.arms}
    rivals = [arms[name] for name in SINGLE if name in arms]
    if (ours := arms.get("compound")) and rivals:
        shares = sorted(ours.compute / arm.compute for arm in rivals)
        if shares[0] < 1 - 2 * TOLERANCE or shares[-1] > 1 + 2 * TOLERANCE:
            yield (
                f"the compound arm has {floor(100 * shares[0])}-{ceil(100 * shares[-1])} % of the "
                "compute of its rivals: this compares compute, not scaling"
            )
    yield from find_problems(plan.conditions.recipe, plan.conditions.train_images or dataset.train)
    yield from few_pictures(plan.conditions.train_images or dataset.train, len(dataset.classes))
    if plan.seeds < FEWEST_SEEDS:
        seeds = "one seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
        yield f"{seeds}: under {FEWEST_SEEDS} no difference can be told from chance"
    beyond = [
        arm.name
        for arm in plan.arms
        if arm.spec.resolution > dataset.native_pixels and arm.name != "beyond"
    ]
    if beyond:
        yield (
            f"{', '.join(beyond)}: more pixels than the {dataset.native_pixels} that the pictures "
            "have, so that resolution buys interpolation"
        )
    if len(plan.tuning.rates) * len(plan.tuning.drop_paths) == 1:
        yield "every arm gets one rate: what suits the base may not suit the others"


def few_pictures(images: int, classes: int) -> Iterator[str]:
    if images < FEW_PICTURES * classes:
        yield f"{images} training pictures of {classes} classes: chance decides what they teach"


def afterthoughts(settled: StudyVerdict) -> Iterator[str]:
    """What only the numbers can say: arms of unequal compute; an arm below the base that it
    contains, which says something of the training, not of the network."""
    yield from settled.unequal
    of = {arm.name: arm for arm in settled.arms}
    if (base := of.get("base")) is None:
        return
    for arm in settled.arms:
        below = base.accuracy - arm.accuracy
        if below > 2 * (base.seed_sd**2 + arm.seed_sd**2) ** 0.5 / settled.seeds**0.5 and below > 0:
            yield (
                f"{arm.name} is {100 * below:.1f} points below the base that it contains: in so "
                "short a training it is under-trained, which says nothing of what it could hold"
            )
