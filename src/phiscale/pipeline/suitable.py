"""Which recipe and which preprocessing suit an image set."""

from __future__ import annotations

from dataclasses import replace

from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.spec import Spec
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPES, finetune_for


def suitable_recipe(images: ImageSet, audit: Audit, *, pretrained: bool = False) -> Recipe:
    """Returns the named recipe that suits these images; `balanced` where classes differ much."""
    characters = images.source in ("digits", "mnist", "kmnist")
    if pretrained:
        name = finetune_for(len(images.train) / len(images.classes))
    elif characters:
        name = "characters"
    else:
        name = "small-images" if has_small_images(audit) else "photos"
    recipe = RECIPES[name]
    weights = "balanced" if audit.imbalance > 2 else "none"
    flip = recipe.augment.flip and not characters
    return replace(recipe, class_weights=weights, augment=replace(recipe.augment, flip=flip))


def suitable_preprocessing(spec: Spec, audit: Audit) -> Preprocessing:
    """Takes small images whole; of photographs the centre, where that leaves real pixels."""
    whole = has_small_images(audit) or native_pixels(audit) * 0.875 < spec.resolution
    return Preprocessing(
        size=spec.resolution, crop=1.0 if whole else 0.875, value_range=audit.value_range
    )


def native_pixels(audit: Audit) -> int:
    """Returns the pixels of a typical image's shorter side."""
    assert audit.shorter_side is not None
    return int(audit.shorter_side.median)


def has_small_images(audit: Audit) -> bool:
    """Returns whether images are read whole, and scalings of `small` compete for them."""
    return native_pixels(audit) <= SMALL_PIXELS
