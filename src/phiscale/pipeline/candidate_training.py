"""Short trainings of a candidate: how fast it trains, and its error after a few epochs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from phiscale.data.datasets.dataset import Split
from phiscale.data.loader import CACHE_BYTES
from phiscale.data.preprocessing import Preprocessing
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import suitable_preprocessing, suitable_recipe
from phiscale.planning.budget import Candidate
from phiscale.training.log import best_evaluation, read_log
from phiscale.training.loop import train
from phiscale.training.parallel.replicas import lanes_for
from phiscale.training.recipes.recipe import Growth, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.signals import Interrupted
from phiscale.weights.header import read_metadata

WARM_STEPS = 4


def candidate_recipe(request: Request, evidence: Evidence, candidate: Candidate) -> Recipe:
    """Returns the named recipe of these images for a candidate; its length is still to be set."""
    pretrained = candidate.pretrained is not None
    named = suitable_recipe(evidence.images, evidence.audit, pretrained=pretrained)
    if pretrained:  # smaller images would undo the probe, which is fitted at the full size
        named = replace(named, growth=Growth())
    return replace(named, seed=request.seed, lanes=lanes_for(named.batch, evidence.torch_device))


def candidate_preprocessing(evidence: Evidence, candidate: Candidate) -> Preprocessing:
    """Returns what pretrained weights expect; otherwise what suits the images."""
    if candidate.pretrained is None:
        return suitable_preprocessing(candidate.spec, evidence.audit)
    expected = read_metadata(Path(candidate.pretrained)).preprocessing
    value_range = evidence.audit.value_range  # of these images, not of those behind the weights
    return replace(expected, size=candidate.spec.resolution, value_range=value_range)


def measure_training_speed(
    request: Request, evidence: Evidence, candidate: Candidate, seconds: float
) -> float:
    """Measures the images per second of the training loop, for about so many seconds.

    Reading, augmentation, weight averaging and logging are part of it.
    """
    recipe = candidate_recipe(request, evidence, candidate)
    first = _images_per_s(evidence, candidate, recipe, 2 * WARM_STEPS)
    steps = max(3 * WARM_STEPS, round(first * seconds / recipe.batch))
    if steps * recipe.batch / first > 3 * seconds:
        return first
    return _images_per_s(evidence, candidate, recipe, steps)


def error_after(
    request: Request, evidence: Evidence, candidate: Candidate, epochs: float, run: Path
) -> float:
    """Returns the validation error after a training of so many epochs, in the folder `run`."""
    recipe = replace(candidate_recipe(request, evidence, candidate), epochs=epochs, evaluations=1)
    train(
        run,
        candidate.spec,
        evidence.images,
        recipe,
        candidate_preprocessing(evidence, candidate),
        Runtime(device=evidence.torch_device, log_level=logging.DEBUG),
        start_from=Path(candidate.pretrained) if candidate.pretrained else None,
    )
    best = best_evaluation(read_log(run))
    assert best is not None  # a training ends with an evaluation
    return 1 - best["validation_top1"]


def _images_per_s(evidence: Evidence, candidate: Candidate, recipe: Recipe, steps: int) -> float:
    full, images = candidate.spec.resolution, evidence.images
    few = _images_to_measure(images.train, full, WARM_STEPS * recipe.batch)
    with TemporaryDirectory() as folder, _nothing_saved():
        train(
            Path(folder),
            candidate.spec,
            replace(
                images,
                train=few,
                validation=images.validation.subset(range(min(8, len(images.validation)))),
            ),
            replace(
                recipe,
                epochs=steps * recipe.batch / len(few),
                evaluations=1,
                head="random",
                norms="train",
            ),
            candidate_preprocessing(evidence, candidate),
            Runtime(device=evidence.torch_device, log_level=logging.DEBUG),
        )
        times = [record["seconds"] for record in read_log(Path(folder)) if "loss" in record]
    warm = min(WARM_STEPS, len(times) // 2)  # first steps plan, and read the images
    speed = (len(times) - 1 - warm) * recipe.batch / max(1e-3, times[-1] - times[warm])
    # the steps left out had the smallest images of a training in which they grow
    timed = [step / len(times) for step in range(warm + 1, len(times))]
    whole = [n / 64 for n in range(64)]
    return speed * _mean_pixels(recipe, full, timed) / _mean_pixels(recipe, full, whole)


def _mean_pixels(recipe: Recipe, full: int, shares: Sequence[float]) -> float:
    """Returns the mean pixels of an image at these shares of a training."""
    return fmean(recipe.pixels(full, share) ** 2 for share in shares)


def _images_to_measure(train: Split, pixels: int, count: int) -> Split:
    """Returns so few images that all are in memory, as in a long training that fits there; all of
    them where the training does not fit."""
    if len(train) <= count or len(train) * 3 * (1.3 * pixels) ** 2 > CACHE_BYTES:
        return train
    return train.subset(range(0, len(train), len(train) // count)[:count])


@contextlib.contextmanager
def _nothing_saved() -> Iterator[None]:
    """Says of a measurement that is stopped that it has saved nothing to resume from."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.status, "stopped; run the same command to resume") from None
