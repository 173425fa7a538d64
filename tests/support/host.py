"""What a host program would notice of a library that it calls."""

from __future__ import annotations

import locale
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from phiscale.training.ownership import is_own_process

T = TypeVar("T")


def process_state() -> dict[str, Any]:
    """Everything global that a call could leave changed."""
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)},
        "threads": torch.get_num_threads(),
        "threads of later threads": in_a_thread(torch.get_num_threads),
        "torch generator": torch.default_generator.get_state().tolist(),
        "numpy generator": np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
        "python generator": random.getstate(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "gradients": torch.is_grad_enabled(),
        "owned": is_own_process(),
    }


def changes(before: dict[str, Any]) -> set[str]:
    """The names of what is no longer as it was."""
    after = process_state()
    return {name for name in before if before[name] != after[name]}


def in_a_thread(work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a thread of its own; raises what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
