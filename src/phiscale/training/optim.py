"""Optimisers, and their parameter groups: weight decay and learning rate of each parameter."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from phiscale.training.recipes.recipe import Optim

LR_SCALE = "share"
"""Key of a parameter group's factor on the learning rate. Checkpoints hold it, so it is final."""


def make_optimizer(
    network: nn.Module, optim: Optim, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """Returns the optimiser of a recipe, with parameter groups by weight decay and learning rate.

    Weights decay; norms do not; biases do if `optim.decayed` says so. Frozen parameters are left
    out. The factor `group[LR_SCALE]` on the learning rate is below 1 for blocks far from the
    classifier, if `layer_decay` is.
    """
    groups: dict[tuple[float, str], dict[str, Any]] = {}
    scales = lr_scales(network, layer_decay)
    for name, p in network.named_parameters():
        if not p.requires_grad:
            continue
        lr_scale = scales[block_of(name)]
        orthogonal = optim.name == "muon" and _is_matrix(p)
        decays = p.ndim > 1 or (optim.decayed == "all-but-norms" and not _is_norm(name))
        kind = "orthogonal" if orthogonal else "decayed" if decays else "free"
        decay = optim.weight_decay if kind == "decayed" else 0.0
        group = {"params": [], "weight_decay": decay, LR_SCALE: lr_scale}
        if orthogonal:
            group |= {"orthogonal": True, "momentum": Muon.MATRIX_MOMENTUM}
        groups.setdefault((lr_scale, kind), group)["params"].append(p)
    parameter_groups = list(groups.values())
    match optim.name:
        case "sgd":
            return torch.optim.SGD(
                parameter_groups,
                lr=optim.lr_peak,
                momentum=optim.momentum,
                nesterov=optim.momentum > 0,
            )
        case "muon":
            return Muon(parameter_groups, lr=optim.lr_peak, momentum=optim.momentum)
        case "adamw":
            betas = (optim.momentum, optim.decay or 0.999)
            return torch.optim.AdamW(parameter_groups, lr=optim.lr_peak, betas=betas)
        case "rmsprop_tf":
            return RMSpropTF(
                parameter_groups,
                lr=optim.lr_peak,
                decay=optim.decay or 0.9,
                momentum=optim.momentum,
                eps=optim.eps,
            )


def lr_scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """Returns each block's factor on the learning rate: layer_decay ** (number of later blocks)."""
    order = list(dict.fromkeys(block_of(name) for name, _ in network.named_parameters()))
    return {block: layer_decay ** (len(order) - 1 - i) for i, block in enumerate(order)}


def block_of(name: str) -> str:
    """Returns the block of a parameter: `stages.0.1`, or `stem`, `head`, `classifier`."""
    parts = name.split(".")
    return ".".join(parts[:3]) if parts[0] == "stages" else parts[0]


def _is_norm(name: str) -> bool:
    return name.split(".")[-2] == "norm"


class RMSpropTF(torch.optim.Optimizer):
    """RMSProp of TensorFlow 1, with which EfficientNet was trained.

    It differs from torch's: the mean square starts at 1, eps is under the square root, and the
    learning rate is inside the momentum buffer. Weight decay is part of the gradient (coupled).
    """

    def __init__(self, params: Any, *, lr: float, decay: float, momentum: float, eps: float):
        super().__init__(
            params,
            {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": 0.0},
        )

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


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose updates of 1x1 convolutions are orthogonalised.

    So all directions of a matrix learn at one rate (Jordan et al. 2024, "Muon: an optimizer for
    hidden layers in neural networks"). The norm of such a matrix is kept as it was before the first
    step: followed by batch norm, it affects nothing but the effective learning rate.

    `torch.optim.Muon` does not support convolutions. The constants are measured on CIFAR-10
    (docs/log.md), starting from Jordan's recipe for whole filters.
    """

    MATRIX_MOMENTUM = 0.6
    MATRIX_RATE = 0.2  # factor on the learning rate, for 1x1 convolutions

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            updates = [self._nesterov(p, group) for p in parameters]
            if group["orthogonal"]:
                self._restore_norms(parameters)
                rate = group["lr"] * self.MATRIX_RATE
                updates = _orthogonal_updates(updates)
            else:
                rate = group["lr"]
            for p, update in zip(parameters, updates, strict=True):
                p.sub_(update, alpha=rate)

    def _nesterov(self, p: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        state, gradient = self.state[p], cast(torch.Tensor, p.grad)
        if not state:
            state["buffer"] = torch.zeros_like(p)
            if group["orthogonal"]:
                state["norm"] = p.norm()
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        state["buffer"].mul_(group["momentum"]).add_(gradient)
        return gradient.add(state["buffer"], alpha=group["momentum"])

    def _restore_norms(self, matrices: list[torch.Tensor]) -> None:
        """Scales matrices back to their norm before the first step."""
        for p in matrices:
            if self.state[p]["norm"] > 0:  # a matrix that starts at zero may grow
                p.mul_(self.state[p]["norm"] / p.norm().clamp_min(1e-12))


def _is_matrix(p: torch.Tensor) -> bool:
    """Whether this is a 1x1 convolution over all channels, large enough to gain from Muon."""
    return p.ndim == 4 and p.shape[2:] == (1, 1) and min(p.shape[:2]) >= 8


def _orthogonal_updates(updates: list[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the updates orthogonalised, equal shapes in one batch.

    Small matrices cost kernel calls rather than arithmetic.
    """
    results = list(updates)
    shapes = {u.shape for u in updates}
    for out, into, *_ in sorted(shapes):
        indices = [i for i, u in enumerate(updates) if u.shape[:2] == (out, into)]
        batch = orthogonalize(torch.stack([updates[i].reshape(out, into) for i in indices]))
        batch *= max(1.0, out / into) ** 0.5
        for i, update in zip(indices, batch, strict=True):
            results[i] = update.reshape(updates[i].shape)
    return results


def orthogonalize(matrices: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """Brings the singular values of matrices, (n, rows, columns), near 1; returns new ones.

    Newton-Schulz iterations with the quintic polynomial of Jordan (2024). Three steps bring most
    singular values to 0.5 to 1.2, with which training goes as well as with 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
