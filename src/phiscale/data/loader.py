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

CACHE_BYTES = 3 * 2**30


@dataclass(frozen=True, eq=False)
class Batch:
    """Pixels are uint8 NCHW (channels last in memory), `indices` the split's samples.

    `sample_indices` count the images of the training from its first. Where images are mixed, rows
    beyond those are partners only.
    """

    pixels: Tensor
    labels: Tensor
    indices: np.ndarray
    sample_indices: np.ndarray
    mix: Mix | None = None
    total: float = 0.0  # of the class weights of all the step's images, wherever they are


class ImageCache:
    """A split whose decoded images stay in memory while they fit, shrunk to what is of use."""

    def __init__(
        self,
        split: Split,
        shortest: int,
        background: tuple[int, int, int] = (255, 255, 255),
        cache_bytes: int = CACHE_BYTES,
    ):
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


Share = Callable[[int], tuple[int, int]]


def training_batches(
    images: ImageCache,
    preprocessing: Preprocessing,
    augment_at: Callable[[int], Augment],
    *,
    seed: int,
    batch: int,
    start: int,
    stop: int,
    micro: int = 0,
    workers: int = 1,
    share: Share = lambda images: (0, images),
    size_at: Callable[[int], int] | None = None,
    weights: np.ndarray | None = None,
) -> Generator[Batch]:
    """Augmented batches for positions start..stop of a training, in its order, in pieces of `micro`
    images (0: whole), and of each piece the `share` of this process: which of so many images.

    `augment_at`, `size_at`: how images of the step at a position are changed, and their pixels a
    side (those of `preprocessing` if None). `weights`: of the classes; all 1 if None.
    """
    split = images.split
    order = Order(len(split), seed, split.groups())
    micro = micro or batch

    def pieces() -> Iterator[_Piece]:  # permutations are drawn in one thread
        for step in range(start, stop, batch):
            how = augment_at(step)
            total = float(batch)
            if weights is not None:
                total = float(weights[split.labels[order.samples(step, step + batch)]].sum())
            for at in range(step, step + batch, micro):
                first, end = share(micro)
                yield _Piece(order, how, step, at, at + micro, at + first, at + end, total)

    def make(piece: _Piece) -> Batch:
        how, n = piece.how, len(piece.sample_indices)
        u = draw_uniforms(seed, piece.rows, RANDOM_NUMBERS)
        side = size_at(piece.step) if size_at else preprocessing.size
        take = replace(preprocessing, size=side)
        pixels = augment_images([images.pixels(int(i)) for i in piece.indices], how, take, u)
        mix = None
        if how.mixup or how.cutmix:
            partners, theirs, box = draw_mixes(
                piece.sample_indices,
                piece.start,
                piece.stop,
                mixup=how.mixup,
                cutmix=how.cutmix,
                side=side,
                u=u[:n, MIX],
            )
            rows = {int(place): row for row, place in enumerate(piece.rows)}
            partner = torch.tensor([rows[int(p)] for p in partners])
            mix = Mix(partner, torch.from_numpy(theirs), torch.from_numpy(box))
        found = _batch(pixels, split, piece.indices, piece.sample_indices)
        return replace(found, mix=mix, total=piece.total)

    yield from map_ahead(make, pieces(), workers)


class _Piece:
    """A process's part first..end of the micro-batch start..stop: its places, and the rows that
    they need, partners elsewhere among them."""

    def __init__(
        self,
        order: Order,
        how: Augment,
        step: int,
        start: int,
        stop: int,
        first: int,
        end: int,
        total: float,
    ):
        self.how, self.step, self.start, self.stop = how, step, start, stop
        self.total = total
        self.sample_indices = np.arange(first, end)
        near = {partner_of(p, start, stop) for p in (first, end - 1)} if first < end else set()
        mixed = how.mixup or how.cutmix
        elsewhere = sorted(p for p in near if not first <= p < end) if mixed else []
        self.rows = np.array([*self.sample_indices, *elsewhere], np.int64)
        parts = [order.samples(first, end), *(order.samples(p, p + 1) for p in elsewhere)]
        self.indices = np.concatenate(parts)


def _batch(pixels: np.ndarray, split: Split, indices: np.ndarray, places: np.ndarray) -> Batch:
    labels = torch.from_numpy(np.ascontiguousarray(split.labels[indices]))
    return Batch(channels_first(pixels), labels, indices, places)


def channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """NHWC pixels as an NCHW tensor on the same memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def normalise_batch(pixels: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Float NCHW, channels last, as `Preprocessing.normalise` gives it."""
    pixels = pixels.to(device, non_blocking=True)
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1) * 255
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
