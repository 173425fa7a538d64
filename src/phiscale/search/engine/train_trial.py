"""Trains a trial for real."""

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
from phiscale.deploy.calibrate import cpu_name
from phiscale.errors import TrainingError, is_out_of_memory
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial
from phiscale.training.evaluate import logits_of
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.runtime import Runtime
from phiscale.weights.sources import load


def train_trial(trial: Trial, images: ImageSet, run: Path, runtime: Runtime) -> Result:
    """Trains in the folder `run`, going on where an earlier start of it was stopped. A training
    that fails by its own doing is a result, too. Raises Interrupted where a signal came."""
    torch.set_num_threads(trial.threads)
    some = replace(images, train=evenly(images.train, trial.train_images))
    counted = cost(trial.spec)
    common = {
        "key": trial.key,
        "name": trial.name,
        "attrs": dict(trial.attrs),
        "trial": trial.to_dict(),
        "validation_images": len(images.validation),
        "macs": counted.macs,
        "params": counted.params,
        "activations": counted.activations,
        "made_by": {
            "torch": torch.__version__,
            "processor": cpu_name(),
            "device": runtime.device.type,
        },
    }
    began = time.process_time()
    try:
        best = train(run, trial.spec, some, trial.recipe, trial.preprocessing, runtime)
    except TrainingError as error:
        if error.__context__ is not None and is_out_of_memory(error.__context__):
            raise  # another machine may have more
        return Result(**common, validation_error=None, validation_loss=None, failed=str(error))
    log = list(read_log(run))
    steps = [row for row in log if "loss" in row]
    last = [row for row in log if "validation_top1" in row][-1]
    if "validation_cross_entropy" not in last:  # the log leaves out what is not a number
        return Result(
            **common,
            validation_error=None,
            validation_loss=None,
            failed="its validation loss is not a number. Use lower rates.",
        )
    found = Result(
        **common,
        validation_error=round(1 - last["validation_top1"], 6),
        validation_loss=last["validation_cross_entropy"],
        images_seen=last["images_seen"],
        seconds=round(steps[-1]["seconds"], 2),
    )
    if not trial.test:
        return replace(found, cpu_seconds=round(time.process_time() - began, 1))
    network = load(best).to(runtime.device)
    logits = logits_of(network, images.test, trial.preprocessing, device=runtime.device, workers=1)
    answers = logits.argmax(axis=1)
    wrong = float(np.mean(answers != images.test.labels))
    return replace(
        found,
        test_predictions=answers,
        test_error=round(wrong, 6),
        cpu_seconds=round(time.process_time() - began, 1),
    )


def tidy(run: Path) -> None:
    """Keeps of a finished training what figures need, not what resumes it."""
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def evenly(split: Split, count: int | None, seed: int = 0) -> Split:
    """`count` pictures, of every class as many, drawn by the seed; all where None or no more."""
    if count is None or count >= len(split):
        return split
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(split))
    ranks = np.zeros(len(split), np.int64)  # of a picture within its class
    for label in np.unique(split.labels):
        mine = order[split.labels[order] == label]
        ranks[mine] = np.arange(len(mine))
    first = order[np.argsort(ranks[order], kind="stable")][:count]
    return split.subset(np.sort(first))


def in_memory(images: ImageSet) -> ImageSet:
    """Small pictures of one size are decoded once for all trials, if memory allows; others stay
    where they are."""
    return replace(images, **{name: _decoded(split) for name, split in images.splits()})


def _decoded(split: Split) -> Split:
    if isinstance(split, ArraySplit) or not len(split):
        return split
    first = np.asarray(split.image(0))
    if first.nbytes * len(split) > CACHE_BYTES or max(first.shape[:2]) > 96:
        return split
    pixels = np.empty((len(split), *first.shape), np.uint8)
    for i in range(len(split)):
        one = np.asarray(split.image(i))
        if one.shape != first.shape:
            return split
        pixels[i] = one
    return ArraySplit(keys=split.keys, labels=split.labels, sizes=split.sizes, pixels=pixels)
