"""Scales a recipe to a network of another size, by its cost and by the number of images.

The published recipes give numbers for their own models alone. Between and beyond them, size is
counted in doublings of the exact multiply-adds over the recipe's base network, which grow with
depth, width^2 and resolution^2, plus halvings of the number of training images: regularisation
answers what a network could memorise of each image. The slopes are fitted to the published tables
(tests/training/test_recipes.py); smaller networks get less of everything, down to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log2
from typing import Any, Literal

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.spec import Spec
from phiscale.data.augment.augment import Augment
from phiscale.files import differences
from phiscale.training.recipes.recipe import Growth, Optim, Recipe, Schedule

logger = logging.getLogger(__name__)

IMAGENET_IMAGES = 1_281_167
LEAST_WARMUP_UPDATES = 300  # until RMSProp's mean squares are stable
MOST_WARMUP = 0.1  # maximum fraction of the training


@dataclass(frozen=True, kw_only=True)
class PublishedOverrides:
    """Values that a source states for one of its models. None: the same as for all its models."""

    dropout: float
    train_pixels: int
    first_pixels: int | None = None  # side at the start, if images grow
    policy: Literal["randaugment", "v0"] | None = None
    magnitude: float | None = None
    mixup: float | None = None
    cutmix: float | None = None


@dataclass(frozen=True, kw_only=True)
class RecipeScaling:
    """How a recipe changes with each doubling of the size.

    For the network `base` and this number of `images` the recipe holds as it is.
    """

    base: Spec
    images: int = IMAGENET_IMAGES
    dropout: float = 0.05
    magnitude: float = 2.3  # of RandAugment
    mixup: float = 0.0
    drop_path: float = 0.05  # below the base only: the published models all have the same
    # 0: the published recipes keep one rate and one decay from B0 to B7 and from S to L
    log2_rate: float = 0.0  # of the peak learning rate
    log2_decay: float = 0.0  # of the weight decay
    published: Mapping[str, PublishedOverrides] = field(default_factory=dict)  # by model name


def doublings(spec: Spec, scaling: RecipeScaling, train_images: int) -> float:
    """Returns how often the size doubled since the recipe's base: 0 for the base on its images."""
    same = {"classes": scaling.base.classes, "in_channels": scaling.base.in_channels}
    macs = cost(replace(spec, **same)).macs / cost(scaling.base).macs
    return log2(macs) + log2(scaling.images / train_images)


def scale_recipe(
    recipe: Recipe,
    original: Recipe,
    spec: Spec,
    scaling: RecipeScaling,
    train_images: int,
    *,
    as_published: bool = False,
) -> Recipe:
    """Returns `recipe` scaled to a network and a number of training images.

    Fields that differ from the `original` recipe were set by the user and stay. The changes are
    logged. With `as_published` the recipe gets nothing but the numbers that its source states for
    this very network.
    """
    size = doublings(spec, scaling, train_images)
    scaled = recipe if as_published else _scaled(recipe, original, size, scaling, train_images)
    model = name_of(spec).removeprefix("tf_")
    if model in scaling.published and MEMBERS[model].spec.resolution == spec.resolution:
        overrides = scaling.published[model]
        scaled = _overridden(scaled, recipe, original, overrides, spec.resolution)
    if changed := differences(recipe.to_dict(), scaled.to_dict()):
        logger.info(f"for this network and {train_images} images: {', '.join(map(str, changed))}")
    return scaled


