"""Replicas of a network, one for each lane. A lane is an equal part of every micro-batch.

Each lane runs forward and backward in a thread of its own, and the lanes wait for each other once
per micro-batch. torch's own threads wait for each other at every operation, hundreds of times a
step. That is slow on small networks, and slower on cores that other programs use too.

With several processes the lanes are spread over them, or the processes over the lanes (README.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phiscale.data.order import draw_uniforms
from phiscale.nn.blocks import Dropout
from phiscale.nn.network import Network
from phiscale.nn.norm import synchronise
from phiscale.training.determinism import set_own_thread_count
from phiscale.training.ownership import is_own_process
from phiscale.training.parallel.allocator import keep_freed_memory
from phiscale.training.parallel.processes import ProcessGroup, translate_errors

MIN_LANE_IMAGES = 16  # minimum images per lane: batch-norm statistics of fewer are noise
_MASKS = 1 << 20  # first random number for dropout; augmentation uses those below

LossOf = Callable[[nn.Module, slice], Tensor]
"""loss_of(network, rows) returns what these rows of a micro-batch add to the loss of the step."""

Step = Callable[[nn.Module, slice], float]
"""step(network, rows) runs forward and backward on these rows, and returns their loss.

Gradients are added to those of the network.
"""


class Replicas:
    """Copies of a network that share its weights: `count` over all processes.

    Each copy has its own gradients and normalises with its own batch-norm statistics. Running
    statistics are averaged after every micro-batch. The result depends on `count`, not on which
    lane was faster. The number of processes changes only the order of floating-point additions.
    """

    def __init__(self, network: Network, count: int, seed: int, group: ProcessGroup | None = None):
        self.group, self.count, self.seed = group or ProcessGroup(), count, seed
        if is_own_process() and next(network.parameters()).device.type == "cpu":
            keep_freed_memory()
        here = len(self.group.lane_ranges(count, count))
        self.networks = [network, *(_replica(network) for _ in range(here - 1))]
        if (peers := self.group.lane_group(count)) is not None:
            synchronise(network, peers)
        self.pool = None
        if here > 1:
            threads = max(1, torch.get_num_threads() // here)
            self.pool = ThreadPoolExecutor(here, "lane", set_own_thread_count, (threads,))
        self._buffers_before: list[Tensor] = []

    def gradients(self, loss_of: LossOf, images: int, at: int) -> float:
        """Computes the gradient of a step that consists of one micro-batch; returns the loss.

        `images` is the size of the micro-batch; `at` is the sample index of its first image.
        """

        def step(network: nn.Module, rows: slice) -> float:
            loss = loss_of(network, rows)
            loss.backward()
            return loss.item()

        self.begin_step()
        first, end = self.group.local_range(images, self.count)
        return self.reduce_gradients(self.run(step, images, np.arange(at + first, at + end)))

    def set_dropout(self, rate: float) -> None:
        """Sets the dropout rate before the classifier. It may grow during a training."""
        for network in self.networks:
            dropout = network.get_submodule("dropout")
            assert isinstance(dropout, Dropout)
            dropout.rate = rate

    def begin_step(self, undoable: bool = False) -> None:
        """Clears the gradients. If `undoable`, copies the buffers that `undo_step` restores."""
        for network in self.networks:
            network.zero_grad(set_to_none=True)
        self._buffers_before = (
            [buffer.clone() for buffer in self.networks[0].buffers()] if undoable else []
        )

    def run(self, step: Step, images: int, sample_indices: NDArray[np.int64]) -> float:
        """Runs `step` on every lane of this process; returns the sum of their losses.

        `images` is the size of the micro-batch over all processes. `sample_indices` are the
        positions in the training of this process's rows: they determine the masks of dropout and
        stochastic depth.
        """
        ranges = self.group.lane_ranges(images, self.count)
        start = ranges[0][0]

        def run_lane(lane: int) -> float:
            rows = slice(ranges[lane][0] - start, ranges[lane][1] - start)
            network = self.networks[lane]
            draw_masks(network, self.seed, sample_indices[rows])
            return step(network, rows)

        if self.pool is not None:
            losses = list(self.pool.map(run_lane, range(len(ranges))))
        else:
            with translate_errors():
                losses = [run_lane(0)]
        self._average_statistics()
        return sum(losses)

    def reduce_gradients(self, loss: float) -> float:
        """Sums gradients over all replicas and processes, into the network of every process.

        `loss` is this process's loss. Returns the sum over the processes.
        """
        first, *others = self.networks
        with torch.no_grad():
            for other in others:
                for mine, theirs in zip(first.parameters(), other.parameters(), strict=True):
                    if mine.grad is not None and theirs.grad is not None:
                        mine.grad += theirs.grad
        total = torch.tensor([loss], dtype=torch.float64)
        self.group.all_reduce_([p.grad for p in first.parameters() if p.grad is not None])
        self.group.all_reduce_([total])
        return total.item()

    def undo_step(self) -> None:
        """Restores the batch-norm buffers as they were before an undoable step."""
        with torch.no_grad():
            for network in self.networks if self._buffers_before else ():
                for mine, before in zip(network.buffers(), self._buffers_before, strict=True):
                    mine.copy_(before)

    @torch.no_grad()
    def _average_statistics(self) -> None:
        """Replaces the running statistics of all replicas by their mean."""
        if self.count == 1:
            return
        means = []
        for buffers in zip(*(network.buffers() for network in self.networks), strict=True):
            if buffers[0].is_floating_point():
                means.append(buffers[0].copy_(torch.stack(buffers).mean(0)))
        self.group.all_reduce_(means)
        for mean in means if self.group.size > 1 else ():
            mean /= self.group.size
        for buffers in zip(*(network.buffers() for network in self.networks), strict=True):
            for theirs in buffers[1:]:
                theirs.copy_(buffers[0])

    def close(self) -> None:
        """Ends the threads."""
        if self.pool is not None:
            self.pool.shutdown()


def draw_masks(network: Network, seed: int, sample_indices: NDArray[np.int64]) -> None:
    """Draws the dropout and stochastic depth masks of these samples of the training."""
    device = next(network.parameters()).device
    at = _MASKS
    for module in network.modules():
        if not isinstance(module, Dropout):
            continue
        count = module.numbers(network.features)
        if module.rate:
            uniforms = draw_uniforms(seed, sample_indices, count, at)
            # float32, since some devices have no float64
            module.uniforms = torch.from_numpy(uniforms.astype(np.float32)).to(device)
        at += count


def lanes_for(batch: int, device: torch.device) -> int:
    """Returns the number of lanes for a batch on this device; 1 on a GPU.

    Each lane gets at least one thread and `MIN_LANE_IMAGES` images.
    """
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), batch // MIN_LANE_IMAGES))


def _replica(network: Network) -> Network:
    """Returns a copy that shares the memory of the weights, but not gradients and buffers."""
    replica = copy.deepcopy(network)
    for theirs, mine in zip(replica.parameters(), network.parameters(), strict=True):
        theirs.data = mine.data
    return replica
