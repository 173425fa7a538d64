"""The length of a training, in images: planned before it starts, changed where the time demands it.

A training ends on its images, so that it can be repeated. Where it has a time limit, its speed is
checked at fixed numbers of images. A new length is written down before it counts, so that a resumed
training follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from phiscale.errors import CheckpointError
from phiscale.files import Format
from phiscale.files.run_files import LENGTH
from phiscale.training.recipes.recipe import Recipe

CHECKS = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the planned images
TOLERATED = 0.1  # of the time that is left
LEAST_STEPS = 4  # that the speed is measured over


@dataclass(frozen=True, kw_only=True)
class Change:
    """From `images_seen` on, the training is to end at `total` images."""

    images_seen: int
    total: int


@dataclass(frozen=True, kw_only=True)
class LengthChanges:
    """What `length.json` of a run holds."""

    changes: tuple[Change, ...]


FORMAT = Format(
    LengthChanges, "phiscale_length", CheckpointError, "Restore it, or use another `out`."
)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a training is at the moment."""

    seconds: float  # of the training so far
    images_per_s: float  # of its recent steps
    steps: int  # that this speed was measured over
    evaluation_s: float  # of its last evaluation


class TrainingLength:
    """The images that a training sees in all."""

    def __init__(
        self, run: Path, recipe: Recipe, train_images: int, pixels: int, limit_s: float | None
    ):
        """`pixels`: side of an image in evaluation. `limit_s`: seconds that it may take."""
        self.path, self.recipe, self.pixels, self.limit_s = run / LENGTH, recipe, pixels, limit_s
        self.planned = recipe.images(train_images)
        steps = self.planned // recipe.batch
        self.checks = {max(1, round(share * steps)) * recipe.batch for share in CHECKS if steps > 9}
        stored = FORMAT.read(self.path, required=True) if self.path.exists() else None
        self.changes: list[Change] = list(stored.changes) if stored else []

    def total_at(self, images_seen: int) -> int:
        """Returns the length that holds after so many images."""
        reached = [each.total for each in self.changes if each.images_seen <= images_seen]
        return reached[-1] if reached else self.planned

    def check(self, images_seen: int, pace: Pace) -> int | None:
        """Changes the length where the time demands it; returns the new one, else None.

        Called at the numbers of images of `checks`. What was decided there before a stop holds.
        """
        if any(each.images_seen == images_seen for each in self.changes):
            return self.total_at(images_seen)
        later = self.changes and self.changes[-1].images_seen > images_seen
        if self.limit_s is None or later or pace.steps < LEAST_STEPS:
            return None
        total = self._within_limit(images_seen, self.limit_s, pace)
        if total is None:
            return None
        self.changes.append(Change(images_seen=images_seen, total=total))
        FORMAT.write(self.path, LengthChanges(changes=tuple(self.changes)))
        return total

    def _within_limit(self, images_seen: int, limit_s: float, pace: Pace) -> int | None:
        """Returns the length that ends at the limit; None where the present one is near enough."""
        recipe, total = self.recipe, self.total_at(images_seen)
        left_s = limit_s - pace.seconds
        evaluations = recipe.evaluations - images_seen * recipe.evaluations // total
        left_for_steps_s = left_s - evaluations * pace.evaluation_s
        seconds_per_image = self._growth(images_seen / total) / pace.images_per_s
        needed_s = (total - images_seen) * seconds_per_image + evaluations * pace.evaluation_s
        first = images_seen == min(self.checks)  # only then a training may become longer
        if needed_s <= left_s * (1 + TOLERATED) and not (
            first and needed_s < left_s * (1 - 2 * TOLERATED)
        ):
            return None
        steps = int(max(0.0, left_for_steps_s) / seconds_per_image / recipe.batch)
        return images_seen + max(1, steps) * recipe.batch

    def _growth(self, progress: float) -> float:
        """Returns how many times as large, in pixels, later images are than those of now."""
        now = self.recipe.pixels(self.pixels, progress) ** 2
        later: Sequence[float] = [progress + (1 - progress) * step / 16 for step in range(17)]
        return fmean(self.recipe.pixels(self.pixels, share) ** 2 for share in later) / now


def images_in_all(run: Path, planned: int) -> int:
    """Returns how many images a training in this folder was to see in the end."""
    path = run / LENGTH
    return FORMAT.read(path, required=True).changes[-1].total if path.exists() else planned
