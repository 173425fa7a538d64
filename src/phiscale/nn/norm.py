"""Batch norms: frozen ones, and those whose statistics are of the images on several processes
together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, but its memory is left as it is; where `frozen`, training uses and keeps the running
    statistics; where it has a `group`, it learns from all of its processes."""

    frozen = False
    group: Any = None

    def reset_parameters(self) -> None:
        pass

    def train(self, mode: bool = True) -> BatchNorm2d:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if self.group is None or not self.training:
            return super().forward(x)
        return SyncedNorm.apply(x, self.weight, self.bias, self, self.group)  # type: ignore


Group = dist.ProcessGroup


def synchronise(network: nn.Module, group: Group) -> None:
    """Makes the batch norms of a network learn from all of `group`. torch's own serve a GPU; they
    refuse a CPU's tensors, which ours serve."""
    on_gpu = next(network.parameters()).is_cuda
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if not isinstance(module, BatchNorm2d) or module.frozen:
                continue
            if on_gpu:
                setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(module, group))
            else:
                module.group = group


class SyncedNorm(torch.autograd.Function):
    """Normalises by the mean and variance over all processes of a group, whose numbers of images
    may differ: one gathering forward, one sum backward."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm2d, group: Group
    ) -> Tensor:
        kind = torch.promote_types(x.dtype, torch.float32)
        wide = x.to(kind)
        count = wide.new_tensor([x.numel() / x.shape[1]])
        mean = wide.mean((0, 2, 3))
        spread = (wide - _map(mean)).square().sum((0, 2, 3))
        mine = torch.cat([mean, spread, count])
        everyones = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyones, mine, group)
        means, spreads, counts = torch.stack(everyones).split([len(mean), len(mean), 1], 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (spreads + counts * (means - mean).square()).sum(0) / total  # Chan et al. 1979
        rate = norm.momentum
        assert rate is not None and norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), rate)
        unbiased = variance * total / (total - 1)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), rate)
        scale = (variance + norm.eps).rsqrt()
        ctx.group = group
        ctx.save_for_backward(x, weight, mean, scale, total)
        return ((wide - _map(mean)) * _map(scale * weight) + _map(bias)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, total = ctx.saved_tensors
        given = gradients[0].to(mean.dtype)
        even = (x.to(mean.dtype) - _map(mean)) * _map(scale)
        own = torch.cat([given.sum((0, 2, 3)), (given * even).sum((0, 2, 3))])
        of_bias, of_weight = own.chunk(2)
        summed = own.clone()
        dist.all_reduce(summed, group=ctx.group)
        a, b = (summed / total).chunk(2)
        to_x = (given - _map(a) - even * _map(b)) * _map(scale * weight)
        return to_x.to(x.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None


def _map(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1)
