"""Context managers that change settings of torch and restore them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
def unchanged_thread_count() -> Iterator[None]:
    """Puts back torch's number of threads. A thread that sets its own changes the number for all
    threads that start later, those of the host program included."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
