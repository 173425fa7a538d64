"""Named sizes of the scaling study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phiscale.search.engine.tuning import Tuning
from phiscale.search.study.plan import RECIPE
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES

ARMS = ("base", "depth", "width", "resolution", "compound", "symmetric", "inverse", "longer")


# Of trainings that are long enough to tell rates apart at a sixth of their length, too.
HALVING = Tuning(drop_paths=(0.0, 0.1), lengths=(1 / 6, 1 / 3))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How large a study is, and what it can tell."""

    says: str
    seed_sd: tuple[float, float]  # of an accuracy between seeds: what is likely, for planning alone
    epochs: float
    seeds: int
    base: str = "small"
    resolution: int | None = None  # of the base; None: half of what the pictures have
    train_images: int | None = None
    base_width: float = 1.0  # over the base's own
    compute: float = 4.0  # of the arms over the base's
    real_pixels: bool = True  # no arm may have more than the pictures do
    arms: tuple[str, ...] = ARMS
    recipe: Recipe = RECIPE
    tuning: Tuning = field(default_factory=Tuning)


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        says="shows that it all works; four seeds can only say how many more are needed",
        seed_sd=(0.005, 0.018),  # docs/studies/settle-smoke has 0.018
        epochs=6,
        seeds=4,
        train_images=10_000,
    ),
    "standard": Preset(
        says="tells arms apart that differ by about a point, in a night of two cores",
        seed_sd=(0.0027, 0.005),
        epochs=10,
        seeds=7,
        arms=(*ARMS, "beyond"),
        tuning=HALVING,
    ),
    "gpu": Preset(
        says="tells arms apart that differ by less than a point, in minutes of a large GPU",
        seed_sd=(0.002, 0.004),
        epochs=20,
        seeds=7,
        base_width=2.0,
        arms=(*ARMS, "beyond"),
        recipe=replace(RECIPE, batch=512),
        tuning=HALVING,
    ),
    "cifar10-replication": Preset(
        says="a replication that saw no benefit, with arms of equal compute, a rate that comes to "
        "rest and seven seeds; days of a GPU. Its pixels stay invented: CIFAR-10 has 32",
        seed_sd=(0.0025, 0.005),
        base="efficientnet_b0",
        resolution=224,
        epochs=35,
        seeds=7,
        arms=("base", "depth", "width", "resolution", "compound"),
        real_pixels=False,
        recipe=RECIPE_ENTRIES["cifar10-35"].recipe,
        tuning=Tuning(rates=(0.008, 0.016, 0.032), lengths=(1 / 6, 1 / 3)),
    ),
}
