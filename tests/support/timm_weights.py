"""A small file of weights in timm's names."""

from __future__ import annotations

from dataclasses import replace

import torch

from phiscale.arch.families import get_spec
from phiscale.nn.network import build
from phiscale.weights.peers import to_theirs

RESNET18 = replace(get_spec("resnet18"), classes=4)


def timm_tensors() -> dict[str, torch.Tensor]:
    """Initial weights of `RESNET18`, named as in timm."""
    torch.manual_seed(0)
    return to_theirs("timm", RESNET18, build(RESNET18).state_dict())
