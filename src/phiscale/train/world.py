"""The processes of one training: who has which pictures, and how they speak. `torchrun` starts
them; without it there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from phiscale.errors import TrainingError, UsageError

T = TypeVar("T")

TIMEOUT_S = 60.0  # until a process that says nothing is taken for dead ...
START_S = 1800.0  # ... once all have met, who may start minutes apart


class World:
    """This process among `size`. Every method must be called by all of them alike."""

    def __init__(self, rank: int = 0, size: int = 1, timeout_s: float = TIMEOUT_S):
        self.rank, self.size, self.timeout_s = rank, size, timeout_s
        self.everyone: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def parts(self, images: int, lanes: int) -> list[tuple[int, int]]:
        """Which of a batch's `images` this process takes, one range for each lane that runs here.

        The batch falls into `lanes` equal parts, however many processes there are: each process
        has some of the lanes, or each lane has some of the processes."""
        if lanes >= self.size:
            here = lanes // self.size
            mine = range(self.rank * here, (self.rank + 1) * here)
            return [_part(0, images, lane, lanes) for lane in mine]
        helpers = self.size // lanes
        lane, place = divmod(self.rank, helpers)
        return [_part(*_part(0, images, lane, lanes), place, helpers)]

    def span(self, images: int, lanes: int) -> tuple[int, int]:
        """The same as one range: a process's lanes are neighbours."""
        parts = self.parts(images, lanes)
        return parts[0][0], parts[-1][1]

    def lane_group(self, lanes: int) -> dist.ProcessGroup | None:
        """The processes that share this one's lane; None if it is alone with it."""
        if lanes >= self.size:
            return None
        helpers = self.size // lanes
        groups = [self.group(range(at, at + helpers)) for at in range(0, self.size, helpers)]
        return groups[self.rank // helpers]

    def group(self, ranks: range) -> Any:
        """Processes that speak among themselves; those outside call it, too."""
        with lost():
            return dist.new_group(list(ranks), timedelta(seconds=self.timeout_s))

    def check(self, lanes: int, images: int) -> None:
        """Raises UsageError where lanes and processes cannot share each other, or the `images` of a
        micro-batch are too few for them."""
        if images < max(lanes, self.size):
            raise UsageError(
                f"A micro-batch of {images} pictures cannot be shared by {lanes} lanes and "
                f"{self.size} processes; raise --batch or --micro-batch."
            )
        if self.size % lanes and lanes % self.size:
            raise UsageError(
                f"--lanes {lanes} cannot be spread over {self.size} processes; "
                f"use --lanes 1 or {self.size}."
            )

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        said = torch.tensor([float(flag)])
        with lost():
            dist.all_reduce(said, dist.ReduceOp.MAX, self.everyone)
        return bool(said.item())

    def sum_(self, tensors: list[Tensor]) -> None:
        """Each becomes its sum over the processes, in one message of a fixed layout, so that the
        order of additions and with it every bit is the same after a resumption."""
        if self.size == 1 or not tensors:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with lost():
            dist.all_reduce(whole, group=self.everyone)
        pieces = whole.split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))

    def same(self, value: T, *, patient: bool = False) -> T:
        """The first process's value; `patient` where it may take its time to have one."""
        if self.size == 1:
            return value
        held: list[Any] = [value]
        with lost():
            group = None if patient else self.everyone
            dist.broadcast_object_list(held, src=0, group=group)
        return held[0]

    def all(self, value: T) -> list[T]:
        """Everyone's values, by rank."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        with lost():
            dist.all_gather_object(held, value, self.everyone)
        return held


def _part(start: int, stop: int, number: int, count: int) -> tuple[int, int]:
    size = stop - start
    return start + size * number // count, start + size * (number + 1) // count


@contextmanager
def lost() -> Iterator[None]:
    """Makes one line of what the collectives say when a process died or hangs."""
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).strip().splitlines()), "no answer")[:160]
        if not isinstance(error, dist.DistError) and "gloo" not in reason.lower():
            raise
        raise TrainingError(
            f"another process of this training is gone or does not answer ({reason}). "
            "Start the same command again: it resumes."
        ) from None


@contextmanager
def joined(
    device: torch.device, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[World, torch.device]]:
    """The processes that torchrun has started, each with its GPU where there are GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    start = timedelta(seconds=START_S)
    with lost():
        store, rank, size = next(rendezvous("env://", timeout=start))
        # torchrun's store outlives a restart: what the dead have written there must not be found
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, timeout=start, store=store, rank=rank, world_size=size)
    try:
        world = World(rank, size, timeout_s)
        world.everyone = world.group(range(size))
        yield world, device
    finally:
        dist.destroy_process_group()
