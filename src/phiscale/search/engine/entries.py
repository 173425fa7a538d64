"""The status of each trial: waiting, running or done, and how many attempts at it failed.

It follows from the trial's entries in the database: what Optuna calls trials. Optuna has one state,
FAIL, for all that did not end well. Attributes of an entry tell what happened: see `meaning`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

from optuna.trial import FrozenTrial, TrialState

from phiscale.search.engine.database import UnreadableEntry
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial

WORKER_LOST = "its worker is gone"  # reason of a release: the whole command ended
LOST_WORKER_WEIGHT = 0.25
"""Failed attempts that it counts as when a worker ended with its whole command. A user may have
killed the command, or the trial may have exhausted the machine: nobody knows which."""
MAX_PARAM = 1e12
"""Bound of the numbers that describe a trial. Optuna wants a distribution for each parameter; a
range this wide admits all, and nothing is drawn from it."""


class Meaning(Enum):
    """The meaning of an entry: of Optuna's state and the entry's attributes together."""

    WAITING = "a worker may claim the trial"
    RUNNING = "a worker trains the trial"
    DONE = "it holds the result"
    TRAINING_FAILED = "it holds a failed result: the training gave none, or gave no finite number"
    RELEASED = "its worker stopped, or it was a duplicate of another entry; this blames nobody"
    WORKER_LOST = "its worker ended together with its command"
    WORKER_DIED = "its worker died, or sent no heartbeats"
    INCOMPLETE = "its worker died while it wrote the result"


def meaning(entry: FrozenTrial) -> Meaning:
    """Returns what an entry means."""
    if entry.state is TrialState.WAITING:
        return Meaning.WAITING
    if entry.state is TrialState.RUNNING:
        return Meaning.RUNNING
    if entry.state is TrialState.COMPLETE:
        return Meaning.DONE
    attrs = entry.user_attrs
    if entry.state is TrialState.FAIL and "failed" in attrs:
        return Meaning.TRAINING_FAILED
    if attrs.get("released") == WORKER_LOST:
        return Meaning.WORKER_LOST
    if "released" in attrs:
        return Meaning.RELEASED
    return Meaning.INCOMPLETE if "result" in attrs else Meaning.WORKER_DIED


def is_done(entry: FrozenTrial) -> bool:
    """Returns whether the entry holds the result of its trial."""
    return meaning(entry) in (Meaning.DONE, Meaning.TRAINING_FAILED)


@dataclass
class TrialStatus:
    """The status of one trial."""

    entry: FrozenTrial | None = None  # the first that waits, runs or is done: it counts
    surplus: list[FrozenTrial] = field(default_factory=list)  # other waiting entries
    died_at: Counter[int] = field(default_factory=Counter)
    """Number of workers that died, by the images that the trial had seen when they started."""
    lost_at: Counter[int] = field(default_factory=Counter)
    """The same of workers that ended together with their command."""

    @property
    def failed_attempts(self) -> float:
        """Counts workers that died after the furthest start: none of them made progress."""
        furthest = max([*self.died_at, *self.lost_at], default=0)
        return self.died_at[furthest] + LOST_WORKER_WEIGHT * self.lost_at[furthest]


def trial_statuses(
    entries: Iterable[FrozenTrial], result_of: Callable[[FrozenTrial], Result | None]
) -> dict[str, TrialStatus]:
    """Returns the status of every trial, by key. `entries`: in the order of their numbers.

    UnreadableEntry: an entry is not as it was written.
    """
    statuses: dict[str, TrialStatus] = {}
    for entry in entries:
        status = statuses.setdefault(str(entry.user_attrs.get("key")), TrialStatus())
        match meaning(entry):
            case Meaning.DONE | Meaning.TRAINING_FAILED:
                if status.entry is None and result_of(entry):
                    status.entry = entry
            case Meaning.WAITING | Meaning.RUNNING if status.entry is None:
                status.entry = entry
            case Meaning.WAITING:
                status.surplus.append(entry)
            case Meaning.WORKER_DIED:
                status.died_at[_images_at_start(entry)] += 1
            case Meaning.WORKER_LOST:
                status.lost_at[_images_at_start(entry)] += 1
            case Meaning.RUNNING | Meaning.RELEASED | Meaning.INCOMPLETE:
                pass
    return statuses


def _images_at_start(entry: FrozenTrial) -> int:
    """Returns how many images the trial had seen when the entry's worker started."""
    images_seen = entry.user_attrs.get("images_at_start", 0)
    if not isinstance(images_seen, int):
        raise UnreadableEntry(f"images_at_start={images_seen!r} of trial {entry.number}")
    return images_seen


def numeric_params(trial: Trial) -> dict[str, float]:
    """Returns the numbers that Optuna's dashboard plots results against."""
    attrs = {n: float(v) for n, v in trial.attrs.items() if isinstance(v, int | float)}
    params = {"lr": trial.recipe.optim.lr_peak, **attrs}
    return {name: v for name, v in params.items() if isfinite(v) and abs(v) <= MAX_PARAM}
