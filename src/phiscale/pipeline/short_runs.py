"""Short trainings of candidates that inform a choice: how fast they train, how well they begin."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.spec import Spec
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.loader import CACHE_BYTES
from phiscale.data.preprocessing import Preprocessing
from phiscale.planning.budget import Candidate
from phiscale.training.log import read_log
from phiscale.training.loop import Runtime, train
from phiscale.training.parallel.lanes import lanes_for
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPES, finetune_for
from phiscale.training.signals import Interrupted
from phiscale.weights.store import read_metadata

WARM_STEPS = 4


def _pixels(recipe: Recipe, full: int, places: Sequence[float]) -> float:
    """Of a picture, at these shares of a training on average."""
    return fmean(recipe.pixels(full, place) ** 2 for place in places)


def recipe_for(images: ImageSet, audit: Audit, *, pretrained: bool = False) -> Recipe:
    """The named recipe that suits these pictures; `balanced` where classes differ much in size."""
    characters = images.source in ("digits", "mnist", "kmnist")
    if pretrained:
        name = finetune_for(len(images.train) / len(images.classes))
    elif characters:
        name = "characters"
    else:
        name = "small-images" if has_small_pictures(audit) else "photos"
    recipe = RECIPES[name]
    weights = "balanced" if audit.imbalance > 2 else "none"
    flip = recipe.augment.flip and not characters
    return replace(recipe, class_weights=weights, augment=replace(recipe.augment, flip=flip))


def native_pixels(audit: Audit) -> int:
    """What a typical picture really has, along its shorter side."""
    assert audit.shorter_side is not None
    return int(audit.shorter_side.median)


def has_small_pictures(audit: Audit) -> bool:
    """They are taken whole, and scalings of `small` compete for them."""
    return native_pixels(audit) <= SMALL_PIXELS


def preprocessing_for(spec: Spec, audit: Audit) -> Preprocessing:
    """Small pictures whole; of photos the centre, where that leaves real pixels."""
    whole = has_small_pictures(audit) or native_pixels(audit) * 0.875 < spec.resolution
    return Preprocessing(size=spec.resolution, crop=1.0 if whole else 0.875)


@contextlib.contextmanager
def _nothing_saved() -> Iterator[None]:
    """A measurement that is stopped has saved nothing that one could go on with."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.status, "stopped; run the same command to go on") from None


class Trials:
    """Trains candidates for a while, on these pictures and this device."""

    def __init__(self, images: ImageSet, audit: Audit, seed: int, device: torch.device):
        self.images, self.audit, self.seed, self.device = images, audit, seed, device

    def recipe(self, candidate: Candidate) -> Recipe:
        """The named one of these pictures; its length is still to be set."""
        named = recipe_for(self.images, self.audit, pretrained=bool(candidate.pretrained))
        return replace(named, seed=self.seed, lanes=lanes_for(named.batch, self.device))

    def preprocessing(self, candidate: Candidate) -> Preprocessing:
        """What pretrained weights expect; else what suits the pictures."""
        if candidate.pretrained is None:
            return preprocessing_for(candidate.spec, self.audit)
        take = read_metadata(Path(candidate.pretrained)).preprocessing
        return replace(take, size=candidate.spec.resolution)

    def images_per_s(self, candidate: Candidate, seconds: float) -> float:
        """Of so many seconds of the loop itself: with reading, augmenting, averaging, logging."""
        recipe = self.recipe(candidate)
        first = self._images_per_s(candidate, recipe, 2 * WARM_STEPS)
        steps = max(3 * WARM_STEPS, round(first * seconds / recipe.batch))
        if steps * recipe.batch / first > 3 * seconds:
            return first
        return self._images_per_s(candidate, recipe, steps)

    def _images_per_s(self, candidate: Candidate, recipe: Recipe, steps: int) -> float:
        full = candidate.spec.resolution
        pictures = self._pictures_to_measure(full, WARM_STEPS * recipe.batch)
        epochs = steps * recipe.batch / len(pictures)
        few = self.images.validation.subset(range(min(8, len(self.images.validation))))
        with TemporaryDirectory() as folder, _nothing_saved():
            train(
                Path(folder),
                candidate.spec,
                replace(self.images, train=pictures, validation=few),
                replace(recipe, epochs=epochs, evaluations=1, head="random", norms="train"),
                self.preprocessing(candidate),
                Runtime(device=self.device, log_level=logging.DEBUG),
            )
            times = [record["seconds"] for record in read_log(Path(folder)) if "loss" in record]
        warm = min(WARM_STEPS, len(times) // 2)  # they plan, and read the pictures first
        speed = (len(times) - 1 - warm) * recipe.batch / max(1e-3, times[-1] - times[warm])
        # what was left out had the smallest pictures of a training in which they grow
        timed = [place / len(times) for place in range(warm + 1, len(times))]
        return (
            speed
            * _pixels(recipe, full, timed)
            / _pixels(recipe, full, [n / 64 for n in range(64)])
        )

    def _pictures_to_measure(self, pixels: int, count: int) -> Split:
        """So few that they are read once and then at hand, as all are in a long training whose
        pictures fit in memory; all of them where they do not fit."""
        train = self.images.train
        if len(train) <= count or len(train) * 3 * (1.3 * pixels) ** 2 > CACHE_BYTES:
            return train
        return train.subset(range(0, len(train), len(train) // count)[:count])

    def error_after(self, candidate: Candidate, epochs: float, run: Path) -> float:
        """Validation error of a whole training that lasts so long, in the folder `run`."""
        recipe = replace(self.recipe(candidate), epochs=epochs, evaluations=1)
        start_from = Path(candidate.pretrained) if candidate.pretrained else None
        train(
            run,
            candidate.spec,
            self.images,
            recipe,
            self.preprocessing(candidate),
            Runtime(device=self.device, log_level=logging.DEBUG),
            start_from=start_from,
        )
        return 1 - max(r.get("validation_top1", 0.0) for r in read_log(run))
