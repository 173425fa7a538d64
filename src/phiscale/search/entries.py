"""What the entries of Optuna's database say of a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite

from optuna.trial import FrozenTrial, TrialState

from phiscale.search.trial import Result, Trial

MOST = 1e12  # a range for every number that describes a trial


@dataclass
class Known:
    """What is known of one trial."""

    entry: FrozenTrial | None = None  # the one that counts: the first that waits, runs, is settled
    surplus: list[FrozenTrial] = field(default_factory=list)  # others that wait
    died_at: list[int] = field(default_factory=list)  # images seen where workers that died began

    @property
    def deaths(self) -> int:
        """Of workers none of which came further than where it had begun."""
        return Counter(self.died_at)[max(self.died_at)] if self.died_at else 0


def known_of(
    entries: Iterable[FrozenTrial], result_of: Callable[[FrozenTrial], Result | None]
) -> dict[str, Known]:
    """By the trials' keys. `entries` in the order of their numbers."""
    known: dict[str, Known] = {}
    for entry in entries:
        what = known.setdefault(str(entry.user_attrs.get("key")), Known())
        if settled(entry):
            if what.entry is None and result_of(entry):
                what.entry = entry
        elif entry.state in (TrialState.WAITING, TrialState.RUNNING):
            if what.entry is None:
                what.entry = entry
            elif entry.state is TrialState.WAITING:
                what.surplus.append(entry)
        elif not {"released", "result"} & entry.user_attrs.keys():
            what.died_at.append(int(entry.user_attrs.get("from", 0)))
    return known


def settled(entry: FrozenTrial) -> bool:
    """Whether it says what came of its trial."""
    failed = entry.state is TrialState.FAIL and "failed" in entry.user_attrs
    return failed or entry.state is TrialState.COMPLETE


def numbers_of(trial: Trial) -> dict[str, float]:
    """What Optuna's dashboard plots results against."""
    own = {n: float(v) for n, v in trial.about.items() if isinstance(v, int | float)}
    every = {"lr": trial.recipe.optim.lr_peak, **own}
    return {name: v for name, v in every.items() if isfinite(v) and abs(v) <= MOST}
