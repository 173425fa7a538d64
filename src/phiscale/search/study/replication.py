"""A replication of EfficientNet's table 7 on CIFAR-10 that saw no benefit, as it was done, and what
was wrong with it; and the same question asked so that it can be answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.trial import TrialConditions
from phiscale.search.engine.tuning import Tuning
from phiscale.search.study.critique import critique
from phiscale.search.study.plan import Arm, ScalingStudy
from phiscale.training.recipes.table import RECIPE_ENTRIES

# Its compound arm is B2 at 256 pixels, where the paper's has (1.4, 1.2, 1.3).
SCALINGS = {
    "base": Scaling(),
    "depth": Scaling(depth=4),
    "width": Scaling(width=2),
    "resolution": Scaling(resolution=2),
}
EPOCHS = 35
TOP1 = {"base": 0.8945, "depth": 0.8631, "width": 0.8840, "resolution": 0.8880, "compound": 0.8521}
PRINTED_FLOPS = {
    "base": 0.82e9,
    "depth": 3.35e9,
    "width": 3.02e9,
    "resolution": 3.27e9,
    "compound": 1.82e9,
}


def as_published(data: str, dataset: DatasetInfo) -> ScalingStudy:
    """The study as it was done: one rate, one seed, arms of unequal compute."""
    base = replace(get_spec("efficientnet_b0"), classes=len(dataset.classes))
    specs = {name: scale(base, by) for name, by in SCALINGS.items()}
    b2 = replace(get_spec("efficientnet_b2"), classes=len(dataset.classes), resolution=256)
    recipe = RECIPE_ENTRIES["cifar10-35"].published
    assert recipe is not None
    return ScalingStudy(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            recipe=recipe,
            crop=1.0,
            train_images=None,
        ),
        seeds=1,
        arms=tuple(
            Arm(
                name=name,
                spec=spec,
                by=SCALINGS.get(name, Scaling()),
                epochs=EPOCHS,
                compute=cost(spec).macs / cost(base).macs,
            )
            for name, spec in {**specs, "compound": b2}.items()
        ),
        tuning=Tuning(rates=(recipe.optim.lr_peak,)),
    )


def what_was_wrong(data: str, dataset: DatasetInfo) -> Iterator[str]:
    """For a terminal: its arms, counted exactly, and its faults."""
    plan = as_published(data, dataset)
    yield "as published:"
    for arm in plan.arms:
        macs = cost(arm.spec).macs
        yield (
            f"  {arm.name:<11} {arm.spec.resolution:>3} px  {2 * macs / 1e9:5.2f} GFLOP = 2 x "
            f"{macs / 1e9:.2f} GMAC (printed: {PRINTED_FLOPS[arm.name] / 1e9:.2f}B)  "
            f"{arm.compute:.2f}x the base's  top-1 {100 * TOP1[arm.name]:.2f} %"
        )
    for line in faults(plan, dataset):
        yield f"  wrong: {line}"
    yield "the same question, mended:"


def faults(plan: ScalingStudy, dataset: DatasetInfo) -> Iterator[str]:
    """What speaks against any study, and what is this one's own."""
    schedule, epochs = plan.conditions.recipe.schedule, plan.conditions.recipe.epochs
    left = schedule.step_factor ** (epochs / schedule.step_epochs)
    for line in critique(plan, dataset):
        if line.startswith("the learning rate"):  # there in whole steps, of which one is not over
            line = (
                f"the learning rate ends at {100 * left:.0f} % of its peak: "
                f"{schedule.step_factor:g}^({epochs:g} / {schedule.step_epochs:g}), where the "
                f"paper's 350 epochs leave {100 * schedule.step_factor ** (350 / 2.4):.1f} %"
            )
        yield line
    yield "FLOPs (2 x MACs) were compared with the paper's MACs: half of the compute passed for all"
