"""A batch on several cores at once: every lane takes its share forward and backward in a thread of
its own, and the lanes meet once a step. torch's own threads meet at every operation, hundreds of
times a step, which costs much on small networks and more on cores that others use too.

On several machines the lanes are spread over them, or the machines over the lanes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from phiscale.data.order import draw_uniforms
from phiscale.nn.blocks import Dropout
from phiscale.nn.network import Network
from phiscale.nn.norm import synchronise
from phiscale.training.parallel.allocator import keep_freed_memory
from phiscale.training.parallel.processes import ProcessGroup, translate_errors

LEAST_SHARE = 16  # images a lane: batch statistics of fewer are noise
_MASKS = 1 << 20  # where the random numbers of dropout begin: far from those of augmentation

LossOf = Callable[[nn.Module, slice], Tensor]


class Replicas:
    """`count` copies of a network, over all machines, that share its weights; each has its own
    gradients and, within a step, its own batch-norm statistics, whose mean is left behind.

    What comes out depends on `count`, not on which lane was faster, and not on the number of
    machines but for the order in which numbers are added.
    """

    def __init__(
        self,
        network: Network,
        count: int,
        seed: int,
        group: ProcessGroup | None = None,
        scaled: Callable[[Tensor], Tensor] = lambda loss: loss,
    ):
        self.scaled = scaled  # what keeps small gradients of half precision
        self.group, self.count, self.seed = group or ProcessGroup(), count, seed
        device = next(network.parameters()).device
        if device.type == "cpu":
            keep_freed_memory()
        here = len(self.group.lane_ranges(count, count))
        self.networks = [network, *(_replica(network) for _ in range(here - 1))]
        if (peers := self.group.lane_group(count)) is not None:
            synchronise(network, peers)
        self.pool = None
        if here > 1:
            threads = max(1, torch.get_num_threads() // here)
            self.pool = ThreadPoolExecutor(here, "lane", torch.set_num_threads, (threads,))
        self._before: list[Tensor] = []

    def gradients(self, loss_of: LossOf, images: int, at: int) -> float:
        """A whole step of one micro-batch at the positions from `at`."""
        self.begin()
        first, end = self.group.local_range(images, self.count)
        return self.finish(self.add(loss_of, images, np.arange(at + first, at + end)))

    def begin(self, keep: bool = False) -> None:
        """Starts a step; `keep` what `drop` needs to take it back."""
        for network in self.networks:
            network.zero_grad(set_to_none=True)
        self._before = [b.clone() for b in self.networks[0].buffers()] if keep else []

    def add(self, loss_of: LossOf, images: int, sample_indices: np.ndarray) -> float:
        """Runs forward and backward on one micro-batch; returns the loss of this process's rows.

        `images`: rows of the micro-batch over all processes. `sample_indices`: positions in the
        training of the rows here, which fix their dropout and stochastic depth.
        `loss_of(network, part)`: what the rows in `part` add to the step's loss."""
        cuts = self.group.lane_ranges(images, self.count)
        start = cuts[0][0]

        def run(lane: int) -> float:
            part = slice(cuts[lane][0] - start, cuts[lane][1] - start)
            network = self.networks[lane]
            draw_masks(network, self.seed, sample_indices[part])
            loss = loss_of(network, part)
            self.scaled(loss).backward()
            return loss.item()

        if self.pool is not None:
            losses = list(self.pool.map(run, range(len(cuts))))
        else:
            with translate_errors():
                losses = [run(0)]
        self._average_statistics()
        return sum(losses)

    def finish(self, loss: float) -> float:
        """Leaves the gradient of the whole batch in the network of every process; returns the whole
        loss, whose parts here add up to `loss`."""
        first, *others = self.networks
        with torch.no_grad():
            for other in others:
                for mine, theirs in zip(first.parameters(), other.parameters(), strict=True):
                    if mine.grad is not None and theirs.grad is not None:
                        mine.grad += theirs.grad
        whole = torch.tensor([loss], dtype=torch.float64)
        self.group.all_reduce_([p.grad for p in first.parameters() if p.grad is not None])
        self.group.all_reduce_([whole])
        return whole.item()

    def drop(self) -> None:
        """Takes back what the step that was begun did to the statistics."""
        with torch.no_grad():
            for network in self.networks if self._before else ():
                for mine, before in zip(network.buffers(), self._before, strict=True):
                    mine.copy_(before)

    @torch.no_grad()
    def _average_statistics(self) -> None:
        """The statistics of all lanes become their mean."""
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
        if self.pool is not None:
            self.pool.shutdown()


def draw_masks(network: Network, seed: int, sample_indices: np.ndarray) -> None:
    """Draws the dropout and stochastic depth masks of these samples of the training."""
    device = next(network.parameters()).device
    at = _MASKS
    for module in network.modules():
        if not isinstance(module, Dropout):
            continue
        count = module.numbers(network.features)
        if module.rate:
            drawn = draw_uniforms(seed, sample_indices, count, at).astype(
                np.float32
            )  # some devices have no more
            module.uniforms = torch.from_numpy(drawn).to(device)
        at += count


def lanes_for(batch: int, device: torch.device) -> int:
    """As many as there are cores for torch, if each has its share; a GPU needs but one."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), batch // LEAST_SHARE))


def _replica(network: Network) -> Network:
    """A copy with gradients and buffers of its own; its weights are the network's memory."""
    replica = copy.deepcopy(network)
    for theirs, mine in zip(replica.parameters(), network.parameters(), strict=True):
        theirs.data = mine.data
    return replica
