"""A recipe for a network of another size: what grows with it, as functions of depth, width,
resolution and the number of pictures.

The published recipes give numbers for their own members alone. Between and beyond them, size is
counted in doublings of the exact multiply-adds over the recipe's base network, which grow with
depth, width^2 and resolution^2, plus halvings of the number of training pictures: regularisation
answers what a network could memorise of each picture. The slopes are fitted to the published tables
(tests/train/test_recipes.py); smaller networks get less of everything, down to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log2

from phiscale.costs import cost
from phiscale.families import MEMBERS, name_of
from phiscale.families.member import Member
from phiscale.spec import Spec
from phiscale.train.recipe import Recipe, differences

IMAGENET_IMAGES = 1_281_167
MAGNITUDES = {"efficientnet_b5": 17.0, "efficientnet_b7": 28.0, "efficientnet_b8": 28.0}
"""RandAugment's, where tensorflow/tpu says another than 10 (models/official/efficientnet)."""
LEAST_WARMUP_UPDATES = 300  # so many updates the running mean squares need to settle
MOST_WARMUP = 0.1  # of the training


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a doubling of the size adds; of which network and how many pictures the recipe's own
    numbers are."""

    base: Spec
    images: int = IMAGENET_IMAGES
    dropout: float = 0.05
    magnitude: float = 2.3  # RandAugment's
    mixup: float = 0.0
    drop_path: float = 0.05  # below the base only: the published members all have the same
    log2_rate: float = 0.0  # of the peak learning rate: batch norms take its scale away
    log2_decay: float = 0.0  # of the weight decay
    members: bool = False  # published members take the dropout and the pixels printed for them


def doublings(spec: Spec, sizes: Sizes, train_images: int) -> float:
    """How many times larger than the recipe's base: 0 for the base on its own pictures."""
    same = {"classes": sizes.base.classes, "in_channels": sizes.base.in_channels}
    macs = cost(replace(spec, **same)).macs / cost(sizes.base).macs
    return log2(macs) + log2(sizes.images / train_images)


def sized(
    recipe: Recipe, named: Recipe, spec: Spec, sizes: Sizes, train_images: int,
    tell: Callable[[str], None] = lambda line: None, *, printed_only: bool = False,
) -> Recipe:  # fmt: skip
    """`recipe` for this network and so many pictures. What differs from the `named` recipe was
    asked for and stays; `tell` hears what changed. `printed_only`: nothing but what the source
    prints for this very network."""
    x = doublings(spec, sizes, train_images)
    found = recipe if printed_only else _grown(recipe, named, x, sizes, train_images)
    member = MEMBERS.get(name_of(spec)) if sizes.members else None
    if member is not None and member.spec.resolution == spec.resolution:
        found = _of_member(found, recipe, named, member)
    if changed := differences(recipe.to_dict(), found.to_dict()):
        tell(f"{2**x:.3g} times as much network for each picture as the recipe is made for: "
             f"{', '.join(changed)}")  # fmt: skip
    return found


def _grown(recipe: Recipe, named: Recipe, x: float, sizes: Sizes, train_images: int) -> Recipe:
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
            recipe.drop_path, named.drop_path,
            _within(named.drop_path + sizes.drop_path * min(0.0, x), 0.5),
        ),
        schedule=replace(recipe.schedule, warmup_fraction=_kept(
            recipe.schedule.warmup_fraction, named.schedule.warmup_fraction, warmup
        )),
        ema_decay=_ema_decay(recipe, named, sizes, updates),
        augment=replace(
            recipe.augment,
            magnitude=_kept(recipe.augment.magnitude, how.magnitude,
                            max(_within(how.magnitude + sizes.magnitude * x, 30.0),
                                named.growth.first_magnitude)),
            mixup=_kept(recipe.augment.mixup, how.mixup, _within(how.mixup + sizes.mixup * x, 1.0)),
        ),
        optim=replace(
            recipe.optim,
            lr_peak=_kept(recipe.optim.lr_peak, optim.lr_peak,
                          optim.lr_peak * 2 ** (sizes.log2_rate * x)),
            weight_decay=_kept(recipe.optim.weight_decay, optim.weight_decay,
                               optim.weight_decay * 2 ** (sizes.log2_decay * x)),
        ),
    )  # fmt: skip


def _ema_decay(recipe: Recipe, named: Recipe, sizes: Sizes, updates: int) -> float:
    """The half-life stays the same share of the training where that is shorter than the recipe's
    own; a longer one would still remember the random start."""
    if recipe.ema_decay != named.ema_decay or not named.ema_decay:
        return recipe.ema_decay
    made_for = named.images(sizes.images) // named.batch
    return named.ema_decay if updates >= made_for else named.ema_decay ** (made_for / updates)


def _of_member(found: Recipe, asked: Recipe, named: Recipe, member: Member) -> Recipe:
    """With the numbers that were printed for this member."""
    full = member.train_resolution
    growth = named.growth
    if growth.stages:  # from 128 px in equal steps, without 128 itself (google/automl, main.py)
        growth = replace(growth, first_size=(128 + (full - 128) / growth.stages) / full)
    augment = found.augment
    magnitude = MAGNITUDES.get(member.name.removeprefix("tf_"))
    if magnitude and asked.augment.magnitude == named.augment.magnitude:
        augment = replace(augment, magnitude=magnitude)
    return replace(
        found,
        augment=augment,
        dropout=member.dropout if asked.dropout == named.dropout else asked.dropout,
        train_size=full / member.spec.resolution
        if asked.train_size == named.train_size else asked.train_size,
        growth=growth if asked.growth == named.growth else asked.growth,
    )  # fmt: skip


def _kept(given: float, named: float, found: float) -> float:
    """What was asked for, else what was found, of which three digits are enough."""
    if given != named or abs(found - named) < 1e-9:
        return given
    return float(f"{found:.3g}")


def _within(value: float, most: float) -> float:
    return min(most, max(0.0, value))
