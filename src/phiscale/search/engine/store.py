"""Who trains which trial: Optuna's database holds that, for any number of workers on any number of
machines. It may be lost: results are files, and a new database is filled from them.

A worker that has taken a trial shows signs of life; one that shows none for `lease_s` is taken for
dead and another goes on with its trial. Optuna's own loop is not used, since a worker must not be
given a trial that nobody asked for; its heartbeats and its lock on a trial's state are.

Two workers may put up one trial at once. The entry with the lowest number that waits, runs or is
settled is the one that counts; numbers are given out in order, so all workers agree on it.
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
MOST_DEATHS = 8  # of workers at one trial, none further than those before: then it is not chance
LEAVING_S = 3.0  # of patience with a database that should hear that a worker ends

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's to train, while it shows signs of life."""

    key: str
    number: int  # of Optuna's trial
    id: int


class Store:
    """Optuna's study of one name in one database."""

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
        """Lets go of the database until it is used again: a process that is begun must not have
        this one's connection."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def check(self) -> None:
        """DamagedStore where anything in it cannot be read, or is not what was written."""
        check_integrity(self.storage, self.url)
        self._fail_stale()
        self._known()
        self.attrs()
        if not self.url.startswith("sqlite"):
            return  # a server looks after its pages itself
        for entry in self.trials():
            if is_settled(entry):
                result = self._result(entry)
                said = (entry.user_attrs.get("key"), entry.value)
                if result is None or said != (result.key, result.validation_error):
                    raise DamagedStore(self.url, f"trial {entry.number} is not what was written")

    def attrs(self, what: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the study is, as its first worker said it; `what` says it if nobody has."""
        known = self._try(lambda: self.study.user_attrs).get("phiscale")
        if not known and what:
            self._try(lambda: self.study.set_user_attr("phiscale", dict(what)))
            return dict(what)
        return known or {}

    def trials(self, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
        """Optuna's, in the order of their numbers."""
        return self._try(lambda: self.study.get_trials(deepcopy=False, states=states))

    def enqueue(self, trials: Sequence[Trial], results: Mapping[str, Result]) -> dict[str, str]:
        """Puts up what nobody has taken yet, what is lost anew, and notes results that it does not
        know. Returns the keys of trials whose workers died too often, and a sentence."""
        self._fail_stale()
        statuses = self.record(trials, results)
        failed_too_often: dict[str, str] = {}
        for trial in {trial.key: trial for trial in trials}.values():
            what = statuses.get(trial.key, TrialStatus())
            for entry in what.surplus:
                self.release(self._claim_of(entry), "another entry is of the same trial")
            if trial.key in results:
                continue
            if what.entry is None and what.deaths >= MOST_DEATHS:
                failed_too_often[trial.key] = f"{MOST_DEATHS} workers died at it"
            elif what.entry is None:
                self._add(trial)
        return failed_too_often

    def record(
        self, trials: Sequence[Trial], results: Mapping[str, Result]
    ) -> dict[str, TrialStatus]:
        """Notes results that it does not know. One that is being trained is its worker's to note.

        Each is put up first: of two workers that note the same, one finds that it is noted.
        Returns what is known of all trials that it knows."""
        done = {trial.key: trial for trial in trials if trial.key in results}
        statuses = self._known()
        new = [
            trial for key, trial in done.items() if statuses.get(key, TrialStatus()).entry is None
        ]
        for trial in new:
            self._add(trial)
        statuses = self._known() if new else statuses
        for key in done:
            entry = statuses.get(key, TrialStatus()).entry
            if entry is not None and entry.state is TrialState.WAITING:
                self.finish(self._claim_of(entry), results[key])
        return statuses

    def _add(self, trial: Trial) -> None:
        params = numeric_params(trial)
        words = {name: word for name, word in trial.attrs.items() if isinstance(word, str)}
        self._try(
            lambda: self.study.add_trial(
                create_trial(
                    state=TrialState.WAITING,
                    params=params,
                    user_attrs=words | {"key": trial.key, "name": trial.name},
                    distributions={name: FloatDistribution(-MOST, MOST) for name in params},
                )
            )
        )

    def claim(self, keys: Sequence[str]) -> Claim | None:
        """One of the wanted trials that waits, in their order; None where none does."""
        statuses = self._known()
        for key in dict.fromkeys(keys):
            entry = statuses.get(key, TrialStatus()).entry
            if entry is None or entry.state is not TrialState.WAITING:
                continue
            claim = self._claim_of(entry)
            # a sign of life first: one who dies just after taking a trial is missed as well
            self._try(lambda id=claim.id: self.storage.record_heartbeat(id))
            with suppress(UpdateFinishedTrialError):
                if self._try(
                    lambda id=claim.id: self.storage.set_trial_state_values(id, TrialState.RUNNING)
                ):
                    self.note(claim, "worker", _here())
                    return claim
        return None

    @contextmanager
    def alive(self, claim: Claim) -> Iterator[None]:
        """Signs of life while inside. A database that is away for a while is waited for."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(max(0.25, self.heartbeat_timeout_s / 4)):
                try:
                    self.storage.record_heartbeat(claim.id)
                except Exception:  # it may come back; results are files
                    continue
                finally:
                    self.storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(LEAVING_S)  # it may be waiting for a database that is away

    def holds(self, claim: Claim) -> bool:
        """Whether nobody has taken the trial for lost."""
        trial = self._try(lambda: self.storage.get_trial(claim.id))
        return trial.state is TrialState.RUNNING

    def note(self, claim: Claim, name: str, value: Any) -> None:
        """Something about a trial, for whoever looks. UpdateFinishedTrialError: it is over."""
        self._try(lambda: self.storage.set_trial_user_attr(claim.id, name, value))

    def finish(self, claim: Claim, result: Result) -> bool:
        """Notes the result. False, and nothing happens, if it was taken for lost or finished in the
        meantime."""
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
        """Gives a trial back unfinished; this counts as nobody's death. If the database is away, it
        will notice by itself: who leaves does not wait."""
        with suppress(UpdateFinishedTrialError, StoreError):
            for call in (
                lambda: self.storage.set_trial_user_attr(claim.id, "released", why),
                lambda: self.storage.set_trial_state_values(claim.id, TrialState.FAIL),
            ):
                retry(call, self.url, patience_s=LEAVING_S)

    def release_stale(self, *, blame: bool = False) -> None:
        """Of workers of this machine whose process is gone: no need to wait for their lease.
        `blame`: nobody is known to have killed them, so it may be the trial's doing."""
        host = _here()["host"]
        for trial in self.trials((TrialState.RUNNING,)):
            worker = trial.user_attrs.get("worker") or {}
            if worker.get("host") != host or _lives(worker.get("process", 0)):
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
        """Those of the wanted trials that the database knows: other machines' files."""
        wanted = set(keys)
        for entry in self.trials():
            if entry.user_attrs.get("key") in wanted and (result := self._result(entry)):
                yield result

    def _known(self) -> dict[str, TrialStatus]:
        """What the database knows, by key."""
        return self._try(lambda: trial_statuses(self.trials(), self._result))

    def _result(self, entry: FrozenTrial) -> Result | None:
        """What an entry says that came of its trial; None also where that is damaged."""
        text = entry.user_attrs.get("result")
        if text is None:
            return None
        if entry.number not in self._read:
            try:
                found = Result.from_dict(json.loads(text))
            except (PhiscaleError, ValueError):
                found = None
            if not entry.state.is_finished():
                return found
            self._read[entry.number] = found
        return self._read[entry.number]

    def _fail_stale(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._try(lambda: optuna.storages.fail_stale_trials(self.study))

    def _claim_of(self, entry: FrozenTrial) -> Claim:
        number = entry.number
        found = self._try(
            lambda: self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        )
        return Claim(str(entry.user_attrs.get("key")), number, found)

    def _try(self, call: Callable[[], T]) -> T:
        return retry(call, self.url)


def _here() -> dict[str, Any]:
    """Where process numbers are told apart: a start of a machine, or a container on it."""
    spaces = [Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")]
    words = [socket.gethostname()]
    with suppress(OSError):
        words += [spaces[0].read_text().strip(), str(spaces[1].readlink())]
    return {"host": " ".join(words), "process": os.getpid()}


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
