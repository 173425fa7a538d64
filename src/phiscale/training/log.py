"""Writes the log of a training (log.jsonl and trackers), and measures its speed."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phiscale.errors import CheckpointError
from phiscale.files.run_files import LOG
from phiscale.files.values import is_finite
from phiscale.training.length import Pace
from phiscale.training.trackers import Tracker

if TYPE_CHECKING:
    import torch

    from phiscale.training.state import State

logger = logging.getLogger(__name__)

RECENT = 50  # steps over which the speed is averaged


class Meter:
    """Images per second and data wait over the recent steps, without evaluations and saves."""

    def __init__(self) -> None:
        self.recent: list[tuple[int, float, float]] = []
        self.last = time.monotonic()
        self.waited = 0.0

    def pause(self) -> None:
        """Leaves out the time since the last step."""
        self.last, self.waited = time.monotonic(), 0.0

    def waiting(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yields the same batches, and counts the time spent waiting for them."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def step(self, images: int) -> None:
        """Ends a step of `images` images."""
        now = time.monotonic()
        self.recent = [*self.recent[1 - RECENT :], (images, now - self.last, self.waited)]
        self.last, self.waited = now, 0.0

    @property
    def images_per_s(self) -> float:
        return sum(n for n, _, _ in self.recent) / max(1e-9, sum(t for _, t, _ in self.recent))

    def pace(self, seconds: float, evaluation_s: float) -> Pace:
        """Returns how fast the training is, `seconds` after its start."""
        return Pace(
            seconds=seconds,
            images_per_s=self.images_per_s,
            steps=len(self.recent),
            evaluation_s=evaluation_s,
        )

    @property
    def wait_share(self) -> float:
        return sum(w for _, _, w in self.recent) / max(1e-9, sum(t for _, t, _ in self.recent))


class Log:
    """Writes log.jsonl and the trackers. Each step is in them once, even after a kill."""

    def __init__(
        self,
        run: Path,
        state: State,
        trackers: Sequence[Tracker],
        device: torch.device,
        total: int,
    ):
        self.total, self.first, self.began = total, state.images_seen, time.monotonic()
        self.file = (run / LOG).open("ab")
        self.file.truncate(state.log_bytes)
        self.file.seek(0, os.SEEK_END)
        self.device = device
        self.trackers: list[Tracker] = list(trackers)
        self._to_trackers(lambda tracker: tracker.start(run, state.images_seen))

    def step(self, state: State, meter: Meter, **values: float) -> None:
        self._write(
            state,
            values
            | {
                "images_per_s": round(meter.images_per_s, 1),
                "wait_share": round(meter.wait_share, 4),
                "eta_s": round(self.eta_s(state), 1),
                "memory_bytes": memory_bytes(self.device),
            },
            "train",
        )

    def eta_s(self, state: State) -> float:
        """Returns the seconds to the end, at the speed since this start, evaluations included."""
        pace = (state.images_seen - self.first) / max(1e-9, time.monotonic() - self.began)
        return (self.total - state.images_seen) / max(1e-9, pace)

    def evaluation(self, state: State, **values: float) -> None:
        self._write(state, values, "validation")

    def _write(self, state: State, values: dict[str, float], what: str) -> None:
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        record = {
            "images_seen": state.images_seen,
            **values,
            "seconds": round(state.seconds, 2),
            "time": round(time.time(), 3),
        }
        self.file.write(json.dumps(record).encode() + b"\n")
        named = {f"{what}/{name.removeprefix('validation_')}": v for name, v in values.items()}
        self._to_trackers(lambda tracker: tracker.log(named, state.images_seen))

    def flush(self) -> int:
        """Forces the log to disk; returns its length in bytes."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._to_trackers(lambda tracker: tracker.flush())
        return self.file.tell()

    def _to_trackers(self, call: Callable[[Tracker], None]) -> None:
        """Calls every tracker. One that fails is left out from then on: log.jsonl has all."""
        for tracker in list(self.trackers):
            try:
                call(tracker)
            except Exception as error:  # every service raises its own
                self.trackers.remove(tracker)
                logger.warning(f"{type(tracker).__name__} failed, so it is left out: {error}")

    def close(self) -> None:
        self.flush()
        self.file.close()
        self._to_trackers(lambda tracker: tracker.close())


def memory_bytes(device: torch.device) -> int:
    """Returns the peak memory of this process so far: torch's on a GPU, else the system's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def read_log(run: Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a run's log. CheckpointError: a line is none that `Log` wrote."""
    path = run / LOG
    if path.is_file():
        lines = path.read_bytes().split(b"\n")[:-1]  # the last one may be incomplete
        for number, line in enumerate(lines, 1):
            if line.strip(b"\0"):
                yield _record(line, f"{path} is damaged in line {number}")


def _record(line: bytes, problem: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if (
        isinstance(record, dict)
        and {"images_seen", "seconds"} <= record.keys()
        and all(map(is_finite, record.values()))
    ):
        return record
    raise CheckpointError(f"{problem}: it is no record of a training. Restore or delete that line.")


def seconds_trained(records: Iterable[Mapping[str, Any]]) -> float:
    """Returns the seconds that training took, without pauses between kill and resume."""
    return max((record["seconds"] for record in records), default=0.0)


def best_evaluation(records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Returns the evaluation whose weights were kept as best.safetensors; None before the first.

    Of equal ones the first. A training's validation error is that of this evaluation everywhere.
    """
    evaluations = (record for record in records if "validation_top1" in record)
    return max(evaluations, key=lambda record: record["validation_top1"], default=None)
