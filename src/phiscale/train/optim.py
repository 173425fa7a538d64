"""Optimisers, and the learning rate as a function of images seen."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import torch
from torch import nn

from phiscale.train.recipe import Optim, Schedule


def make_optimizer(network: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """Weights decay, norms and biases do not."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": optim.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    match optim.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=optim.lr_peak, momentum=optim.momentum,
                                   nesterov=optim.momentum > 0)  # fmt: skip
        case "adamw":
            betas = (optim.momentum, 1 - (1 - optim.decay) / 100)
            return torch.optim.AdamW(groups, lr=optim.lr_peak, betas=betas)
        case "rmsprop_tf":
            return RMSpropTF(groups, lr=optim.lr_peak, decay=optim.decay,
                             momentum=optim.momentum, eps=optim.eps)  # fmt: skip


class RMSpropTF(torch.optim.Optimizer):
    """TensorFlow 1's RMSProp: the mean square starts at 1, eps is inside the root, the learning
    rate inside the momentum buffer, weight decay is coupled (part of the gradient)."""

    def __init__(self, params: Any, *, lr: float, decay: float, momentum: float, eps: float):
        super().__init__(params, {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps,
                                  "weight_decay": 0.0})  # fmt: skip

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["mean_square"] = torch.ones_like(p)
                    state["buffer"] = torch.zeros_like(p)
                gradient = p.grad
                if group["weight_decay"]:
                    gradient = gradient.add(p, alpha=group["weight_decay"])
                square, buffer = state["mean_square"], state["buffer"]
                square.mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
                step = gradient * (square + group["eps"]).rsqrt_()
                buffer.mul_(group["momentum"]).add_(step, alpha=group["lr"])
                p.sub_(buffer)


def learning_rate(
    images_seen: int, *, total: int, train_images: int, peak: float, schedule: Schedule
) -> float:
    """The rate of the step that starts at `images_seen` of `total`."""
    progress = images_seen / total
    warmup = schedule.warmup_fraction
    if progress < warmup:
        return peak * progress / warmup
    match schedule.shape:
        case "cosine":
            along = (progress - warmup) / (1 - warmup)
            floor = schedule.final_fraction
            return peak * (floor + (1 - floor) * 0.5 * (1 + cos(pi * along)))
        case "step":
            steps = int(images_seen / train_images / schedule.step_epochs)
            return peak * schedule.step_factor**steps
