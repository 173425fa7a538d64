"""The queue of trials, in Optuna's database: who trains which, on any number of machines.

The database may be lost: results are files, and a new one is filled from them.

A worker that has claimed a trial sends heartbeats. After `heartbeat_timeout_s` without one it
counts as dead, and another worker resumes the trial. Optuna's own loop is not used, since it would
hand out trials that no plan contains; its heartbeats and its lock on a trial's state are used.

Two workers may enqueue one trial at once. The entry with the lowest number that waits, runs or is
settled counts. Numbers are given out in order, so all workers agree on it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from phiscale.errors import PhiscaleError
from phiscale.search.engine.database import (
    DamagedStore,
    StoreError,
    check_integrity,
    normalized_url,
    open_storage,
    retry,
)
from phiscale.search.engine.entries import (
    MOST,
    WORKER_LOST,
    TrialStatus,
    is_settled,
    numeric_params,
    trial_statuses,
)
from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial

HEARTBEAT_TIMEOUT_S = 60.0
MOST_DEATHS = 8  # of workers at one trial without progress: then it is not chance
LEAVING_S = 3.0  # how long a worker that ends waits for the database

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's to train, while it sends heartbeats."""

    key: str
    number: int  # of Optuna's trial
    id: int


class Store:
    """The queue of one study in one database."""

    def __init__(self, url: str, name: str, *, heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S):
        self.url, self.name, self.heartbeat_timeout_s = (
            normalized_url(url),
            name,
            heartbeat_timeout_s,
        )
        self.storage = open_storage(self.url, heartbeat_timeout_s)
        self.study = self._try(self._study)
        self.id = self._try(lambda: self.storage.get_study_id_from_name(name))
        self._read: dict[int, Result | None] = {}  # by number: finished entries do not change

    def _study(self) -> optuna.Study:
        try:
            return optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                direction="minimize",
                load_if_exists=True,
            )
        except DuplicatedStudyError:
            return optuna.load_study(storage=self.storage, study_name=self.name)

    def close(self) -> None:
        """Disconnect until the next use: a new process must not inherit this connection."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def check(self) -> None:
        """Raise DamagedStore where anything cannot be read, or is not what was written."""
        check_integrity(self.storage, self.url)
        self._fail_stale()
        self._statuses()
        self.attrs()
        if not self.url.startswith("sqlite"):
            return  # a server checks its pages itself
        for entry in self.trials():
            if is_settled(entry):
                result = self._result(entry)
                written = (entry.user_attrs.get("key"), entry.value)
                if result is None or written != (result.key, result.validation_error):
                    raise DamagedStore(self.url, f"trial {entry.number} is not what was written")

    def attrs(self, what: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the attributes that the study's first worker set; set them to `what` if there are
        none."""
        recorded = self._try(lambda: self.study.user_attrs).get("phiscale")
        if not recorded and what:
            self._try(lambda: self.study.set_user_attr("phiscale", dict(what)))
            return dict(what)
        return recorded or {}

    def trials(self, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
        """Return Optuna's entries, in the order of their numbers."""
        return self._try(lambda: self.study.get_trials(deepcopy=False, states=states))

    def enqueue(self, trials: Sequence[Trial], results: Mapping[str, Result]) -> dict[str, str]:
        """Enqueue trials that nobody has claimed or that were lost, and note new results.

        Returns why trials are given up, by key: their workers died too often.
        """
        self._fail_stale()
        statuses = self.record(trials, results)
        failed_too_often: dict[str, str] = {}
        for trial in {trial.key: trial for trial in trials}.values():
            status = statuses.get(trial.key, TrialStatus())
            for entry in status.surplus:
                self.release(self._claim_of(entry), "another entry is of the same trial")
            if trial.key in results:
                continue
            if status.entry is None and status.deaths >= MOST_DEATHS:
                failed_too_often[trial.key] = f"{MOST_DEATHS} workers died at it"
            elif status.entry is None:
                self._add(trial)
        return failed_too_often

    def record(
        self, trials: Sequence[Trial], results: Mapping[str, Result]
    ) -> dict[str, TrialStatus]:
        """Note new results, and return the status of every trial in the database, by key.

        Results of running trials are left to their workers. Each trial is enqueued first, so that
        of two workers that note one result the second finds it noted.
        """
        done = {trial.key: trial for trial in trials if trial.key in results}
        statuses = self._statuses()
        new = [
            trial for key, trial in done.items() if statuses.get(key, TrialStatus()).entry is None
        ]
        for trial in new:
            self._add(trial)
        statuses = self._statuses() if new else statuses
        for key in done:
            entry = statuses.get(key, TrialStatus()).entry
            if entry is not None and entry.state is TrialState.WAITING:
                self.finish(self._claim_of(entry), results[key])
        return statuses

    def _add(self, trial: Trial) -> None:
        params = numeric_params(trial)
        host = {name: word for name, word in trial.attrs.items() if isinstance(word, str)}
        self._try(
            lambda: self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=params,
                    user_attrs=host | {"key": trial.key, "name": trial.name},
                    distributions={name: FloatDistribution(-MOST, MOST) for name in params},
                )
            )
        )

    def claim(self, keys: Sequence[str]) -> Claim | None:
        """Claim the first of these trials that waits; None where none does."""
        statuses = self._statuses()
        for key in dict.fromkeys(keys):
            entry = statuses.get(key, TrialStatus()).entry
            if entry is None or entry.state is not TrialState.WAITING:
                continue
            claim = self._claim_of(entry)
            # a heartbeat first: a worker that dies right after its claim is noticed as well
            self._try(lambda id=claim.id: self.storage.record_heartbeat(id))
            with suppress(UpdateFinishedTrialError):
                if self._try(
                    lambda id=claim.id: self.storage.set_trial_state_values(id, TrialState.RUNNING)
                ):
                    self.note(claim, "worker", this_process())
                    return claim
        return None

    @contextmanager
    def heartbeats(self, claim: Claim) -> Iterator[None]:
        """Send heartbeats while inside. A database may be away for a while."""
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(max(0.25, self.heartbeat_timeout_s / 4)):
                try:
                    self.storage.record_heartbeat(claim.id)
                except Exception:  # the database may come back
                    continue
                finally:
                    self.storage.remove_session()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(LEAVING_S)  # it may be waiting for an absent database

    def holds(self, claim: Claim) -> bool:
        """Whether the claim still holds: the worker did not count as dead."""
        trial = self._try(lambda: self.storage.get_trial(claim.id))
        return trial.state is TrialState.RUNNING

    def note(self, claim: Claim, name: str, value: Any) -> None:
        """Attach a value to a trial, for people. UpdateFinishedTrialError: it is finished."""
        self._try(lambda: self.storage.set_trial_user_attr(claim.id, name, value))

    def finish(self, claim: Claim, result: Result) -> bool:
        """Note a result. Returns False, and changes nothing, where the claim was lost or the trial
        finished in the meantime."""
        failed = result.failed is not None
        with suppress(UpdateFinishedTrialError):
            self.note(claim, "result", json.dumps(result.to_dict()))
            if failed:
                self.note(claim, "failed", result.failed)
            state = TrialState.FAIL if failed else TrialState.COMPLETE
            values = None if result.validation_error is None else [result.validation_error]
            return self._try(lambda: self.storage.set_trial_state_values(claim.id, state, values))
        return False

    def release(self, claim: Claim, why: str) -> None:
        """Give a trial back unfinished; this counts as no death. An absent database is not waited
        for: it will notice by the missing heartbeats."""
        with suppress(UpdateFinishedTrialError, StoreError):
            for call in (
                lambda: self.storage.set_trial_user_attr(claim.id, "released", why),
                lambda: self.storage.set_trial_state_values(claim.id, TrialState.FAIL),
            ):
                retry(call, self.url, patience_s=LEAVING_S)

    def release_stale(self, *, blame: bool = False) -> None:
        """Release claims of workers of this machine whose process is gone, without the timeout.

        `blame`: nobody is known to have killed them, so the trial may have.
        """
        host = this_process()["host"]
        for trial in self.trials((TrialState.RUNNING,)):
            worker = trial.user_attrs.get("worker") or {}
            if worker.get("host") != host or _is_running(worker.get("process", 0)):
                continue
            claim = self._claim_of(trial)
            if not blame:
                self.release(claim, WORKER_LOST)
                continue
            with suppress(UpdateFinishedTrialError):
                self._try(
                    lambda id=claim.id: self.storage.set_trial_state_values(id, TrialState.FAIL)
                )

    def results(self, keys: Sequence[str]) -> Iterator[Result]:
        """Yield results that the database has of these trials, such as other machines'."""
        pending = set(keys)
        for entry in self.trials():
            if entry.user_attrs.get("key") in pending and (result := self._result(entry)):
                yield result

    def _statuses(self) -> dict[str, TrialStatus]:
        """The status of every trial, by key."""
        return self._try(lambda: trial_statuses(self.trials(), self._result))

    def _result(self, entry: FrozenTrial) -> Result | None:
        """The result that an entry holds; None where it has none, or a damaged one."""
        text = entry.user_attrs.get("result")
        if text is None:
            return None
        if entry.number not in self._read:
            try:
                decoded = Result.from_dict(json.loads(text))
            except (PhiscaleError, ValueError):
                decoded = None
            if not entry.state.is_finished():
                return decoded
            self._read[entry.number] = decoded
        return self._read[entry.number]

    def _fail_stale(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._try(lambda: optuna.storages.fail_stale_trials(self.study))

    def _claim_of(self, entry: FrozenTrial) -> Claim:
        number = entry.number
        decoded = self._try(
            lambda: self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        )
        return Claim(str(entry.user_attrs.get("key")), number, decoded)

    def _try(self, call: Callable[[], T]) -> T:
        return retry(call, self.url)


def this_process() -> dict[str, Any]:
    """Return this process, and the machine, its boot and its container: where a process number
    means one process."""
    spaces = [Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")]
    host = [socket.gethostname()]
    with suppress(OSError):
        host += [spaces[0].read_text().strip(), str(spaces[1].readlink())]
    return {"host": " ".join(host), "process": os.getpid()}


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
