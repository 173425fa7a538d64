"""Changes settings of torch so that the host program keeps its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic_kernels(enabled: bool) -> Iterator[None]:
    """Restricts torch, while inside, to kernels that give the same bits every time.

    Those of a CPU do anyway. cuBLAS reads its part from the environment when CUDA starts, so a
    program that has used CUDA before must have set CUBLAS_WORKSPACE_CONFIG itself.
    """
    if not enabled:
        yield
        return
    workspace = os.environ.get(_WORKSPACE)
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator while inside, and puts its state back.

    `torch.manual_seed` would also seed the generators of the GPUs, which nothing here draws from.
    """
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Sets torch's number of threads while inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_changing_threads = Lock()


def set_own_thread_count(threads: int) -> None:
    """Sets torch's number of threads for the calling thread, which must not have used torch yet.

    `torch.set_num_threads` also sets it for every thread that starts later, those of the host
    program included. Another thread puts that number back at once; the calling one keeps its own.
    """
    with _changing_threads:
        for_later_threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        restore = Thread(target=torch.set_num_threads, args=(for_later_threads,))
        restore.start()
        restore.join()
