"""Evaluates networks on a split: logits, counts and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.data.batches import (
    MAX_BATCH,
    BatchPlan,
    cpu_batch_size,
    run_batches,
    split_reader,
)
from phiscale.data.datasets.dataset import Split
from phiscale.data.loader import channels_first, normalise_batch
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.determinism import set_own_thread_count
from phiscale.training.metrics import Metrics, measure, wilson
from phiscale.training.ownership import is_own_process
from phiscale.training.parallel.allocator import keep_freed_memory
from phiscale.training.parallel.processes import ProcessGroup


def logits_of(
    network: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    *,
    device: torch.device | None = None,
    workers: int = 2,
) -> np.ndarray:
    """Returns the logits of every image in the split's order: float32 (images, classes)."""
    return logits_of_all((network,), split, preprocessing, device=device, workers=workers)[0]


def logits_of_all(
    networks: Sequence[nn.Module],
    split: Split,
    preprocessing: Preprocessing,
    *,
    device: torch.device | None = None,
    workers: int = 2,
) -> list[np.ndarray]:
    """Returns the logits of each network on the same images, which are read once."""
    device = device or torch.device("cpu")
    were_training = [network.training for network in networks]
    for network in networks:
        network.eval()
    reader, plan = split_reader(split, preprocessing), batch_plan(preprocessing.size, device)
    plan = replace(plan, readers=workers)

    def compute(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        x = normalise_batch(channels_first(pixels), preprocessing, device)
        return [forward(network, x) for network in networks]

    rows = [logits for _, logits in run_batches(compute, range(len(split)), reader, plan)]
    for network, was_training in zip(networks, were_training, strict=True):
        network.train(was_training)
    parts = (logits for logits in rows if logits is not None)
    return [np.concatenate(batches) for batches in zip(*parts, strict=True)]


def batch_plan(size: int, device: torch.device, batch_size: int | None = None) -> BatchPlan:
    """Returns the batches with which a device computes images of `size` x `size` pixels fastest.

    On a CPU every core computes a batch of its own, as in `parallel.replicas`.
    """
    if device.type != "cpu":
        return BatchPlan(size=batch_size or MAX_BATCH)
    if is_own_process():
        keep_freed_memory()
    return BatchPlan(
        size=batch_size or cpu_batch_size(size),
        streams=torch.get_num_threads(),
        prepare_thread=partial(set_own_thread_count, 1),
    )


@torch.inference_mode()
def forward(network: nn.Module, images: Tensor) -> NDArray[np.float32]:
    """Returns the logits of a network in eval mode, computed in the type of its weights."""
    weights_type = next(network.parameters()).dtype
    return network(images.to(weights_type)).float().cpu().numpy()


def evaluate(
    network: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    classes: tuple[str, ...],
    *,
    device: torch.device | None = None,
) -> Metrics:
    """Returns the metrics of a network on a split, in eval mode."""
    logits = logits_of(network, split, preprocessing, device=device)
    return measure(logits, split.labels, classes)


@dataclass(frozen=True)
class EvalCounts:
    """Counts of a part of a split, which can be added up."""

    images: int
    correct: int  # top-1
    cross_entropy_sum: float  # over the images


@dataclass(frozen=True)
class EvalResult:
    """Result of an evaluation during training. `interval` is Wilson's for top-1 at 95 %."""

    images: int
    top1: float
    cross_entropy: float
    interval: tuple[float, float]


def count_correct(
    networks: Sequence[nn.Module],
    split: Split,
    preprocessing: Preprocessing,
    device: torch.device,
    group: ProcessGroup,
    workers: int,
) -> list[EvalCounts]:
    """Counts correct images of this process's part of a split, for each network.

    Every process evaluates its own part: images rank, rank + size, rank + 2 size, ...
    """
    mine = np.arange(group.rank, len(split), group.size)
    part = split if group.size == 1 else split.subset(mine)
    if not len(part):
        return [EvalCounts(0, 0, 0.0)] * len(networks)
    labels = torch.from_numpy(np.array(part.labels))
    counts = []
    for rows in logits_of_all(networks, part, preprocessing, device=device, workers=workers):
        logits = torch.from_numpy(rows).double()
        correct = int((logits.argmax(1) == labels).sum())
        counts.append(
            EvalCounts(len(part), correct, F.cross_entropy(logits, labels, reduction="sum").item())
        )
    return counts


def reduce_counts(parts: Sequence[EvalCounts]) -> EvalResult:
    """Adds up the counts of all parts of a split."""
    images, correct = sum(part.images for part in parts), sum(part.correct for part in parts)
    total = sum(part.cross_entropy_sum for part in parts)
    return EvalResult(images, correct / images, total / images, wilson(correct, images))
