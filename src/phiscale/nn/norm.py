"""Batch norms: frozen ones, and ones with statistics over the images of several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """torch's BatchNorm2d with uninitialised memory, which can be frozen or synchronised.

    `frozen`: training uses the running statistics and does not change them. `group`: statistics are
    over all processes of the group.
    """

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
    """Makes the batch norms of a network use statistics over all processes of `group`.

    On a GPU they become torch's SyncBatchNorm, which refuses tensors on a CPU.
    """
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
    """Normalises by the mean and variance over all processes of a group.

    Their numbers of images may differ. Forward needs one all-gather, backward one all-reduce.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm2d, group: Group
    ) -> Tensor:
        kind = torch.promote_types(x.dtype, torch.float32)
        wide = x.to(kind)
        count = wide.new_tensor([x.numel() / x.shape[1]])
        mean = wide.mean((0, 2, 3))
        squares = (wide - _map(mean)).square().sum((0, 2, 3))
        local = torch.cat([mean, squares, count])
        gathered = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
        dist.all_gather(gathered, local, group)
        means, all_squares, counts = torch.stack(gathered).split([len(mean), len(mean), 1], 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (all_squares + counts * (means - mean).square()).sum(
            0
        ) / total  # Chan et al. 1979
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
        gradient = gradients[0].to(mean.dtype)
        normalised = (x.to(mean.dtype) - _map(mean)) * _map(scale)
        local = torch.cat([gradient.sum((0, 2, 3)), (gradient * normalised).sum((0, 2, 3))])
        to_bias, to_weight = local.chunk(2)
        summed = local.clone()
        dist.all_reduce(summed, group=ctx.group)
        mean, correlation = (summed / total).chunk(2)
        to_x = (gradient - _map(mean) - normalised * _map(correlation)) * _map(scale * weight)
        return to_x.to(x.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None, None


def _map(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1)
