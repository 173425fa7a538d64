"""One study in Optuna's database: its attributes and its entries.

An entry is what Optuna calls a trial. A trial here is a training, and may have several entries.

Every call is repeated for a while if the database is locked or away (`database.retry`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.trial import FrozenTrial, TrialState, create_trial

from phiscale.search.engine.database import PATIENCE_S, normalized_url, open_storage, retry
from phiscale.search.engine.entries import MAX_PARAM, numeric_params
from phiscale.search.engine.trial import Trial

T = TypeVar("T")


@dataclass(frozen=True)
class EntryIds:
    """The ids of an entry, by which a worker claims it and writes into it."""

    key: str  # of its trial
    number: int  # in Optuna's study
    id: int  # in Optuna's storage


class StudyDatabase:
    """A connection to one study. The study is created if it is not there yet."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        heartbeat_timeout_s: float,
        patience_s: float = PATIENCE_S,
    ):
        self.url, self.name = normalized_url(url), name
        self.heartbeat_timeout_s, self.patience_s = heartbeat_timeout_s, patience_s
        self.storage = open_storage(self.url, heartbeat_timeout_s)
        self.study = self.call(self._create_or_load)
        self.id = self.call(lambda: self.storage.get_study_id_from_name(name))

    def _create_or_load(self) -> optuna.Study:
        try:
            return optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                direction="minimize",
                load_if_exists=True,
            )
        except DuplicatedStudyError:  # another worker created it in the meantime
            return optuna.load_study(storage=self.storage, study_name=self.name)

    def call(self, function: Callable[[], T], patience_s: float | None = None) -> T:
        """Calls the function, again and again while the database is locked or away."""
        return retry(
            function, self.url, patience_s=self.patience_s if patience_s is None else patience_s
        )

    def close(self) -> None:
        """Disconnects until the next use: a new process must not inherit this connection."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def plan_id(self) -> dict[str, Any]:
        """Returns what identifies the study's plan; empty where no worker has set it."""
        return self.call(lambda: self.study.user_attrs).get("phiscale") or {}

    def get_or_set_plan_id(self, plan_id: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what identifies the study's plan; `plan_id`, now set, where nothing did."""
        if recorded := self.plan_id():
            return recorded
        self.call(lambda: self.study.set_user_attr("phiscale", dict(plan_id)))
        return dict(plan_id)

    def entries(self, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
        """Returns the entries, in the order of their numbers."""
        return self.call(lambda: self.study.get_trials(deepcopy=False, states=states))

    def entry_ids(self, entry: FrozenTrial) -> EntryIds:
        """Returns the ids of an entry."""
        id = self.call(
            lambda: self.storage.get_trial_id_from_study_id_trial_number(self.id, entry.number)
        )
        return EntryIds(str(entry.user_attrs.get("key")), entry.number, id)

    def add(self, trial: Trial) -> None:
        """Adds an entry that waits for a worker."""
        params = numeric_params(trial)
        texts = {name: value for name, value in trial.attrs.items() if isinstance(value, str)}
        self.call(
            lambda: self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=params,
                    user_attrs=texts | {"key": trial.key, "name": trial.name},
                    distributions={
                        name: FloatDistribution(-MAX_PARAM, MAX_PARAM) for name in params
                    },
                )
            )
        )

    def set_state(self, id: int, state: TrialState, values: list[float] | None = None) -> bool:
        """Changes the state of an entry. Returns False where another worker was faster.

        UpdateFinishedTrialError: the entry is finished.
        """
        return self.call(lambda: self.storage.set_trial_state_values(id, state, values))

    def fail_timed_out(self) -> None:
        """Fails entries whose workers, on any machine, are past their heartbeat timeout."""
        with warnings.catch_warnings():  # heartbeats are called experimental
            warnings.simplefilter("ignore")
            self.call(lambda: optuna.storages.fail_stale_trials(self.study))
