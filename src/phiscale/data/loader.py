"""Batches of pixels, prepared in threads ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phiscale.data.augment import RANDOM_NUMBERS, Augment, augmented
from phiscale.data.order import Order, uniforms
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.splits import Split

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3  # batches
CACHE_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Batch:
    """Pixels are uint8 NCHW (channels last in memory); `indices` are the split's samples."""

    pixels: Tensor
    labels: Tensor
    indices: np.ndarray


class Pictures:
    """A split whose decoded pictures stay in memory while they fit, shrunk to what is of use."""

    def __init__(
        self, split: Split, shortest: int, background: tuple[int, int, int] = (255, 255, 255),
        cache_bytes: int = CACHE_BYTES,
    ):  # fmt: skip
        self.split, self.shortest, self.background = split, shortest, background
        self._room = cache_bytes
        self._kept: dict[int, np.ndarray] = {}

    def pixels(self, index: int) -> np.ndarray:
        """uint8 HWC; its shorter side is `shortest` pixels at most, kept or not: results do not
        depend on the memory at hand."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = self.split.image(index, background=self.background)
        shorter = min(image.size)
        if shorter > self.shortest:
            width, height = (max(1, round(s * self.shortest / shorter)) for s in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(image)
        if self._room >= pixels.nbytes:
            self._room -= pixels.nbytes
            self._kept[index] = pixels
        return pixels


def training_batches(
    pictures: Pictures, preprocessing: Preprocessing, augment: Augment, *, seed: int, batch: int,
    start: int, stop: int, workers: int = 1, size_at: Callable[[int], int] | None = None,
) -> Generator[Batch]:  # fmt: skip
    """Augmented batches for positions start..stop of a training, in its order. `size_at`: pixels a
    side of the batch at a position; those of `preprocessing` if None."""
    order = Order(len(pictures.split), seed)
    indices_at: dict[int, np.ndarray] = {}

    def places() -> Iterator[int]:
        for at in range(start, stop, batch):  # permutations are drawn in one thread
            indices_at[at] = order.samples(at, min(at + batch, stop))
            yield at

    def make(at: int) -> Batch:
        indices = indices_at.pop(at)
        u = uniforms(seed, np.arange(at, at + len(indices)), RANDOM_NUMBERS)
        take = replace(preprocessing, size=size_at(at)) if size_at else preprocessing
        pixels = augmented([pictures.pixels(int(i)) for i in indices], augment, take, u)
        return _batch(pixels, pictures.split, indices)

    yield from ahead(make, places(), workers)


def evaluation_batches(
    split: Split, preprocessing: Preprocessing, *, batch: int, workers: int = 1
) -> Iterator[Batch]:
    """Every picture once, in order, as an exported model would see it."""

    def make(at: int) -> Batch:
        indices = np.arange(at, min(at + batch, len(split)))
        pixels = [
            np.asarray(
                preprocessing.crop_and_resize(
                    split.image(int(i), background=preprocessing.background)
                )
            )
            for i in indices
        ]
        return _batch(np.stack(pixels), split, indices)

    yield from ahead(make, iter(range(0, len(split), batch)), workers)


def _batch(pixels: np.ndarray, split: Split, indices: np.ndarray) -> Batch:
    labels = torch.from_numpy(np.ascontiguousarray(split.labels[indices]))
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), labels, indices)


def ahead(
    make: Callable[[T], R], things: Iterator[T], workers: int,
    begin: Callable[[], object] | None = None,
) -> Generator[R]:  # fmt: skip
    """`make` over things in threads, a few ahead, in order; each thread calls `begin` first."""
    pool = ThreadPoolExecutor(max(1, workers), "ahead", begin)
    waiting: list[Future[R]] = []
    try:
        for thing in things:
            waiting.append(pool.submit(make, thing))
            if len(waiting) > max(AHEAD, workers):
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def normalised(pixels: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Float NCHW, channels last, as `Preprocessing.normalise` gives it."""
    pixels = pixels.to(device, non_blocking=True)
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
