"""The processes of one training: which rows of a batch each has, and how they communicate.

`torchrun` starts them; without it there is one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from phiscale.errors import PhiscaleError, TrainingError, UsageError

T = TypeVar("T")

TIMEOUT_S = 60.0  # until a process that says nothing is taken for dead
START_S = 3600.0  # until all processes have been started
HEARTBEATS = 4  # signs of life in a timeout


class ProcessGroup:
    """The processes of a training, seen from this one. All of them must make the same calls."""

    def __init__(
        self, rank: int = 0, size: int = 1, timeout_s: float = TIMEOUT_S, store: Any = None
    ):
        self.rank, self.size, self.timeout_s, self.store = rank, size, timeout_s, store
        self.everyone: Any = None
        self.local_size = 1  # processes on this machine, this one among them
        self.barriers = 0

    @property
    def is_rank0(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def lane_ranges(self, images: int, lanes: int) -> list[tuple[int, int]]:
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

    def local_range(self, images: int, lanes: int) -> tuple[int, int]:
        """The same as one range: a process's lanes are neighbours."""
        parts = self.lane_ranges(images, lanes)
        return parts[0][0], parts[-1][1]

    def lane_group(self, lanes: int) -> dist.ProcessGroup | None:
        """The processes that share this one's lane; None if it is alone with it."""
        if lanes >= self.size:
            return None
        helpers = self.size // lanes
        groups = [self.subgroup(range(at, at + helpers)) for at in range(0, self.size, helpers)]
        return groups[self.rank // helpers]

    def subgroup(self, ranks: range) -> Any:
        """Processes that speak among themselves; those outside call it, too."""
        with translate_errors():
            return dist.new_group(list(ranks), timedelta(seconds=self.timeout_s))

    def check(self, lanes: int, images: int) -> None:
        """Raises UsageError where lanes and processes cannot share each other, or the `images` of a
        micro-batch are too few for them."""
        if images < max(lanes, self.size):
            raise UsageError(
                f"A micro-batch of {images} images cannot be shared by {lanes} lanes and "
                f"{self.size} processes; raise `batch` or `micro_batch`."
            )
        if self.size % lanes and lanes % self.size:
            raise UsageError(
                f"lanes={lanes} cannot be spread over {self.size} processes; "
                f"use lanes=1 or lanes={self.size}."
            )

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        said = torch.tensor([float(flag)])
        with translate_errors():
            dist.all_reduce(said, dist.ReduceOp.MAX, self.everyone)
        return bool(said.item())

    def all_reduce_(self, tensors: list[Tensor]) -> None:
        """Each becomes its sum over the processes, in one message of a fixed layout, so that the
        order of additions and with it every bit is the same after a resumption."""
        if self.size == 1 or not tensors:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with translate_errors():
            dist.all_reduce(whole, group=self.everyone)
        pieces = whole.split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))

    def broadcast(self, value: T) -> T:
        """Returns the value that the process of rank 0 has."""
        if self.size == 1:
            return value
        held: list[Any] = [value]
        with translate_errors():
            dist.broadcast_object_list(held, src=0, group=self.everyone)
        return held[0]

    def run_on_rank0(self, work: Callable[[], T]) -> T:
        """Runs `work` on rank 0 only; all processes get its result, or raise its error."""
        if self.size == 1:
            return work()
        found: T | PhiscaleError | None = None
        if self.is_rank0:
            try:
                found = work()
            except PhiscaleError as error:
                found = error
        self.barrier()
        found = self.broadcast(found)
        if isinstance(found, PhiscaleError):
            raise found
        return found  # type: ignore[return-value]

    def barrier(self) -> None:
        """Waits for everyone, however long they take while they show signs of life: before
        messages, whose timeout is for those who already wait for each other."""
        if self.size == 1:
            return
        self.barriers += 1
        name, began = f"barrier {self.barriers}", time.monotonic()
        heard = dict.fromkeys(range(1, self.size) if self.is_rank0 else [0], (-1, began))
        pause_s, next_look = 0.001, began
        self._ask_store(lambda: self.store.add(name, 1))
        while not self._ask_store(lambda: self._all_arrived(name)):
            now = time.monotonic()
            if now >= next_look:
                next_look = now + self.timeout_s / HEARTBEATS
                beats = self._ask_store(
                    lambda: [self.store.add(f"heartbeat {r}", 0) for r in heard]
                )
                for (rank, (before, since)), beat in zip(heard.items(), beats, strict=True):
                    heard[rank] = (beat, now if beat != before else since)
                silent = [
                    rank for rank, (_, since) in heard.items() if now - since > self.timeout_s
                ]
                if silent:
                    raise TrainingError(_LOST.format(f"no sign of life of {silent[0]}"))
            time.sleep(pause_s)
            pause_s = min(0.2, 1.5 * pause_s)

    def _all_arrived(self, name: str) -> bool:
        """Whether all are there; the first one counts, the others look for its word."""
        if not self.is_rank0:
            return self.store.check([f"{name} open"])
        if self.store.add(name, 0) < self.size:
            return False
        self.store.set(f"{name} open", "")
        return True

    def _ask_store(self, question: Callable[[], T]) -> T:
        """The store's answer. It waits for ever where the process that keeps it is stopped, so a
        thread asks, which is left behind then."""
        answers: list[T | RuntimeError] = []

        def ask() -> None:
            try:
                answers.append(question())
            except RuntimeError as error:
                answers.append(error)

        thread = threading.Thread(target=ask, name="store", daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if not answers:
            raise TrainingError(_LOST.format("nor does the one that keeps the store"))
        answer = answers[0]
        if isinstance(answer, RuntimeError):
            with translate_errors():
                raise answer
        return answer

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """While inside, a thread shows that this process lives."""
        over = threading.Event()

        def beat() -> None:
            try:
                self.store.add(f"heartbeat {self.rank}", 1)
                while not over.wait(self.timeout_s / HEARTBEATS):
                    self.store.add(f"heartbeat {self.rank}", 1)
            except RuntimeError:  # the store is gone: so is the job
                return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    def all_gather(self, value: T) -> list[T]:
        """Returns the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        with translate_errors():
            dist.all_gather_object(held, value, self.everyone)
        return held


def _part(start: int, stop: int, number: int, count: int) -> tuple[int, int]:
    size = stop - start
    return start + size * number // count, start + size * (number + 1) // count


_LOST = (
    "another process of this training is gone or does not answer ({}). "
    "Start the same command again: it resumes."
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns the errors of collective operations into a TrainingError of one line."""
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).strip().splitlines()), "no answer")[:160]
        if not isinstance(error, dist.DistError) and "gloo" not in reason.lower():
            raise
        raise TrainingError(_LOST.format(reason)) from None


@contextmanager
def init_distributed(
    device: torch.device, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[ProcessGroup, torch.device]]:
    """The processes that torchrun has started, each with its GPU where there are GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(), device
        return
    backend = "gloo"
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device.type == "cuda":
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        device, alone = gpu_of(local_rank, local_size, torch.cuda.device_count())
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if alone else "gloo"
    start = timedelta(seconds=START_S)
    with translate_errors():
        store, rank, size = next(rendezvous("env://", timeout=start))
        # torchrun's store outlives a restart: what the dead have written there must not be found
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, timeout=start, store=store, rank=rank, world_size=size)
    try:
        group = ProcessGroup(rank, size, timeout_s, PrefixStore("phiscale", store))
        group.everyone, group.local_size = group.subgroup(range(size)), local_size
        with group.heartbeat():
            yield group, device
    finally:
        dist.destroy_process_group()


def gpu_of(local_rank: int, local_size: int, gpus: int) -> tuple[torch.device, bool]:
    """The GPU of a machine's process, and whether each has one to itself: where they share, NCCL
    refuses to serve them and gloo carries their messages."""
    return torch.device("cuda", local_rank % max(1, gpus)), local_size <= gpus
