"""Checkpoints of runs, and the environment of processes that train."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch


def child_environment() -> dict[str, str]:
    """Return the environment of a child process that imports what this process can, on one
    thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def newest_state(run: Path) -> dict[str, Any]:
    """Return the newest checkpoint of a run."""
    newest = sorted((run / "checkpoints").glob("*.pt"))[-1]
    return torch.load(newest, weights_only=True)


def network_weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors in the newest checkpoint of a run."""
    return newest_state(run)["network"]
