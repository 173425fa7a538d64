"""Optimisers, and which weights decay."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from phiscale.training.recipes.recipe import Optim


def make_optimizer(
    network: nn.Module, optim: Optim, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """Weights decay, norms do not, biases if the recipe says so. With a `layer_decay` below 1,
    every group has a `share` of the rate, the less the further its block is from the classifier."""
    groups: dict[tuple[float, str], dict[str, Any]] = {}
    shares = rate_shares(network, layer_decay)
    for name, p in network.named_parameters():
        if not p.requires_grad:
            continue
        share = shares[block_of(name)]
        orthogonal = optim.name == "muon" and _is_matrix(p)
        decays = p.ndim > 1 or (optim.decayed == "all-but-norms" and not _is_norms(name))
        kind = "orthogonal" if orthogonal else "decayed" if decays else "free"
        decay = optim.weight_decay if kind == "decayed" else 0.0
        group = {"params": [], "weight_decay": decay, "share": share}
        if orthogonal:
            group |= {"orthogonal": True, "momentum": Muon.MATRIX_MOMENTUM}
        groups.setdefault((share, kind), group)["params"].append(p)
    every = list(groups.values())
    match optim.name:
        case "sgd":
            return torch.optim.SGD(
                every, lr=optim.lr_peak, momentum=optim.momentum, nesterov=optim.momentum > 0
            )
        case "muon":
            return Muon(every, lr=optim.lr_peak, momentum=optim.momentum)
        case "adamw":
            betas = (optim.momentum, optim.decay or 0.999)
            return torch.optim.AdamW(every, lr=optim.lr_peak, betas=betas)
        case "rmsprop_tf":
            return RMSpropTF(
                every,
                lr=optim.lr_peak,
                decay=optim.decay or 0.9,
                momentum=optim.momentum,
                eps=optim.eps,
            )


def rate_shares(network: nn.Module, layer_decay: float) -> dict[str, float]:
    """Of every block: `layer_decay` to the power of the blocks behind it."""
    order = list(dict.fromkeys(block_of(name) for name, _ in network.named_parameters()))
    return {block: layer_decay ** (len(order) - 1 - place) for place, block in enumerate(order)}


def block_of(name: str) -> str:
    """A parameter's block: `stages.0.1`, or stem, head, classifier, which count as one each."""
    parts = name.split(".")
    return ".".join(parts[:3]) if parts[0] == "stages" else parts[0]


def _is_norms(name: str) -> bool:
    return name.split(".")[-2] == "norm"


class RMSpropTF(torch.optim.Optimizer):
    """TensorFlow 1's RMSProp: the mean square starts at 1, eps is inside the root, the learning
    rate inside the momentum buffer, weight decay is coupled (part of the gradient)."""

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
    """Nesterov's SGD whose 1x1 convolutions step along their orthogonalised momentum, so that all
    directions of a matrix learn at one rate (Jordan et al. 2024, "Muon: an optimizer for hidden
    layers in neural networks"). Their norm stays that of the first step: behind a batch norm it
    has no effect but on the rate. `torch.optim.Muon` takes no convolutions. The constants are
    measured on CIFAR-10 (docs/log.md), where Jordan's recipe for whole filters was the start."""

    MATRIX_MOMENTUM = 0.6
    MATRIX_RATE = 0.2  # times the rate of the others

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            updates = [self._nesterov(p, group) for p in moved]
            if group["orthogonal"]:
                self._keep_norms(moved)
                rate = group["lr"] * self.MATRIX_RATE
                updates = _orthogonal_updates(updates)
            else:
                rate = group["lr"]
            for p, update in zip(moved, updates, strict=True):
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

    def _keep_norms(self, matrices: list[torch.Tensor]) -> None:
        for p in matrices:
            if self.state[p]["norm"] > 0:  # one that starts at nothing may grow
                p.mul_(self.state[p]["norm"] / p.norm().clamp_min(1e-12))


def _is_matrix(p: torch.Tensor) -> bool:
    """A 1x1 convolution over all channels; where one side is tiny there is little to even out."""
    return p.ndim == 4 and p.shape[2:] == (1, 1) and min(p.shape[:2]) >= 8


def _orthogonal_updates(updates: list[torch.Tensor]) -> list[torch.Tensor]:
    """Equal shapes in one batch: small matrices cost calls, not arithmetic."""
    found = list(updates)
    shapes = {u.shape for u in updates}
    for out, into, *_ in sorted(shapes):
        which = [i for i, u in enumerate(updates) if u.shape[:2] == (out, into)]
        even = orthogonalized(torch.stack([updates[i].reshape(out, into) for i in which]))
        even *= max(1.0, out / into) ** 0.5
        for i, update in zip(which, even, strict=True):
            found[i] = update.reshape(updates[i].shape)
    return found


def orthogonalized(matrices: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """(n, rows, columns) with their singular values brought near 1, by Newton-Schulz iterations
    with Jordan's quintic (2024): 3 steps bring most to 0.5 to 1.2, which serves as well as 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
