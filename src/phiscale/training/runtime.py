"""Runtime: where and how a training runs, which its recipe does not say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import torch

from phiscale.errors import UsageError
from phiscale.files.values import check_at_least
from phiscale.training.callbacks import AnyCallback
from phiscale.training.ownership import is_own_process
from phiscale.training.parallel.processes import TIMEOUT_S, ProcessGroup
from phiscale.training.trackers import Tracker

SAVE_EVERY_S = 60.0  # so a kill loses about a minute of work at most


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a training runs: nothing of it is compared when a run is resumed.

    Only `device`, `deterministic` and the number of processes in `group` can change bits of the
    result. `limit_s` can change its length, which `length.json` then holds. `accept_changed_data`
    lets a run resume with other images.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: ProcessGroup | None = None  # None: joins the processes of torchrun
    workers: int = 2  # threads that read images
    keep: int = 2  # checkpoints to keep, the newest ones
    limit_s: float | None = None  # seconds that the training may take; it is shortened if needed
    save_every_s: float = SAVE_EVERY_S  # between checkpoints; 0: one after every step
    timeout_s: float = TIMEOUT_S  # heartbeat timeout of a process
    callbacks: Sequence[AnyCallback] = ()
    trackers: Sequence[Tracker] = ()  # besides TensorBoard
    accept_changed_data: bool = False  # resume although images were added, removed or edited
    deterministic: bool = False  # on a GPU: the same bits every time, somewhat slower
    own_process: bool = field(default_factory=is_own_process)
    """Whether the process is phiscale's own, as it is at the command line.

    Only then SIGTERM and Ctrl-C end a training at the next step with a checkpoint. Only then freed
    memory is kept, which makes training on a CPU up to a third faster. Otherwise signals, memory
    and exits belong to the host program."""

    log_level: int = logging.INFO  # of this training's messages

    def __post_init__(self) -> None:
        check_at_least(1, workers=self.workers, keep=self.keep)
        if not 0 < self.timeout_s < inf:
            raise UsageError(f"timeout_s={self.timeout_s:g} is out of range. Use a number above 0.")
