"""The named recipes. A variant is `replace(RECIPES["photos"], epochs=90)`."""

from __future__ import annotations

from typing import Any

from phiscale.data.augment import Augment
from phiscale.train.recipe import Optim, Recipe, Schedule

FEW, MANY = 50, 1000  # pictures of a class

_FINETUNE: dict[str, Any] = {
    "batch": 32,
    "optim": Optim(name="adamw", lr_peak=1e-3, weight_decay=0.02),
    "schedule": Schedule(warmup_fraction=0.1),
    "augment": Augment(frame="area", least_area=0.35),
    "class_weights": "balanced",
    "head": "probe",
    "norms": "auto",
    "first_size": 0.5,
    "full_size_from": 0.8,
    "least_share": 0.05,
}

RECIPES: dict[str, Recipe] = {
    # Small pictures (up to about 64 px, CIFAR): short runs from scratch, Muon and cosine.
    "small-images": Recipe(
        epochs=20,
        batch=128,
        optim=Optim(name="muon", lr_peak=0.4, weight_decay=5e-4),
        schedule=Schedule(warmup_fraction=0.15),
        augment=Augment(frame="shift", shift=0.125),
        first_size=0.75,
    ),
    # Digits and letters: the same without mirror images.
    "characters": Recipe(
        epochs=60,
        batch=64,
        optim=Optim(name="sgd", lr_peak=0.1, weight_decay=5e-4),
        schedule=Schedule(warmup_fraction=0.1),
        augment=Augment(frame="shift", shift=0.1, flip=False),
        evaluations=10,
    ),
    # Photographs from scratch: random areas, light RandAugment.
    "photos": Recipe(
        epochs=30,
        batch=32,
        optim=Optim(name="sgd", lr_peak=0.1, weight_decay=5e-4),
        schedule=Schedule(warmup_fraction=0.1),
        augment=Augment(frame="area", least_area=0.35, randaugment_layers=1),
        class_weights="balanced",
        dropout=0.1,
        first_size=0.75,
    ),
    # tensorflow/tpu's optimiser and schedule for EfficientNet; its length is ImageNet's. Not run.
    "efficientnet": Recipe(
        epochs=350,
        batch=256,
        optim=Optim(name="rmsprop_tf", lr_peak=0.016, weight_decay=1e-5),
        schedule=Schedule(shape="step", warmup_fraction=5 / 350),
        augment=Augment(frame="area", least_area=0.08, randaugment_layers=2),
        dropout=0.2,
        drop_path=0.2,
    ),
    # From pretrained weights, on a few dozen pictures a class: the best linear classifier first,
    # then the blocks near it more than the first ones.
    "finetune-few": Recipe(
        epochs=30, layer_decay=0.7, dropout=0.3, patience=8, evaluations=30, **_FINETUNE,
    ),
    # The same on hundreds of pictures a class.
    "finetune": Recipe(
        epochs=15, layer_decay=0.8, dropout=0.2, patience=6, evaluations=15, **_FINETUNE,
    ),
    # On thousands of pictures a class: the whole network alike.
    "finetune-many": Recipe(
        epochs=8, layer_decay=1.0, dropout=0.2, patience=6, evaluations=16, **_FINETUNE,
    ),
    # Only the classifier: the best linear one on the frozen features.
    "probe": Recipe(epochs=0, head="probe", norms="frozen"),
}  # fmt: skip


def finetune_for(pictures_a_class: float) -> str:
    """The name of the recipe for so many training pictures of each class."""
    if pictures_a_class < FEW:
        return "finetune-few"
    return "finetune" if pictures_a_class < MANY else "finetune-many"
