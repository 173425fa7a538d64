"""The queue of trials in the database of a study, for any number of workers and machines.

The database may be lost: results are files, and a new database is filled from them.

Optuna's own loop is not used, since it would hand out trials that no plan contains. Its heartbeats
and its lock on an entry's state are used.

Two workers may enqueue one trial at once. The entry with the lowest number that waits, runs or is
done counts. Numbers are given out in order, so all workers agree on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from phiscale.errors import PhiscaleError
from phiscale.search.engine.claims import Claims
from phiscale.search.engine.database import PATIENCE_S, DamagedStore, check_integrity
from phiscale.search.engine.entries import TrialStatus, is_done, trial_statuses
from phiscale.search.engine.result import Result
from phiscale.search.engine.study_database import EntryIds, StudyDatabase
from phiscale.search.engine.trial import Trial

HEARTBEAT_TIMEOUT_S = 60.0
MAX_FAILED_ATTEMPTS = 8  # at one trial, without progress: then it is not chance


class Store:
    """The queue of one study."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
    ):
        self.database = StudyDatabase(
            url, name, heartbeat_timeout_s=heartbeat_timeout_s, patience_s=patience_s
        )
        self.claims = Claims(self.database)
        self._results: dict[int, Result | None] = {}  # of finished entries, by number

    def close(self) -> None:
        """Disconnects until the next use: a new process must not inherit this connection."""
        self.database.close()

    def check(self) -> None:
        """Raises DamagedStore where anything cannot be read, or is not what was written."""
        url = self.database.url
        check_integrity(self.database.storage, url)
        self.database.fail_timed_out()
        self._statuses()
        self.database.plan_id()
        if not url.startswith("sqlite"):
            return  # a server checks its pages itself
        for entry in self.database.entries():
            if is_done(entry):
                result = self._result(entry)
                written = (entry.user_attrs.get("key"), entry.value)
                if result is None or written != (result.key, result.validation_error):
                    raise DamagedStore(url, f"trial {entry.number} is not what was written")

    def enqueue(self, trials: Sequence[Trial], results: Mapping[str, Result]) -> dict[str, str]:
        """Enqueues trials that nobody has claimed or that were lost, and marks new results.

        Returns, by key, why trials are given up: their workers died too often.
        """
        self.database.fail_timed_out()
        statuses = self.mark_all_done(trials, results)
        failed_too_often: dict[str, str] = {}
        for trial in {trial.key: trial for trial in trials}.values():
            status = statuses.get(trial.key, TrialStatus())
            for entry in status.surplus:
                self.claims.release(
                    self.database.entry_ids(entry), "another entry is of the same trial"
                )
            if trial.key in results:
                continue
            if status.entry is None and status.failed_attempts >= MAX_FAILED_ATTEMPTS:
                failed_too_often[trial.key] = f"{MAX_FAILED_ATTEMPTS} workers died at it"
            elif status.entry is None:
                self.database.add(trial)
        return failed_too_often

    def mark_all_done(
        self, trials: Sequence[Trial], results: Mapping[str, Result]
    ) -> dict[str, TrialStatus]:
        """Marks entries of new results as done; returns the status of every trial, by key.

        Results of running trials are left to their workers. Each trial is enqueued first, so that
        of two workers with one result the second sees that it is done.
        """
        done = {trial.key: trial for trial in trials if trial.key in results}
        statuses = self._statuses()
        new = [
            trial for key, trial in done.items() if statuses.get(key, TrialStatus()).entry is None
        ]
        for trial in new:
            self.database.add(trial)
        statuses = self._statuses() if new else statuses
        for key in done:
            entry = statuses.get(key, TrialStatus()).entry
            if entry is not None and entry.state is TrialState.WAITING:
                self.mark_done(self.database.entry_ids(entry), results[key])
        return statuses

    def claim(self, keys: Sequence[str]) -> EntryIds | None:
        """Claims the first of these trials that waits; None where none does."""
        statuses = self._statuses()
        for key in dict.fromkeys(keys):
            entry = statuses.get(key, TrialStatus()).entry
            if entry is not None and entry.state is TrialState.WAITING:
                claim = self.claims.claim(entry)
                if claim is not None:
                    return claim
        return None

    def mark_done(self, entry: EntryIds, result: Result) -> bool:
        """Writes a result into an entry, claimed or waiting, and finishes it.

        Returns False, and changes nothing, where the entry is finished, as it is when a claim was
        lost.
        """
        failed = result.failed is not None
        with suppress(UpdateFinishedTrialError):
            self.claims.set_attr(entry, "result", json.dumps(result.to_dict()))
            if failed:
                self.claims.set_attr(entry, "failed", result.failed)
            state = TrialState.FAIL if failed else TrialState.COMPLETE
            values = None if result.validation_error is None else [result.validation_error]
            return self.database.set_state(entry.id, state, values)
        return False

    def results(self, keys: Sequence[str]) -> Iterator[Result]:
        """Yields results that the database has of these trials, such as other machines'."""
        unfinished = set(keys)
        for entry in self.database.entries():
            if entry.user_attrs.get("key") in unfinished and (result := self._result(entry)):
                yield result

    def _statuses(self) -> dict[str, TrialStatus]:
        """Returns the status of every trial, by key."""
        return self.database.call(lambda: trial_statuses(self.database.entries(), self._result))

    def _result(self, entry: FrozenTrial) -> Result | None:
        """Returns the result in an entry; None where it has none, or a damaged one."""
        text = entry.user_attrs.get("result")
        if text is None:
            return None
        if entry.number in self._results:
            return self._results[entry.number]
        try:
            result = Result.from_dict(json.loads(text))
        except (PhiscaleError, ValueError):
            result = None
        if entry.state.is_finished():  # it does not change any more
            self._results[entry.number] = result
        return result
