"""The processes of one training: which rows of a batch each has, and how they communicate.

`torchrun` starts them; without it there is one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from phiscale.errors import PhiscaleError, TrainingError, UsageError

T = TypeVar("T")

TIMEOUT_S = 60.0  # without a heartbeat, until a process counts as dead
START_S = 3600.0  # until all processes have been started
HEARTBEATS = 4  # in a timeout


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
        """Returns this process's rows of a batch of `images`: a range for each of its lanes.

        The batch falls into `lanes` equal parts, however many processes there are. Each process
        has several lanes, or each lane several processes.
        """
        if lanes >= self.size:
            here = lanes // self.size
            mine = range(self.rank * here, (self.rank + 1) * here)
            return [_part(0, images, lane, lanes) for lane in mine]
        helpers = self.size // lanes
        lane, place = divmod(self.rank, helpers)
        return [_part(*_part(0, images, lane, lanes), place, helpers)]

    def local_range(self, images: int, lanes: int) -> tuple[int, int]:
        """Returns the same rows as one range, since the lanes of a process are neighbours."""
        parts = self.lane_ranges(images, lanes)
        return parts[0][0], parts[-1][1]

    def lane_group(self, lanes: int) -> dist.ProcessGroup | None:
        """Returns the processes that share this one's lane; None where it has one for itself."""
        if lanes >= self.size:
            return None
        helpers = self.size // lanes
        groups = [self.subgroup(range(at, at + helpers)) for at in range(0, self.size, helpers)]
        return groups[self.rank // helpers]

    def subgroup(self, ranks: range) -> Any:
        """Returns a group for messages among `ranks`. All processes must call it, others too."""
        with translate_errors():
            return dist.new_group(list(ranks), timedelta(seconds=self.timeout_s))

    def check(self, lanes: int, images: int) -> None:
        """Raises UsageError where `lanes` cannot be spread evenly over the processes, or where a
        micro-batch of `images` is too small for them."""
        if images < max(lanes, self.size):
            raise UsageError(
                f"A micro-batch of {images} images cannot be shared by {lanes} lanes and "
                f"{self.size} processes. Raise `batch` or `micro_batch`."
            )
        if self.size % lanes and lanes % self.size:
            raise UsageError(
                f"lanes={lanes} cannot be spread over {self.size} processes. "
                f"Use `lanes=1` or `lanes={self.size}`."
            )

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` holds in any process."""
        if self.size == 1:
            return flag
        highest = torch.tensor([float(flag)])
        with translate_errors():
            dist.all_reduce(highest, dist.ReduceOp.MAX, self.everyone)
        return bool(highest.item())

    def all_reduce_(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes.

        One message of a fixed layout keeps the order of additions, and with it every bit, the same
        after a resumption.
        """
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
        values: list[Any] = [value]
        with translate_errors():
            dist.broadcast_object_list(values, src=0, group=self.everyone)
        return values[0]

    def run_on_rank0(self, work: Callable[[], T]) -> T:
        """Runs `work` on rank 0 only; all processes get its result, or raise its error."""
        if self.size == 1:
            return work()
        result: T | PhiscaleError | None = None
        if self.is_rank0:
            try:
                result = work()
            except PhiscaleError as error:
                result = error
        self.barrier()
        result = self.broadcast(result)
        if isinstance(result, PhiscaleError):
            raise result
        return result  # type: ignore[return-value]

    def barrier(self) -> None:
        """Waits for all processes, however long they take, while they send heartbeats.

        Collective operations have a timeout, which suits processes that already wait for each
        other. A barrier before one lets them arrive first.
        """
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
                    raise TrainingError(
                        _LOST.format(f"no heartbeat from rank {silent[0]} for {self.timeout_s:g} s")
                    )
            time.sleep(pause_s)
            pause_s = min(0.2, 1.5 * pause_s)

    def _all_arrived(self, name: str) -> bool:
        """Whether all have arrived: rank 0 counts them, the others read its mark in the store."""
        if not self.is_rank0:
            return self.store.check([f"{name} open"])
        if self.store.add(name, 0) < self.size:
            return False
        self.store.set(f"{name} open", "")
        return True

    def _ask_store(self, question: Callable[[], T]) -> T:
        """Returns the store's answer.

        A store waits for ever where the process that keeps it is stopped. So a thread asks, and
        is left behind in that case.
        """
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
            raise TrainingError(
                _LOST.format(
                    f"no answer from the key-value store for {self.timeout_s:g} s (torchrun or "
                    "rank 0 keeps it)"
                )
            )
        answer = answers[0]
        if isinstance(answer, RuntimeError):
            with translate_errors():
                raise answer
        return answer

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Sends heartbeats from a thread while inside."""
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
        values: list[Any] = [None] * self.size
        with translate_errors():
            dist.all_gather_object(values, value, self.everyone)
        return values


def _part(start: int, stop: int, number: int, count: int) -> tuple[int, int]:
    size = stop - start
    return start + size * number // count, start + size * (number + 1) // count


_LOST = (
    "another process of this training is gone or does not answer: {}. See its output for the "
    "cause, then start the same command in all processes: it resumes."
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
    """Joins the processes that torchrun has started; yields them and this one's device.

    On GPUs that is one of the machine's GPUs, which is also torch's current one while inside.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(), device
        return
    backend = "gloo"
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with ExitStack() as stack:
        if device.type == "cuda":
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
            device, alone = gpu_of(local_rank, local_size, torch.cuda.device_count())
            stack.enter_context(torch.cuda.device(device))  # back to the host's GPU afterwards
            backend = "cpu:gloo,cuda:nccl" if alone else "gloo"
        yield _joined(stack, backend, local_size, timeout_s), device


def _joined(stack: ExitStack, backend: str, local_size: int, timeout_s: float) -> ProcessGroup:
    """Joins the job that torchrun describes in the environment, until `stack` ends."""
    start = timedelta(seconds=START_S)
    with translate_errors():
        store, rank, size = next(rendezvous("env://", timeout=start))
        # torchrun's store outlives a restart: what ended processes wrote there must not be read
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, timeout=start, store=store, rank=rank, world_size=size)
    stack.callback(dist.destroy_process_group)
    group = ProcessGroup(rank, size, timeout_s, PrefixStore("phiscale", store))
    group.everyone, group.local_size = group.subgroup(range(size)), local_size
    stack.enter_context(group.heartbeat())
    return group


def gpu_of(local_rank: int, local_size: int, gpus: int) -> tuple[torch.device, bool]:
    """Returns the GPU of a machine's process, and whether each process has one to itself.

    Where processes share a GPU, NCCL refuses to serve them; gloo then carries their messages.
    """
    return torch.device("cuda", local_rank % max(1, gpus)), local_size <= gpus
