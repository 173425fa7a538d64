"""The status of each trial: waiting, running or settled, and how many workers died at it.

It follows from the entries that Optuna's database has of the trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite

from optuna.trial import FrozenTrial, TrialState

from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial

WORKER_LOST = "its worker is gone"  # reason of a release: the whole command ended
LOST_WORKER_WEIGHT = 0.25  # of a death: a user may have killed the whole command
MAX_PARAM = 1e12  # bound of every number that describes a trial


@dataclass
class TrialStatus:
    """The status of one trial."""

    entry: FrozenTrial | None = None  # the first that waits, runs or is settled: it counts
    surplus: list[FrozenTrial] = field(default_factory=list)  # other waiting entries
    died_at: Counter[int] = field(default_factory=Counter)  # workers, by images seen at their start
    lost_at: Counter[int] = field(default_factory=Counter)  # those that died with their supervisor

    @property
    def deaths(self) -> float:
        """Count workers that died at the furthest start: none of them made progress."""
        furthest = max([*self.died_at, *self.lost_at], default=0)
        return self.died_at[furthest] + LOST_WORKER_WEIGHT * self.lost_at[furthest]


def trial_statuses(
    entries: Iterable[FrozenTrial], result_of: Callable[[FrozenTrial], Result | None]
) -> dict[str, TrialStatus]:
    """Return the status of every trial, by key. `entries`: in the order of their numbers."""
    statuses: dict[str, TrialStatus] = {}
    for entry in entries:
        status = statuses.setdefault(str(entry.user_attrs.get("key")), TrialStatus())
        if is_done(entry):
            if status.entry is None and result_of(entry):
                status.entry = entry
        elif entry.state in (TrialState.WAITING, TrialState.RUNNING):
            if status.entry is None:
                status.entry = entry
            elif entry.state is TrialState.WAITING:
                status.surplus.append(entry)
        elif not {"released", "result"} & entry.user_attrs.keys():
            status.died_at[int(entry.user_attrs.get("from", 0))] += 1
        elif entry.user_attrs.get("released") == WORKER_LOST:
            status.lost_at[int(entry.user_attrs.get("from", 0))] += 1
    return statuses


def is_done(entry: FrozenTrial) -> bool:
    """Whether the entry holds the result of its trial."""
    failed = entry.state is TrialState.FAIL and "failed" in entry.user_attrs
    return failed or entry.state is TrialState.COMPLETE


def numeric_params(trial: Trial) -> dict[str, float]:
    """Return the numbers that Optuna's dashboard plots results against."""
    attrs = {n: float(v) for n, v in trial.attrs.items() if isinstance(v, int | float)}
    params = {"lr": trial.recipe.optim.lr_peak, **attrs}
    return {name: v for name, v in params.items() if isfinite(v) and abs(v) <= MAX_PARAM}
