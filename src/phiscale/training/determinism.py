"""The same bits every time, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_bits(wanted: bool) -> Iterator[None]:
    """While inside, torch takes only kernels that give the same bits every time, where `wanted`: a
    CPU's do anyway. cuBLAS reads its part from the environment when CUDA starts, so a program that
    has used CUDA before must have set CUBLAS_WORKSPACE_CONFIG itself."""
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, tuned = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = tuned
