"""A network on a split: logits, then metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from phiscale.data.datasets.dataset import Split
from phiscale.data.loader import Batch, evaluation_batches, map_ahead, normalise_batch
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.metrics import Metrics, measure, wilson
from phiscale.training.parallel.allocator import keep_freed_memory
from phiscale.training.parallel.processes import ProcessGroup

MOST, MOST_PIXELS = 64, 8 * 224**2  # of a batch: maps of more pixels leave the caches and the heap


def logits_of(
    network: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    *,
    device: torch.device | None = None,
    workers: int = 2,
) -> np.ndarray:
    """float32 (images, classes), every picture once, in the split's order."""
    return answers((network,), split, preprocessing, device=device, workers=workers)[0]


def answers(
    networks: Sequence[nn.Module],
    split: Split,
    preprocessing: Preprocessing,
    *,
    device: torch.device | None = None,
    workers: int = 2,
) -> list[np.ndarray]:
    """The logits of several networks on the same pictures, which are read once."""
    device = device or torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    were_training = [network.training for network in networks]
    kinds = [next(network.eval().parameters()).dtype for network in networks]

    @torch.inference_mode()
    def answer(given: Batch) -> list[np.ndarray]:
        x = normalise_batch(given.pixels, preprocessing, device)
        return [
            network(x.to(kind)).float().cpu().numpy()
            for network, kind in zip(networks, kinds, strict=True)
        ]

    # a batch to each core rather than all cores to a batch, as in `parallel.lanes`
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    batch = (
        MOST if device.type != "cpu" else min(MOST, max(1, MOST_PIXELS // preprocessing.size**2))
    )
    batches = evaluation_batches(split, preprocessing, batch=batch, workers=workers)
    rows = list(map_ahead(answer, batches, cores, lambda: torch.set_num_threads(1)))
    for network, was_training in zip(networks, were_training, strict=True):
        network.train(was_training)
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def evaluate(
    network: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    classes: tuple[str, ...],
    *,
    device: torch.device | None = None,
) -> Metrics:
    """Metrics of a network in eval mode on a split."""
    logits = logits_of(network, split, preprocessing, device=device)
    return measure(logits, split.labels, classes)


@dataclass(frozen=True)
class EvalCounts:
    """Of a part of a split."""

    images: int
    correct: int
    cross_entropy_sum: float


@dataclass(frozen=True)
class EvalResult:
    """What a training needs to know of itself."""

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
    """What each network makes of this process's part of a split, which all share out."""
    mine = np.arange(group.rank, len(split), group.size)
    part = split if group.size == 1 else split.subset(mine)
    if not len(part):
        return [EvalCounts(0, 0, 0.0)] * len(networks)
    labels = torch.from_numpy(np.array(part.labels))
    found = []
    for rows in answers(networks, part, preprocessing, device=device, workers=workers):
        logits = torch.from_numpy(rows).double()
        correct = int((logits.argmax(1) == labels).sum())
        found.append(
            EvalCounts(len(part), correct, F.cross_entropy(logits, labels, reduction="sum").item())
        )
    return found


def reduce_counts(parts: Sequence[EvalCounts]) -> EvalResult:
    images, correct = sum(part.images for part in parts), sum(part.correct for part in parts)
    total = sum(part.cross_entropy_sum for part in parts)
    return EvalResult(images, correct / images, total / images, wilson(correct, images))
