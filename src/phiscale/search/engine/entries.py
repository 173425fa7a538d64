"""What the entries of Optuna's database say of a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite

from optuna.trial import FrozenTrial, TrialState

from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial

WORKER_LOST = "its worker is gone"  # released for that, with whoever led it
LOST_WORKER_WEIGHT = 0.25  # of a death: a user may have killed the whole command
MOST = 1e12  # a range for every number that describes a trial


@dataclass
class TrialStatus:
    """What is known of one trial."""

    entry: FrozenTrial | None = None  # the one that counts: the first that waits, runs, is settled
    surplus: list[FrozenTrial] = field(default_factory=list)  # others that wait
    died_at: Counter[int] = field(default_factory=Counter)  # by images seen where they had begun
    gone_at: Counter[int] = field(default_factory=Counter)  # of those with all of their command

    @property
    def deaths(self) -> float:
        """Of workers none of which came further than where it had begun."""
        furthest = max([*self.died_at, *self.gone_at], default=0)
        return self.died_at[furthest] + LOST_WORKER_WEIGHT * self.gone_at[furthest]


def trial_statuses(
    entries: Iterable[FrozenTrial], result_of: Callable[[FrozenTrial], Result | None]
) -> dict[str, TrialStatus]:
    """By the trials' keys. `entries` in the order of their numbers."""
    statuses: dict[str, TrialStatus] = {}
    for entry in entries:
        what = statuses.setdefault(str(entry.user_attrs.get("key")), TrialStatus())
        if is_settled(entry):
            if what.entry is None and result_of(entry):
                what.entry = entry
        elif entry.state in (TrialState.WAITING, TrialState.RUNNING):
            if what.entry is None:
                what.entry = entry
            elif entry.state is TrialState.WAITING:
                what.surplus.append(entry)
        elif not {"released", "result"} & entry.user_attrs.keys():
            what.died_at[int(entry.user_attrs.get("from", 0))] += 1
        elif entry.user_attrs.get("released") == WORKER_LOST:
            what.gone_at[int(entry.user_attrs.get("from", 0))] += 1
    return statuses


def is_settled(entry: FrozenTrial) -> bool:
    """Whether it says what came of its trial."""
    failed = entry.state is TrialState.FAIL and "failed" in entry.user_attrs
    return failed or entry.state is TrialState.COMPLETE


def numeric_params(trial: Trial) -> dict[str, float]:
    """What Optuna's dashboard plots results against."""
    own = {n: float(v) for n, v in trial.attrs.items() if isinstance(v, int | float)}
    every = {"lr": trial.recipe.optim.lr_peak, **own}
    return {name: v for name, v in every.items() if isfinite(v) and abs(v) <= MOST}
