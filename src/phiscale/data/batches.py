"""The inference path: threads read images ahead, batches are computed, results come in order.

Evaluation, prediction and the check of an export all run through `run_batches`. It knows no
network and imports no torch: `compute` is a function from pixels to any result.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.datasets.dataset import Split
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import BadImage

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Batches that are prepared before they are needed, at least."""

MAX_BATCH = 64
MAX_CPU_BATCH_PIXELS = 8 * 224**2
"""More pixels than these give maps that leave a CPU's caches."""


def core_count() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_batch_size(size: int) -> int:
    """Images of `size` x `size` pixels that a core computes fastest at once."""
    return min(MAX_BATCH, max(1, MAX_CPU_BATCH_PIXELS // size**2))


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How much is computed at once. Results do not depend on `streams` or `readers`."""

    size: int
    """Images of a batch."""
    streams: int = 1
    """Batches that are computed at the same time, each in a thread."""
    readers: int = 2
    """Threads that read and resize images."""
    prepare_thread: Callable[[], object] | None = None
    """Called once in each computing thread, before its first batch."""


@dataclass(frozen=True, eq=False)
class PixelBatch(Generic[T]):
    """Consecutive images of a list, cropped and resized as a network takes them."""

    items: tuple[T, ...]
    errors: tuple[str | None, ...]
    """Why an image cannot be read, for every item; None where it was read."""
    pixels: NDArray[np.uint8]
    """Shape (readable images, size, size, 3)."""


@dataclass(frozen=True)
class ImageReader(Generic[T]):
    """Reads an item and prepares its pixels for a network."""

    read: Callable[[T], Image.Image]
    """Raises BadImage for an unreadable image; any other error ends the whole run."""
    preprocessing: Preprocessing

    def __call__(self, items: tuple[T, ...]) -> PixelBatch[T]:
        """Read a batch. The pixels are those that `Preprocessing.__call__` normalises."""
        size = self.preprocessing.size
        pixels = np.empty((len(items), size, size, 3), np.uint8)
        errors: list[str | None] = []
        count = 0
        for item in items:
            try:
                image = self.preprocessing.crop_and_resize(self.read(item))
                pixels[count] = np.asarray(image)
                errors.append(None)
                count += 1
            except BadImage as error:
                errors.append(error.reason)
        return PixelBatch(items, tuple(errors), pixels[:count])


def split_reader(split: Split, preprocessing: Preprocessing) -> ImageReader[int]:
    """Reader of a split's images by their index. An unreadable one raises DataError."""
    options = preprocessing.decode_options
    return ImageReader(lambda i: split.image(i, options), preprocessing)


def read_batches(
    items: Iterable[T], reader: ImageReader[T], *, size: int, readers: int = 2
) -> Generator[PixelBatch[T]]:
    """Yield `items` in order, in batches of `size`, read in threads a few batches ahead."""
    yield from map_ahead(reader, _chunks(items, size), readers)


def run_batches(
    compute: Callable[[NDArray[np.uint8]], R],
    items: Iterable[T],
    reader: ImageReader[T],
    plan: BatchPlan,
) -> Generator[tuple[PixelBatch[T], R | None]]:
    """Yield every batch of `items` in order, with what `compute` makes of its pixels.

    `compute` gets uint8 of shape (images, size, size, 3) and is not called for a batch without
    a readable image; the result is then None. `items` is consumed a few batches ahead.
    """

    def computed(batch: PixelBatch[T]) -> tuple[PixelBatch[T], R | None]:
        return batch, compute(batch.pixels) if len(batch.pixels) else None

    batches = read_batches(items, reader, size=plan.size, readers=plan.readers)
    yield from map_ahead(computed, batches, plan.streams, plan.prepare_thread)


def map_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    prepare_thread: Callable[[], object] | None = None,
) -> Generator[R]:
    """Apply `function` to items in threads, a few ahead, and yield the results in order.

    At most max(AHEAD, workers) + 1 items are in work or waiting. Each thread calls
    `prepare_thread` first.
    """
    pool = ThreadPoolExecutor(max(1, workers), "ahead", prepare_thread)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > max(AHEAD, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # do not wait: a caller that leaves early has no time for a slow disk
        pool.shutdown(wait=False, cancel_futures=True)


def _chunks(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    iterator = iter(items)
    while chunk := tuple(islice(iterator, size)):
        yield chunk
