"""A recipe for a network of another size: what grows with it, as functions of depth, width,
resolution and the number of pictures.

The published recipes give numbers for their own members alone. Between and beyond them, size is
counted in doublings of the exact multiply-adds over the recipe's base network, which grow with
depth, width^2 and resolution^2, plus halvings of the number of training pictures: regularisation
answers what a network could memorise of each picture. The slopes are fitted to the published tables
(tests/training/test_recipes.py); smaller networks get less of everything, down to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log2
from typing import Literal

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.spec import Spec
from phiscale.training.recipes.recipe import Growth, Recipe, differences

logger = logging.getLogger(__name__)

IMAGENET_IMAGES = 1_281_167
LEAST_WARMUP_UPDATES = 300  # so many updates the running mean squares need to settle
MOST_WARMUP = 0.1  # of the training


@dataclass(frozen=True, kw_only=True)
class PublishedOverrides:
    """What a source prints for one of its members; None: the same as for all."""

    dropout: float
    train_pixels: int
    first_pixels: int | None = None  # of growing pictures
    policy: Literal["randaugment", "v0"] | None = None
    magnitude: float | None = None
    mixup: float | None = None
    cutmix: float | None = None


@dataclass(frozen=True, kw_only=True)
class RecipeScaling:
    """What a doubling of the size adds; of which network and how many pictures the recipe's own
    numbers are."""

    base: Spec
    images: int = IMAGENET_IMAGES
    dropout: float = 0.05
    magnitude: float = 2.3  # RandAugment's
    mixup: float = 0.0
    drop_path: float = 0.05  # below the base only: the published members all have the same
    # 0: the published recipes keep one rate and one decay from B0 to B7 and from S to L
    log2_rate: float = 0.0  # of the peak learning rate
    log2_decay: float = 0.0  # of the weight decay
    printed: Mapping[str, PublishedOverrides] = field(default_factory=dict)  # for members, by name


def doublings(spec: Spec, sizes: RecipeScaling, train_images: int) -> float:
    """How many times larger than the recipe's base: 0 for the base on its own pictures."""
    same = {"classes": sizes.base.classes, "in_channels": sizes.base.in_channels}
    macs = cost(replace(spec, **same)).macs / cost(sizes.base).macs
    return log2(macs) + log2(sizes.images / train_images)


def scale_recipe(
    recipe: Recipe,
    named: Recipe,
    spec: Spec,
    sizes: RecipeScaling,
    train_images: int,
    *,
    printed_only: bool = False,
) -> Recipe:
    """`recipe` for this network and so many pictures. What differs from the `named` recipe was
    asked for and stays; what changed is logged. `printed_only`: nothing but what the source
    prints for this very network."""
    x = doublings(spec, sizes, train_images)
    found = recipe if printed_only else _grown(recipe, named, x, sizes, train_images)
    member = name_of(spec).removeprefix("tf_")
    if member in sizes.printed and MEMBERS[member].spec.resolution == spec.resolution:
        found = _of_member(found, recipe, named, sizes.printed[member], spec.resolution)
    if changed := differences(recipe.to_dict(), found.to_dict()):
        logger.info(f"for this network and {train_images} pictures: {', '.join(changed)}")
    return found


def _grown(
    recipe: Recipe, named: Recipe, x: float, sizes: RecipeScaling, train_images: int
) -> Recipe:
    """By the functions: `x` doublings of the size, and the number of updates."""
    how, optim = named.augment, named.optim
    updates = max(1, recipe.images(train_images) // recipe.batch)
    warmup = max(named.schedule.warmup_fraction, min(MOST_WARMUP, LEAST_WARMUP_UPDATES / updates))
    return replace(
        recipe,
        dropout=_kept(
            recipe.dropout, named.dropout, _within(named.dropout + sizes.dropout * x, 0.6)
        ),
        drop_path=_kept(
            recipe.drop_path,
            named.drop_path,
            _within(named.drop_path + sizes.drop_path * min(0.0, x), 0.5),
        ),
        schedule=replace(
            recipe.schedule,
            warmup_fraction=_kept(
                recipe.schedule.warmup_fraction, named.schedule.warmup_fraction, warmup
            ),
        ),
        ema_decay=_ema_decay(recipe, named, sizes, updates),
        augment=replace(
            recipe.augment,
            magnitude=_magnitude(recipe, named, sizes, x),
            mixup=_kept(recipe.augment.mixup, how.mixup, _within(how.mixup + sizes.mixup * x, 1.0)),
        ),
        optim=replace(
            recipe.optim,
            lr_peak=_kept(
                recipe.optim.lr_peak, optim.lr_peak, optim.lr_peak * 2 ** (sizes.log2_rate * x)
            ),
            weight_decay=_kept(
                recipe.optim.weight_decay,
                optim.weight_decay,
                optim.weight_decay * 2 ** (sizes.log2_decay * x),
            ),
        ),
    )


def _magnitude(recipe: Recipe, named: Recipe, sizes: RecipeScaling, x: float) -> float:
    """Of RandAugment, which alone has one."""
    given, own = recipe.augment, named.augment.magnitude
    if given.policy != "randaugment":
        return given.magnitude
    grown = _within(own + sizes.magnitude * x, 30.0)
    return _kept(given.magnitude, own, max(grown, named.growth.first_magnitude))


def _ema_decay(recipe: Recipe, named: Recipe, sizes: RecipeScaling, updates: int) -> float:
    """The half-life stays below twice the share of the training that it has in the recipe's own; a
    longer one would still remember the random start."""
    if recipe.ema_decay != named.ema_decay or not named.ema_decay:
        return recipe.ema_decay
    made_for = named.images(sizes.images) // named.batch
    return named.ema_decay ** max(1.0, made_for / (2 * updates))


def _of_member(
    found: Recipe, asked: Recipe, named: Recipe, printed: PublishedOverrides, pixels: int
) -> Recipe:
    """With the numbers that were printed for this member, but for those that were asked for."""
    full = printed.train_pixels
    growth = named.growth
    if growth.stages and printed.first_pixels is None:
        growth = Growth()  # its pictures do not grow
    elif growth.stages and printed.first_pixels is not None:
        growth = replace(growth, first_size=printed.first_pixels / full)
    own, given = named.augment, asked.augment
    policy = printed.policy if printed.policy and given.policy == own.policy else given.policy
    augment = replace(found.augment, policy=policy)
    if (
        printed.magnitude is not None
        and policy == "randaugment"
        and given.magnitude == own.magnitude
    ):
        augment = replace(augment, magnitude=printed.magnitude)
    if printed.mixup is not None and given.mixup == own.mixup:
        augment = replace(augment, mixup=printed.mixup)
    if printed.cutmix is not None and given.cutmix == own.cutmix:
        augment = replace(augment, cutmix=printed.cutmix)
    return replace(
        found,
        augment=augment,
        dropout=printed.dropout if asked.dropout == named.dropout else asked.dropout,
        train_size=full / pixels if asked.train_size == named.train_size else asked.train_size,
        growth=growth if asked.growth == named.growth else asked.growth,
    )


def _kept(given: float, named: float, found: float) -> float:
    """What was asked for, else what was found, of which three digits are enough."""
    if given != named or abs(found - named) < 1e-9:
        return given
    return float(f"{found:.3g}")


def _within(value: float, most: float) -> float:
    return min(most, max(0.0, value))
