"""Mixup and CutMix: an image and its partner in one, and both labels by their shares.

Partners are neighbours in the training's order (0 and 1, 2 and 3, ...), which is as good as any
other choice since the order is random, and needs few images that another machine holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mix:
    """For each image of a batch: the row of its partner, the partner's share of the label, and
    the partner's box (top, bottom, left, right); an empty box where whole images are blended."""

    partner: Tensor
    share: Tensor
    box: Tensor

    def select(self, rows: slice, device: torch.device) -> Mix:
        """For these rows."""
        return Mix(self.partner[rows], self.share[rows].to(device), self.box[rows].to(device))


def partner_of(place: int, start: int, stop: int) -> int:
    """The position that is mixed into `place` of the batch start..stop; itself if there is none."""
    other = start + ((place - start) ^ 1)
    return other if other < stop else place


def draw_mixes(
    places: np.ndarray,
    start: int,
    stop: int,
    *,
    mixup: float,
    cutmix: float,
    side: int,
    u: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the partners, their shares of the labels, and their boxes, for `places` of the
    batch start..stop; `u`: three uniforms for each.

    mixup: Beta(a, a), the own image having the larger part (Zhang et al., arXiv:1710.09412, as
    google/automl has it). cutmix: a square of Beta(a, a) of the area, cut at the edges (Yun et al.,
    arXiv:1905.04899). Where both are above 0, pairs take turns.
    """
    partners = np.array([partner_of(int(p), start, stop) for p in places], np.int64)
    pair = (places - start) // 2
    cut = (pair % 2 == 1) if mixup and cutmix else np.full(len(places), bool(cutmix))
    share, box = np.zeros(len(places)), np.zeros((len(places), 4), np.int64)
    if mixup:
        blended = betaincinv(mixup, mixup, u[:, 0])
        share = np.where(cut, 0.0, np.minimum(blended, 1 - blended))
    if cutmix:
        half = (np.sqrt(betaincinv(cutmix, cutmix, u[:, 0])) * side).astype(np.int64) // 2
        y, x = (u[:, 1] * side).astype(np.int64), (u[:, 2] * side).astype(np.int64)
        edges = np.stack([y - half, y + half, x - half, x + half], 1).clip(0, side)
        box[cut] = edges[cut]
        area = (edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2]) / side**2
        share = np.where(cut, area, share)
    nothing = (partners == places) | (cut & (share == 0))
    share[nothing], box[nothing] = 0.0, 0
    return partners, share, box


def mix_images(own: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Float NCHW images with their partners in them."""
    share, box = mix.share.to(own.dtype).view(-1, 1, 1, 1), mix.box
    cut = box[:, 1] > box[:, 0]
    if not cut.any():
        return own.lerp(partners, share)
    rows = torch.arange(own.shape[2], device=own.device)
    columns = torch.arange(own.shape[3], device=own.device)
    down = (rows >= box[:, :1]) & (rows < box[:, 1:2])
    across = (columns >= box[:, 2:3]) & (columns < box[:, 3:])
    inside = (down[:, :, None] & across[:, None, :]).unsqueeze(1).to(own.dtype)
    return own.lerp(partners, torch.where(cut.view(-1, 1, 1, 1), inside, share))
