"""Batches of pixels, prepared in threads ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from phiscale.data.augment.augment import MIX, RANDOM_NUMBERS, Augment, augment_images
from phiscale.data.augment.mixing import Mix, draw_mixes, partner_of
from phiscale.data.batches import map_ahead
from phiscale.data.datasets.dataset import Split
from phiscale.data.order import Order, draw_uniforms
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.reading.pixels import DEFAULT_OPTIONS, DecodeOptions

CACHE_BYTES = 3 * 2**30


@dataclass(frozen=True, eq=False)
class Batch:
    """Pixels are uint8 NCHW (channels last in memory), `indices` the split's samples.

    `sample_indices` count the images of the training from its first. Where images are mixed, rows
    beyond those are partners only.
    """

    pixels: Tensor
    labels: Tensor
    indices: NDArray[np.int64]
    sample_indices: NDArray[np.int64]
    mix: Mix | None = None
    total: float = 0.0  # class weights of all images of the update, on all processes


class ImageCache:
    """A split whose decoded images stay in memory while they fit in `cache_bytes`."""

    def __init__(
        self,
        split: Split,
        shortest: int,
        options: DecodeOptions = DEFAULT_OPTIONS,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.split, self.shortest, self.options = split, shortest, options
        self._free_bytes = cache_bytes
        self._cached: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        """Images in memory."""
        return len(self._cached)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Reads an image as uint8 HWC; its shorter side has at most `shortest` pixels.

        An image outside the cache is shrunk too, so that results do not depend on memory.
        """
        cached = self._cached.get(index)
        if cached is not None:
            return cached
        image = self.split.image(index, self.options)
        shorter = min(image.size)
        if shorter > self.shortest:
            width, height = (max(1, round(s * self.shortest / shorter)) for s in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(image)
        if self._free_bytes >= pixels.nbytes:
            self._free_bytes -= pixels.nbytes
            self._cached[index] = pixels
        return pixels


@dataclass(frozen=True, kw_only=True)
class TrainingBatchPlan:
    """Which batches a training takes, and what happens to their images.

    Batches cover the samples `start` to `stop` of the training, in its order. An update has `batch`
    images, in micro-batches of `micro_batch` images (0: one micro-batch).
    """

    seed: int
    batch: int
    start: int
    stop: int
    augment_at: Callable[[int], Augment]
    """Changes to the images of the update that begins at a sample."""
    micro_batch: int = 0
    size_at: Callable[[int], int] | None = None
    """Pixels a side in that update; None: those of the preprocessing."""
    class_weights: NDArray[np.floating] | None = None
    """Weight of each class in the loss; None: all are 1."""
    rows_of: Callable[[int], tuple[int, int]] = lambda size: (0, size)
    """This process's rows of a micro-batch of so many images: the first, and the end."""


def training_batches(
    images: ImageCache, preprocessing: Preprocessing, plan: TrainingBatchPlan, *, workers: int = 1
) -> Generator[Batch]:
    """Yields augmented micro-batches in the order of the training, prepared in `workers` threads.

    Pixels are uint8 NCHW. They depend on the seed and the sample alone, not on `rows_of`.
    """
    order = Order(len(images.split), plan.seed, images.split.groups())

    def prepare(micro_batch: _MicroBatch) -> Batch:
        return _prepare(micro_batch, images, preprocessing, plan)

    yield from map_ahead(prepare, _micro_batches(plan, order, images.split), workers)


def _micro_batches(plan: TrainingBatchPlan, order: Order, split: Split) -> Iterator[_MicroBatch]:
    """Runs in one thread, since it draws the permutations of the epochs."""
    size = plan.micro_batch or plan.batch
    for update in range(plan.start, plan.stop, plan.batch):
        augment = plan.augment_at(update)
        total = float(plan.batch)
        if plan.class_weights is not None:
            indices = order.samples(update, update + plan.batch)
            total = float(plan.class_weights[split.labels[indices]].sum())
        for start in range(update, update + plan.batch, size):
            first, end = plan.rows_of(size)
            yield _MicroBatch(
                order, augment, update, (start, start + size), (start + first, start + end), total
            )


def _prepare(
    micro_batch: _MicroBatch,
    images: ImageCache,
    preprocessing: Preprocessing,
    plan: TrainingBatchPlan,
) -> Batch:
    augment = micro_batch.augment
    if plan.size_at:
        preprocessing = replace(preprocessing, size=plan.size_at(micro_batch.update))
    uniforms = draw_uniforms(plan.seed, micro_batch.rows, RANDOM_NUMBERS)
    decoded = [images.pixels(int(i)) for i in micro_batch.indices]
    pixels = augment_images(decoded, augment, preprocessing, uniforms)
    mix = None
    if augment.mixup or augment.cutmix:
        mix = _mix(micro_batch, preprocessing.size, uniforms)
    batch = _batch(pixels, images.split, micro_batch.indices, micro_batch.sample_indices)
    return replace(batch, mix=mix, total=micro_batch.total)


def _mix(micro_batch: _MicroBatch, size: int, uniforms: NDArray[np.float64]) -> Mix:
    augment, own = micro_batch.augment, micro_batch.sample_indices
    partners, share, box = draw_mixes(
        own,
        micro_batch.whole,
        mixup=augment.mixup,
        cutmix=augment.cutmix,
        size=size,
        uniforms=uniforms[: len(own), MIX],
    )
    rows = {int(sample): row for row, sample in enumerate(micro_batch.rows)}
    partner = torch.tensor([rows[int(sample)] for sample in partners])
    return Mix(partner, torch.from_numpy(share), torch.from_numpy(box))


class _MicroBatch:
    """The samples `own` of this process, of the samples `whole` of a micro-batch.

    `rows` are the samples to read: its own, then partners that another process holds.
    """

    def __init__(
        self,
        order: Order,
        augment: Augment,
        update: int,
        whole: tuple[int, int],
        own: tuple[int, int],
        total: float,
    ):
        self.augment, self.update, self.whole, self.total = augment, update, whole, total
        first, end = own
        self.sample_indices = np.arange(first, end)
        edges = (first, end - 1) if first < end else ()
        near = {partner_of(sample, *whole) for sample in edges}
        is_mixed = augment.mixup or augment.cutmix
        elsewhere = sorted(s for s in near if not first <= s < end) if is_mixed else []
        self.rows = np.array([*self.sample_indices, *elsewhere], np.int64)
        parts = [order.samples(first, end), *(order.samples(s, s + 1) for s in elsewhere)]
        self.indices = np.concatenate(parts)


def _batch(
    pixels: NDArray[np.uint8],
    split: Split,
    indices: NDArray[np.int64],
    sample_indices: NDArray[np.int64],
) -> Batch:
    labels = torch.from_numpy(np.ascontiguousarray(split.labels[indices]))
    return Batch(channels_first(pixels), labels, indices, sample_indices)


def channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """NHWC pixels as an NCHW tensor on the same memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def normalise_batch(pixels: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Moves uint8 NCHW pixels to the device and normalises them as `Preprocessing.normalise` does.

    Returns float32 NCHW, channels last in memory.
    """
    pixels = pixels.to(device, non_blocking=True)
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
