"""A batch on several cores at once: every lane takes its share forward and backward in a thread of
its own, and the lanes meet once a step. torch's own threads meet at every operation, hundreds of
times a step, which costs much on small networks and more on cores that others use too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from phiscale.data.order import mix
from phiscale.nn.blocks import Dropout
from phiscale.train.allocator import keep_freed_memory

LEAST_SHARE = 16  # images a lane: batch statistics of fewer are noise


class Lanes:
    """`count` copies of a network that share its weights; each has its own gradients and, within
    a step, its own batch-norm statistics, whose mean every step leaves behind.

    What comes out depends on `count`, not on which lane was faster.
    """

    def __init__(self, network: nn.Module, count: int, seed: int):
        self.networks = [network, *(_twin(network) for _ in range(count - 1))]
        self.seed = seed
        device = next(network.parameters()).device
        if device.type == "cpu":
            keep_freed_memory()
        self.generators = [torch.Generator(device) for _ in self.networks]
        for each, generator in zip(self.networks, self.generators, strict=True):
            for module in each.modules():
                if isinstance(module, Dropout):
                    module.generator = generator
        self.pool = None
        if count > 1:
            threads = max(1, torch.get_num_threads() // count)
            self.pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (threads,))

    def gradients(
        self, loss_of: Callable[[nn.Module, slice], Tensor], images: int, at: int
    ) -> float:
        """Leaves the gradient of the whole batch in the network; returns the whole loss.

        `loss_of(network, part)`: what these of the batch's `images` add to its loss. Dropout and
        stochastic depth are drawn for the place `at` in the training.
        """
        lanes = max(1, min(len(self.networks), images // LEAST_SHARE))
        cuts = [images * lane // lanes for lane in range(lanes + 1)]

        def run(lane: int) -> float:
            self.generators[lane].manual_seed(int(mix(self.seed, at, lane) >> np.uint64(1)))
            network = self.networks[lane]
            network.zero_grad(set_to_none=True)
            loss = loss_of(network, slice(cuts[lane], cuts[lane + 1]))
            loss.backward()
            return loss.item()

        if self.pool is None:
            return run(0)
        losses = list(self.pool.map(run, range(lanes)))
        self._meet(lanes)
        return sum(losses)

    @torch.no_grad()
    def _meet(self, lanes: int) -> None:
        first, *others = self.networks
        for other in others[: lanes - 1]:
            for mine, theirs in zip(first.parameters(), other.parameters(), strict=True):
                if mine.grad is not None and theirs.grad is not None:
                    mine.grad += theirs.grad
        for buffers in zip(*(network.buffers() for network in self.networks), strict=True):
            mine = buffers[0]
            if mine.is_floating_point():
                mine.copy_(torch.stack(buffers[:lanes]).mean(0))
            for theirs in buffers[1:]:
                theirs.copy_(mine)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown()


def lanes_for(batch: int, device: torch.device) -> int:
    """As many as there are cores for torch, if each has its share; a GPU needs but one."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), batch // LEAST_SHARE))


def _twin(network: nn.Module) -> nn.Module:
    """A copy with gradients and buffers of its own; its weights are the network's memory."""
    twin = copy.deepcopy(network)
    for theirs, mine in zip(twin.parameters(), network.parameters(), strict=True):
        theirs.data = mine.data
    return twin
