"""The named recipes: their sources, their expected results, and how they scale with the network.

A variant is `replace(RECIPES["photos"], epochs=90)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from phiscale.arch.families import get_spec
from phiscale.data.augment.augment import Augment
from phiscale.errors import UsageError
from phiscale.training.recipes.published import V1, V2_CODE, V2_TABLE
from phiscale.training.recipes.recipe import Growth, Optim, Recipe, Schedule
from phiscale.training.recipes.sizing import RecipeScaling

FEW, MANY = 50, 1000  # images of a class
NOT_RUN = "not run here"


@dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """A recipe, its source and its expected result."""

    recipe: Recipe
    source: str
    expected: str = NOT_RUN  # result, machine, hours
    published: Recipe | None = None  # exactly as its source states it
    published_updates: int = 0  # minimum number of updates, however few the images
    scaling: RecipeScaling | None = None  # with the network and the images; None: it stays


_FINETUNE: dict[str, Any] = {
    "batch": 32,
    "optim": Optim(name="adamw", lr_peak=1e-3, weight_decay=0.02),
    "schedule": Schedule(warmup_fraction=0.1),
    "augment": Augment(frame="area", least_area=0.35),
    "class_weights": "balanced",
    "head": "probe",
    "norms": "auto",
    "growth": Growth(first_size=0.5, until=0.8),
    "least_share": 0.05,
}

_RMSPROP = Optim(
    name="rmsprop_tf", lr_peak=0.016, lr_images=256, weight_decay=1e-5, decayed="all-but-norms"
)

# Batch 4096 gives the paper's peak of 0.256. It ends at 0.97^(350 / 2.4) = 1.2 % of that.
_IMAGENET = Recipe(
    epochs=350,
    batch=4096,
    optim=_RMSPROP,
    schedule=Schedule(shape="step", warmup_fraction=5 / 350),
    augment=Augment(frame="area", least_area=0.08, policy="v0", magnitude=9),
    dropout=0.2,
    drop_path=0.2,
    ema_decay=0.9999,
    evaluations=350,
)

_V2 = replace(
    _IMAGENET,
    optim=replace(_RMSPROP, decayed="weights"),
    augment=Augment(frame="area", least_area=0.05, policy="randaugment", magnitude=10),
    train_size=300 / 384,
    growth=Growth(first_size=171 / 300, stages=4, first_magnitude=5, first_mixup=0, first_cutmix=0),
)

_V2_PAPER = replace(
    _V2,
    dropout=0.3,
    augment=replace(_V2.augment, magnitude=15),
    growth=Growth(
        first_size=128 / 300, stages=4, first_magnitude=5, first_mixup=0, first_dropout=0.1
    ),
)

_V2_TUNED = replace(
    _V2,
    epochs=15,
    batch=512,
    optim=replace(_V2.optim, lr_peak=0.0005),
    schedule=Schedule(shape="constant", warmup_fraction=1 / 15),
    augment=Augment(frame="shift", shift=0.0, cutout=0.5),
    dropout=0.0,
    ema_decay=0.9996,
    train_size=1.0,
    growth=Growth(),
    norms="auto",
    evaluations=15,
)

# The CIFAR-10 replication: RMSProp as in the paper, 35 epochs. As published, eps is 0.1 and the
# learning rate ends at 64 % of its peak, since 2.4 epochs a step suit 350 epochs.
_CIFAR_AS_PUBLISHED = replace(
    _IMAGENET,
    epochs=35,
    batch=256,
    optim=replace(_RMSPROP, eps=0.1),
    schedule=Schedule(shape="step", warmup_fraction=5 / 35),
    augment=Augment(frame="shift", shift=0.125),
    ema_decay=0.0,
    evaluations=35,
)
_CIFAR_35 = replace(
    _CIFAR_AS_PUBLISHED,
    optim=replace(_RMSPROP, eps=1e-3),
    schedule=Schedule(shape="step", warmup_fraction=2 / 35, step_epochs=0.24),
)

_B0 = RecipeScaling(base=get_spec("efficientnet_b0"))
_CIFAR_B0 = replace(_B0, base=replace(get_spec("efficientnet_b0"), resolution=32), images=45_000)

RECIPE_ENTRIES: Mapping[str, RecipeEntry] = {
    "small-images": RecipeEntry(
        recipe=Recipe(
            epochs=20,
            batch=128,
            optim=Optim(name="muon", lr_peak=0.4, weight_decay=5e-4),
            schedule=Schedule(warmup_fraction=0.15),
            augment=Augment(frame="shift", shift=0.125),
            growth=Growth(first_size=0.75, until=0.6),
        ),
        source="ours, for images up to 64 px, from scratch; docs/log.md lists the experiments",
        expected="CIFAR-10 on two CPU cores: 0.83 in 20 minutes, 0.86 in 40 (small, x2.25 wide)",
    ),
    "characters": RecipeEntry(
        recipe=Recipe(
            epochs=60,
            batch=64,
            optim=Optim(name="sgd", lr_peak=0.1, weight_decay=5e-4),
            schedule=Schedule(warmup_fraction=0.1),
            augment=Augment(frame="shift", shift=0.1, flip=False),
            evaluations=10,
        ),
        source="ours, for digits and letters: without horizontal flips",
        expected="scikit-learn's digits, 1.5 minutes on two CPU cores: 0.98",
    ),
    "photos": RecipeEntry(
        recipe=Recipe(
            epochs=30,
            batch=32,
            optim=Optim(name="sgd", lr_peak=0.1, weight_decay=5e-4),
            schedule=Schedule(warmup_fraction=0.1),
            augment=Augment(
                frame="area", least_area=0.35, policy="randaugment", layers=1, magnitude=9
            ),
            class_weights="balanced",
            dropout=0.1,
            growth=Growth(first_size=0.75, until=0.6),
        ),
        source="ours, for photographs, from scratch",
    ),
    "small-data": RecipeEntry(
        recipe=Recipe(
            epochs=100,
            batch=32,
            optim=Optim(name="sgd", lr_peak=0.05, weight_decay=1e-3),
            schedule=Schedule(warmup_fraction=0.1),
            augment=Augment(
                frame="area",
                least_area=0.25,
                policy="randaugment",
                magnitude=9,
                erase=0.25,
                mixup=0.2,
                cutmix=1.0,
            ),
            class_weights="balanced",
            dropout=0.3,
            drop_path=0.1,
            growth=Growth(first_size=0.5, until=0.6),
            patience=10,
            evaluations=50,
        ),
        source="ours, from scratch on a few thousand photographs; where pretrained weights exist, "
        "finetune is better",
        scaling=replace(_B0, images=5000),
    ),
    "efficientnet-imagenet": RecipeEntry(
        recipe=_IMAGENET,
        source="tensorflow/tpu, models/official/efficientnet (arXiv:1905.11946)",
        expected=f"B0 77.1 %, 350 epochs of ImageNet (published); {NOT_RUN}",
        published=_IMAGENET,
        scaling=replace(_B0, published=V1),
    ),
    "efficientnetv2-imagenet": RecipeEntry(
        recipe=_V2,
        source="google/automl, efficientnetv2 (arXiv:2104.00298), with the values of its code",
        expected=f"S 83.9 %, 350 epochs of ImageNet (published); {NOT_RUN}",
        published=_V2,
        scaling=RecipeScaling(
            base=get_spec("efficientnetv2_s"),
            dropout=0.07,
            magnitude=3.4,
            mixup=0.17,
            published=V2_CODE,
        ),
    ),
    "efficientnetv2-paper": RecipeEntry(
        recipe=_V2_PAPER,
        source="arXiv:2104.00298, table 6, which differs from its code: starts at 128 px, growing "
        "dropout, stronger RandAugment",
        expected=f"S 83.9 %, 350 epochs of ImageNet (published, by the code); {NOT_RUN}",
        published=_V2_PAPER,
        scaling=RecipeScaling(
            base=get_spec("efficientnetv2_s"),
            dropout=0.07,
            magnitude=3.6,
            mixup=0.17,
            published=V2_TABLE,
        ),
    ),
    "efficientnetv2-finetune": RecipeEntry(
        recipe=replace(
            _V2_TUNED,
            schedule=Schedule(warmup_fraction=1 / 15),
            augment=Augment(frame="area", least_area=0.35, erase=0.25),
        ),
        source="google/automl, efficientnetv2, with random crops and a learning rate that ends at "
        "0; there: whole images with cutout, a constant rate, at least 10,000 updates",
        published=_V2_TUNED,
        published_updates=10_000,
    ),
    "cifar10-35": RecipeEntry(
        recipe=_CIFAR_35,
        source="a replication of EfficientNet on CIFAR-10 (35 epochs, RMSProp), with a learning "
        "rate that ends at 1 %; dropout, weight decay and shifts, which it omits, are those "
        "of EfficientNet",
        expected="B0 89.5 % (published, one seed, learning rate ending at 64 % of its peak)",
        published=_CIFAR_AS_PUBLISHED,
        scaling=_CIFAR_B0,
    ),
    "cifar10-350": RecipeEntry(
        recipe=replace(
            _CIFAR_35,
            epochs=350,
            schedule=Schedule(shape="step", warmup_fraction=5 / 350),
            evaluations=70,
        ),
        source="cifar10-35 at the length of EfficientNet's paper",
        scaling=_CIFAR_B0,
    ),
    "finetune-few": RecipeEntry(
        recipe=Recipe(
            epochs=30,
            layer_decay=0.7,
            dropout=0.3,
            patience=8,
            evaluations=30,
            **_FINETUNE,
        ),
        source="ours, from pretrained weights, for a few dozen images a class: starts from the "
        "best linear classifier; later blocks learn faster than earlier ones",
    ),
    "finetune": RecipeEntry(
        recipe=Recipe(
            epochs=15,
            layer_decay=0.8,
            dropout=0.2,
            patience=6,
            evaluations=15,
            **_FINETUNE,
        ),
        source="finetune-few for hundreds of images a class",
        expected="10 classes of 3,000 clothing photos, Lite0, 15 minutes on two CPU cores: 0.93",
    ),
    "finetune-many": RecipeEntry(
        recipe=Recipe(
            epochs=8,
            layer_decay=1.0,
            dropout=0.2,
            patience=6,
            evaluations=16,
            **_FINETUNE,
        ),
        source="finetune-few for thousands of images a class: all blocks learn at one rate",
    ),
    "probe": RecipeEntry(
        recipe=Recipe(epochs=0, head="probe", norms="frozen"),
        source="ours: only the classifier, the best linear one on the frozen features",
        expected="10 classes of 3,000 clothing photos, Lite0, 2 minutes on two CPU cores: 0.90",
    ),
}

RECIPES: Mapping[str, Recipe] = {name: entry.recipe for name, entry in RECIPE_ENTRIES.items()}


def recipe_entry(name: str, *, as_published: bool = False) -> RecipeEntry:
    """Returns a named recipe's entry; with `as_published` its recipe is as its source prints it.

    Raises UsageError for an unknown name, and for a recipe that no source prints.
    """
    if name not in RECIPE_ENTRIES:
        raise UsageError(f"unknown recipe {name!r}. Use one of {', '.join(RECIPE_ENTRIES)}.")
    entry = RECIPE_ENTRIES[name]
    if not as_published:
        return entry
    if entry.published is None:
        raise UsageError(f"{name} is not a published recipe. Leave out `as_published`.")
    return replace(entry, recipe=entry.published)


def long_enough(recipe: Recipe, entry: RecipeEntry, train_images: int) -> Recipe:
    """Returns the recipe with at least the updates of its source, unless the user set `epochs`."""
    epochs = entry.published_updates * recipe.batch / train_images
    if recipe.epochs != entry.recipe.epochs or epochs <= recipe.epochs:
        return recipe
    warmup = recipe.schedule.warmup_fraction * recipe.epochs / epochs  # as many epochs
    schedule = replace(recipe.schedule, warmup_fraction=warmup)
    return replace(recipe, epochs=epochs, schedule=schedule)


def finetune_for(images_per_class: float) -> str:
    """Returns the name of the fine-tuning recipe for a number of training images per class."""
    if images_per_class < FEW:
        return "finetune-few"
    return "finetune" if images_per_class < MANY else "finetune-many"
