"""Mixup and CutMix: an image and its partner in one, and both labels by their shares.

Partners are neighbours in the order of the training (0 and 1, 2 and 3, ...). That is as good as any
other choice, since the order is random. It needs few images that another machine holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mix:
    """How the images of a batch are mixed with their partners.

    `partner`: row of the partner, (images,). `share`: its share of the label, (images,). `box`: its
    box as top, bottom, left, right, (images, 4); an empty box where whole images are blended.
    """

    partner: Tensor
    share: Tensor
    box: Tensor

    def select(self, rows: slice, device: torch.device) -> Mix:
        """Selects these rows."""
        return Mix(self.partner[rows], self.share[rows].to(device), self.box[rows].to(device))


def partner_of(sample: int, start: int, stop: int) -> int:
    """Returns the sample that is mixed into `sample` of the batch start..stop, or `sample` itself
    where it has no partner."""
    other = start + ((sample - start) ^ 1)
    return other if other < stop else sample


def draw_mixes(
    sample_indices: NDArray[np.int64],
    batch: tuple[int, int],
    *,
    mixup: float,
    cutmix: float,
    size: int,
    uniforms: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Draws partners (n,), their shares of the labels (n,) and their boxes (n, 4).

    `sample_indices` are n samples of the batch (start, stop); `size` is pixels a side; `uniforms`
    has three numbers for each sample, (n, 3).

    mixup: Beta(a, a), the image itself having the larger part (Zhang et al., arXiv:1710.09412, as
    google/automl has it). cutmix: a square of Beta(a, a) of the area, cut at the edges (Yun et al.,
    arXiv:1905.04899). Where both are above 0, pairs take turns.
    """
    start, stop = batch
    partners = np.array([partner_of(int(s), start, stop) for s in sample_indices], np.int64)
    pair = (sample_indices - start) // 2
    cut = (pair % 2 == 1) if mixup and cutmix else np.full(len(sample_indices), bool(cutmix))
    share = np.zeros(len(sample_indices))
    box = np.zeros((len(sample_indices), 4), np.int64)
    if mixup:
        blended = betaincinv(mixup, mixup, uniforms[:, 0])
        share = np.where(cut, 0.0, np.minimum(blended, 1 - blended))
    if cutmix:
        half = (np.sqrt(betaincinv(cutmix, cutmix, uniforms[:, 0])) * size).astype(np.int64) // 2
        y, x = (uniforms[:, 1] * size).astype(np.int64), (uniforms[:, 2] * size).astype(np.int64)
        edges = np.stack([y - half, y + half, x - half, x + half], 1).clip(0, size)
        box[cut] = edges[cut]
        area = (edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2]) / size**2
        share = np.where(cut, area, share)
    unmixed = (partners == sample_indices) | (cut & (share == 0))
    share[unmixed], box[unmixed] = 0.0, 0
    return partners, share, box


def mix_images(images: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Mixes float NCHW images with their partners."""
    share, box = mix.share.to(images.dtype).view(-1, 1, 1, 1), mix.box
    cut = box[:, 1] > box[:, 0]
    if not cut.any():
        return images.lerp(partners, share)
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    down = (rows >= box[:, :1]) & (rows < box[:, 1:2])
    across = (columns >= box[:, 2:3]) & (columns < box[:, 3:])
    inside = (down[:, :, None] & across[:, None, :]).unsqueeze(1).to(images.dtype)
    return images.lerp(partners, torch.where(cut.view(-1, 1, 1, 1), inside, share))
