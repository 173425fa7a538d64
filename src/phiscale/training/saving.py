"""Decides when checkpoints are saved during a training, and saves them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from phiscale.files.run_files import CHECKPOINTS
from phiscale.training.checkpoint import save_checkpoint
from phiscale.training.log import Log
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.runtime import Runtime
from phiscale.training.state import State

MAX_SAVE_FRACTION = 0.01  # maximum fraction of the time that regular saving takes


class Saver:
    """Saves every `runtime.save_every_s` seconds, but for `MAX_SAVE_FRACTION` of the time at most.

    The process of rank 0 writes; all others wait for it at a barrier.
    """

    def __init__(
        self,
        run: Path,
        state: State,
        log: Log | None,
        runtime: Runtime,
        group: ProcessGroup,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.run, self.state, self.log, self.group = run, state, log, group
        self.every_s, self.keep = runtime.save_every_s, runtime.keep
        self.clock = clock
        self.began = self.last = clock()
        self.last_took_s = self.total_s = 0.0

    @property
    def time_fraction(self) -> float:
        """The fraction of the time since this start that saving took."""
        return round(self.total_s / max(1e-9, self.clock() - self.began), 5)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint: the same answer in all processes."""
        pause_s = max(self.every_s, self.last_took_s / MAX_SAVE_FRACTION) if self.every_s else 0.0
        return self.group.broadcast(self.clock() - self.last > pause_s)

    def save(self) -> None:
        """Writes a checkpoint."""
        start = self.clock()
        if self.log is not None:
            self.state.log_bytes = self.log.flush()
            save_checkpoint(
                self.run / CHECKPOINTS, self.state.images_seen, self.state.state_dict(), self.keep
            )
        self.group.barrier()  # a slow disk must not make the others time out
        self.last = self.clock()
        self.last_took_s = self.last - start
        self.total_s += self.last_took_s
