"""How a training runs: everything that does not change its result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from phiscale.training.callbacks import AnyCallback
from phiscale.training.ownership import is_own_process
from phiscale.training.parallel.processes import TIMEOUT_S, ProcessGroup
from phiscale.training.trackers import Tracker

SAVE_EVERY_S = 60.0  # what a kill costs at most, beside a checkpoint at every evaluation


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What does not change a training's result."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: ProcessGroup | None = None  # where the processes are joined already
    workers: int = 2  # threads that read images
    keep: int = 2  # checkpoints
    save_every_s: float = SAVE_EVERY_S  # and at every evaluation; 0: after every step
    timeout_s: float = TIMEOUT_S  # until a silent process counts as dead
    callbacks: Sequence[AnyCallback] = ()
    trackers: Sequence[Tracker] = ()  # besides TensorBoard
    accept_changed_data: bool = False
    deterministic: bool = False  # on a GPU: the same bits every time, somewhat slower
    own_process: bool = field(default_factory=is_own_process)
    """Whether the process is phiscale's own, as it is at the command line.

    Only then SIGTERM and Ctrl-C end a training at the next step with a checkpoint. Only then freed
    memory is kept, which makes training on a CPU up to a third faster. Otherwise signals, memory
    and exits belong to the host program."""

    log_level: int = logging.INFO  # of the remarks of this training
