"""Trains a trial with torch."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from phiscale.arch.costs import cost
from phiscale.data.datasets.dataset import ArraySplit, ImageSet, Split
from phiscale.data.loader import CACHE_BYTES
from phiscale.data.reading.pixels import DEFAULT_OPTIONS, DecodeOptions
from phiscale.errors import TrainingError, is_out_of_memory
from phiscale.files.run_files import CHECKPOINTS
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial
from phiscale.training.determinism import thread_count
from phiscale.training.devices import cpu_name
from phiscale.training.evaluate import logits_of
from phiscale.training.log import best_evaluation, read_log
from phiscale.training.loop import train
from phiscale.training.runtime import Runtime
from phiscale.weights.sources import load


def train_trial(trial: Trial, images: ImageSet, run: Path, runtime: Runtime) -> Result:
    """Trains in the folder `run`, or resumes there. A training that diverges is a result, too.

    Interrupted: a signal came.
    """
    with thread_count(trial.threads):
        return _result_of(trial, images, run, runtime)


def _result_of(trial: Trial, images: ImageSet, run: Path, runtime: Runtime) -> Result:
    subset = replace(images, train=draw_evenly(images.train, trial.train_images))
    costs = cost(trial.spec)
    common = {
        "key": trial.key,
        "name": trial.name,
        "attrs": dict(trial.attrs),
        "trial": trial.to_dict(),
        "validation_images": len(images.validation),
        "macs": costs.macs,
        "params": costs.params,
        "activations": costs.activations,
        "made_by": {
            "torch": torch.__version__,
            "processor": cpu_name(),
            "device": runtime.device.type,
        },
    }
    start = time.process_time()
    try:
        weights = train(run, trial.spec, subset, trial.recipe, trial.preprocessing, runtime)
    except TrainingError as error:
        if error.__context__ is not None and is_out_of_memory(error.__context__):
            raise  # another machine may have more
        return Result(**common, validation_error=None, validation_loss=None, failed=str(error))
    log = list(read_log(run))
    steps = [row for row in log if "loss" in row]
    best = best_evaluation(log)
    assert best is not None  # a training ends with an evaluation
    if "validation_cross_entropy" not in best:  # the log leaves out NaN
        return Result(
            **common,
            validation_error=None,
            validation_loss=None,
            failed="its validation loss is not a number. Use lower rates.",
        )
    result = Result(
        **common,
        validation_error=round(1 - best["validation_top1"], 6),
        validation_loss=best["validation_cross_entropy"],
        images_seen=log[-1]["images_seen"],
        seconds=round(steps[-1]["seconds"], 2),
    )
    if not trial.test:
        return replace(result, cpu_seconds=round(time.process_time() - start, 1))
    network = load(weights).to(runtime.device)
    logits = logits_of(network, images.test, trial.preprocessing, device=runtime.device, workers=1)
    predictions = logits.argmax(axis=1)
    wrong = float(np.mean(predictions != images.test.labels))
    return replace(
        result,
        test_predictions=predictions,
        test_error=round(wrong, 6),
        cpu_seconds=round(time.process_time() - start, 1),
    )


def tidy(run: Path) -> None:
    """Deletes what would resume a finished training; keep what figures need."""
    shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)


def draw_evenly(split: Split, count: int | None, seed: int = 0) -> Split:
    """Draws `count` images by the seed, as many of every class as possible; None: all."""
    if count is None or count >= len(split):
        return split
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(split))
    ranks = np.zeros(len(split), np.int64)  # of an image within its class
    for label in np.unique(split.labels):
        members = order[split.labels[order] == label]
        ranks[members] = np.arange(len(members))
    first = order[np.argsort(ranks[order], kind="stable")][:count]
    return split.subset(np.sort(first))


def in_memory(images: ImageSet, options: DecodeOptions = DEFAULT_OPTIONS) -> ImageSet:
    """Decodes small images of one size once for all trials, if memory allows."""
    return replace(images, **{name: _decoded(split, options) for name, split in images.splits()})


def _decoded(split: Split, options: DecodeOptions) -> Split:
    if isinstance(split, ArraySplit) or not len(split):
        return split
    first = np.asarray(split.image(0, options))
    if first.nbytes * len(split) > CACHE_BYTES or max(first.shape[:2]) > 96:
        return split
    pixels = np.empty((len(split), *first.shape), np.uint8)
    for i in range(len(split)):
        one = np.asarray(split.image(i, options))
        if one.shape != first.shape:
            return split
        pixels[i] = one
    return ArraySplit(keys=split.keys, labels=split.labels, sizes=split.sizes, pixels=pixels)