def _scaled(
    recipe: Recipe, original: Recipe, size: float, scaling: RecipeScaling, train_images: int
) -> Recipe:
    """Returns the recipe scaled by the size, in doublings, and by the number of updates."""
    updates = max(1, recipe.images(train_images) // recipe.batch)
    return replace(
        recipe,
        dropout=_unless_set(
            recipe.dropout,
            original.dropout,
            _clamped(original.dropout + scaling.dropout * size, 0.6),
        ),
        drop_path=_unless_set(
            recipe.drop_path,
            original.drop_path,
            _clamped(original.drop_path + scaling.drop_path * min(0.0, size), 0.5),
        ),
        schedule=_scaled_schedule(recipe.schedule, original.schedule, updates),
        ema_decay=_scaled_ema_decay(recipe, original, scaling, updates),
        augment=_scaled_augment(recipe.augment, original, size, scaling),
        optim=_scaled_optim(recipe.optim, original.optim, size, scaling),
    )


def _scaled_schedule(schedule: Schedule, original: Schedule, updates: int) -> Schedule:
    """Gives a short training a larger share of warm-up, for the same number of updates."""
    least = min(MOST_WARMUP, LEAST_WARMUP_UPDATES / updates)
    warmup = _unless_set(
        schedule.warmup_fraction,
        original.warmup_fraction,
        max(original.warmup_fraction, least),
    )
    return replace(schedule, warmup_fraction=warmup)


def _scaled_optim(optim: Optim, original: Optim, size: float, scaling: RecipeScaling) -> Optim:
    lr_peak = original.lr_peak * 2 ** (scaling.log2_rate * size)
    weight_decay = original.weight_decay * 2 ** (scaling.log2_decay * size)
    return replace(
        optim,
        lr_peak=_unless_set(optim.lr_peak, original.lr_peak, lr_peak),
        weight_decay=_unless_set(optim.weight_decay, original.weight_decay, weight_decay),
    )


def _scaled_augment(
    augment: Augment, original: Recipe, size: float, scaling: RecipeScaling
) -> Augment:
    mixup = _clamped(original.augment.mixup + scaling.mixup * size, 1.0)
    augment = replace(augment, mixup=_unless_set(augment.mixup, original.augment.mixup, mixup))
    if augment.policy != "randaugment":  # the only policy with a magnitude
        return augment
    magnitude = _clamped(original.augment.magnitude + scaling.magnitude * size, 30.0)
    magnitude = max(magnitude, original.growth.first_magnitude)
    return replace(
        augment,
        magnitude=_unless_set(augment.magnitude, original.augment.magnitude, magnitude),
    )


def _scaled_ema_decay(
    recipe: Recipe, original: Recipe, scaling: RecipeScaling, updates: int
) -> float:
    """Keeps the half-life below twice its share of the training in the original recipe; a longer
    one would still remember the random start."""
    if recipe.ema_decay != original.ema_decay or not original.ema_decay:
        return recipe.ema_decay
    original_updates = original.images(scaling.images) // original.batch
    return original.ema_decay ** max(1.0, original_updates / (2 * updates))


def _overridden(
    scaled: Recipe, recipe: Recipe, original: Recipe, overrides: PublishedOverrides, pixels: int
) -> Recipe:
    """Returns the recipe with its source's values for this model, unless the user set others."""
    growth = original.growth
    if growth.stages and overrides.first_pixels is None:
        growth = Growth()  # this model's images do not grow
    elif growth.stages and overrides.first_pixels is not None:
        growth = replace(growth, first_size=overrides.first_pixels / overrides.train_pixels)
    train_size = overrides.train_pixels / pixels
    return replace(
        scaled,
        augment=_overridden_augment(scaled.augment, recipe.augment, original.augment, overrides),
        dropout=overrides.dropout if recipe.dropout == original.dropout else recipe.dropout,
        train_size=train_size if recipe.train_size == original.train_size else recipe.train_size,
        growth=growth if recipe.growth == original.growth else recipe.growth,
    )


def _overridden_augment(
    scaled: Augment, augment: Augment, original: Augment, overrides: PublishedOverrides
) -> Augment:
    policy = augment.policy
    if overrides.policy and augment.policy == original.policy:
        policy = overrides.policy
    values: dict[str, Any] = {"policy": policy}
    for name in ("magnitude", "mixup", "cutmix"):
        stated = getattr(overrides, name)
        if stated is not None and getattr(augment, name) == getattr(original, name):
            values[name] = stated
    if policy != "randaugment":
        values.pop("magnitude", None)
    return replace(scaled, **values)


def _unless_set(value: float, original: float, scaled: float) -> float:
    """Returns the user's value if there is one, else the scaled value with three digits."""
    if value != original or abs(scaled - original) < 1e-9:
        return value
    return float(f"{scaled:.3g}")


def _clamped(value: float, most: float) -> float:
    return min(most, max(0.0, value))
