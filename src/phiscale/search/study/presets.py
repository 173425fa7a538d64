"""Named sizes of the scaling study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phiscale.search.study.arms import BEYOND
from phiscale.search.study.plan import RECIPE
from phiscale.search.tuning import Tuning
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES

ARMS = ("base", "depth", "width", "resolution", "compound", "symmetric", "inverse", "longer")

# For trainings long enough that a sixth of their length already ranks the learning rates.
HALVING = Tuning(drop_paths=(0.0, 0.1), lengths=(1 / 6, 1 / 3))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Size of a study."""

    summary: str
    seed_sd: tuple[float, float]
    """Likely seed standard deviation of an accuracy, from and to. It only plans the seeds."""
    epochs: float
    seeds: int
    base: str = "small"
    resolution: int | None = None  # of the base; None: half of what the images have
    train_images: int | None = None
    base_width: float = 1.0  # multiplier of the base, before the arms are scaled
    compute_ratio: float = 4.0  # of the arms, over the base
    real_pixels: bool = True  # no arm may have more pixels than the images
    arms: tuple[str, ...] = ARMS
    recipe: Recipe = RECIPE
    tuning: Tuning = field(default_factory=Tuning)


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        summary="shows that everything works, with four seeds; a verdict needs seven",
        seed_sd=(0.005, 0.018),  # docs/studies/settle-smoke measured 0.018
        epochs=6,
        seeds=4,
        train_images=10_000,
    ),
    "standard": Preset(
        summary="detects differences of about a point, in a night of two cores",
        seed_sd=(0.0027, 0.005),
        epochs=10,
        seeds=7,
        arms=(*ARMS, BEYOND),
        tuning=HALVING,
    ),
    "gpu": Preset(
        summary="detects differences of less than a point, in minutes of a large GPU",
        seed_sd=(0.002, 0.004),
        epochs=20,
        seeds=7,
        base_width=2.0,
        arms=(*ARMS, BEYOND),
        recipe=replace(RECIPE, batch=512),
        tuning=HALVING,
    ),
    "cifar10-replication": Preset(
        summary="a replication that saw no benefit, with arms of equal compute, a fully annealed "
        "learning rate and seven seeds; days of a GPU. Inputs are upsampled: CIFAR-10 has 32 px",
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
