"""Named sizes of the scaling study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phiscale.search.settle import RECIPE
from phiscale.search.tuning import Tuning
from phiscale.train.recipe import Recipe

ARMS = ("base", "depth", "width", "resolution", "compound", "symmetric", "inverse", "longer")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How large a study is, and what it can tell."""

    says: str
    epochs: float
    seeds: int
    train_images: int | None = None
    base_width: float = 1.0  # over the base's own
    compute: float = 4.0  # of the arms over the base's
    arms: tuple[str, ...] = ARMS
    recipe: Recipe = RECIPE
    tuning: Tuning = field(default_factory=Tuning)


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(
        says="shows that it all works; four seeds can only say how many more are needed",
        epochs=6, seeds=4, train_images=10_000,
    ),
    "standard": Preset(
        says="tells arms apart that differ by 0.7 points, in a night of two cores",
        epochs=10, seeds=7, arms=(*ARMS, "beyond"), tuning=Tuning(drop_paths=(0.0, 0.1)),
    ),
    "gpu": Preset(
        says="tells arms apart that differ by 0.5 points, in minutes of a large GPU",
        epochs=20, seeds=7, base_width=2.0, arms=(*ARMS, "beyond"),
        recipe=replace(RECIPE, batch=512), tuning=Tuning(drop_paths=(0.0, 0.1)),
    ),
}  # fmt: skip
