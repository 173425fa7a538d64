"""Who trains which trial: Optuna's database holds that, for any number of workers on any number of
machines. It may be lost: results are files, and a new database is filled from them.

A worker that has taken a trial shows signs of life; one that shows none for `lease_s` is taken for
dead and another goes on with its trial. Optuna's own loop is not used, since a worker must not be
given a trial that nobody asked for; its heartbeats and its lock on a trial's state are.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event, exc
from sqlalchemy.engine import make_url

from phiscale.errors import MissingExtra, PhiscaleError, UsageError
from phiscale.search.trial import Result, Trial

LEASE_S = 60.0
MOST_DEATHS = 8  # of workers at one trial: then it is not chance
PATIENCE_S = 60.0  # with a database that is locked or away

ACTIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
T = TypeVar("T")


@dataclass(frozen=True)
class Lease:
    """A trial that is this worker's to train, while it shows signs of life."""

    key: str
    number: int  # of Optuna's trial
    id: int


class Store:
    """Optuna's study of one name in one database."""

    def __init__(self, url: str, name: str, *, lease_s: float = LEASE_S):
        self.url, self.name, self.lease_s = _with_driver(url), name, lease_s
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():  # heartbeats are called experimental
            warnings.simplefilter("ignore")
            self.storage = _patiently(self._open, url)
        self.study = _patiently(self._study, url)
        self.id = self.storage.get_study_id_from_name(name)

    def _open(self) -> RDBStorage:
        sqlite = self.url.startswith("sqlite")
        try:
            storage = RDBStorage(
                self.url,
                engine_kwargs={"connect_args": {"timeout": PATIENCE_S}} if sqlite else None,
                heartbeat_interval=max(1, int(self.lease_s / 4)),
                grace_period=max(1, int(self.lease_s)),
            )
        except ImportError:
            raise MissingExtra("--storage postgresql://...", "psycopg", "postgres") from None
        if sqlite:
            # What is read there may be over when it is written, so that two workers would take one
            # trial: every transaction takes the database as a whole.
            event.listen(storage.engine, "connect", _by_hand)
            event.listen(storage.engine, "begin", _whole)
            storage.engine.dispose()
        return storage

    def _study(self) -> optuna.Study:
        try:
            return optuna.create_study(
                storage=self.storage, study_name=self.name, direction="minimize",
                load_if_exists=True,
            )  # fmt: skip
        except DuplicatedStudyError:
            return optuna.load_study(storage=self.storage, study_name=self.name)

    def about(self, what: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the study is, as its first worker said it; `what` says it if nobody has."""
        known = self._try(lambda: self.study.user_attrs).get("phiscale")
        if known is None and what is not None:
            self._try(lambda: self.study.set_user_attr("phiscale", dict(what)))
            return dict(what)
        return known or {}

    def trials(self, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
        """Optuna's, in the order of their numbers."""
        return self._try(lambda: self.study.get_trials(deepcopy=False, states=states))

    def offer(self, trials: Sequence[Trial], results: Mapping[str, Result]) -> dict[str, str]:
        """Puts up what nobody has taken yet, what is lost anew, and notes results that it does not
        know. Returns the keys of trials whose workers died too often, and a sentence."""
        self._fail_stale()
        active, deaths = set[str](), dict[str, int]()
        complete = set[str]()
        for known in self.trials():
            key = known.user_attrs.get("key", "")
            if known.state in ACTIVE:
                active.add(key)
            elif "released" not in known.user_attrs:
                deaths[key] = deaths.get(key, 0) + 1
            if known.state is TrialState.COMPLETE or "failed" in known.user_attrs:
                complete.add(key)
        hopeless: dict[str, str] = {}
        for trial in trials:
            result = results.get(trial.key)
            if result is not None:
                if trial.key not in complete:
                    self._add(trial, result)
            elif deaths.get(trial.key, 0) >= MOST_DEATHS:
                hopeless[trial.key] = f"{MOST_DEATHS} workers died at it"
            elif trial.key not in active:
                self._add(trial, None)
        return hopeless

    def _add(self, trial: Trial, result: Result | None) -> None:
        params = _params(trial)
        attrs = {"key": trial.key, "name": trial.name}
        state, value = TrialState.WAITING, None
        if result is not None:
            attrs |= _attrs(result)
            state = TrialState.COMPLETE if result.failed is None else TrialState.FAIL
            value = result.validation_error
        self._try(lambda: self.study.add_trial(create_trial(
            state=state, value=value, params=params, user_attrs=attrs,
            distributions={name: FloatDistribution(*_ANY) for name in params},
        )))  # fmt: skip

    def claim(self, keys: Sequence[str]) -> Lease | None:
        """One of the wanted trials that waits, in their order; None where none does."""
        wanted = {key: place for place, key in enumerate(keys)}
        first: dict[str, int] = {}
        waiting: list[tuple[int, FrozenTrial]] = []
        for trial in self.trials(ACTIVE):
            key = trial.user_attrs.get("key", "")
            first.setdefault(key, trial.number)
            if trial.state is TrialState.WAITING and key in wanted:
                waiting.append((wanted[key], trial))
        for _, trial in sorted(waiting, key=lambda pair: (pair[0], pair[1].number)):
            lease = Lease(trial.user_attrs["key"], trial.number, self._id_of(trial.number))
            # a sign of life first: one who dies just after taking a trial is missed as well
            self._try(lambda id=lease.id: self.storage.record_heartbeat(id))
            try:
                mine = self._try(lambda id=lease.id: self.storage.set_trial_state_values(
                    id, TrialState.RUNNING
                ))  # fmt: skip
            except UpdateFinishedTrialError:
                continue
            if not mine:
                continue
            if first[lease.key] < lease.number:  # two workers have put up the same
                self.release(lease, "another entry is of the same trial")
                continue
            self._set(lease, "worker", _here())
            return lease
        return None

    @contextmanager
    def alive(self, lease: Lease) -> Iterator[None]:
        """Signs of life while inside. A database that is away for a while is waited for."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(max(0.25, self.lease_s / 4)):
                try:
                    self.storage.record_heartbeat(lease.id)
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
            thread.join()

    def finish(self, lease: Lease, result: Result) -> None:
        """Notes the result. Nothing happens if another has finished it in the meantime."""
        try:
            for name, value in _attrs(result).items():
                self._set(lease, name, value)
            state = TrialState.COMPLETE if result.failed is None else TrialState.FAIL
            values = None if result.validation_error is None else [result.validation_error]
            self._try(lambda: self.storage.set_trial_state_values(lease.id, state, values))
        except UpdateFinishedTrialError:
            return

    def release(self, lease: Lease, why: str) -> None:
        """Gives a trial back unfinished; this counts as nobody's death."""
        try:
            self._set(lease, "released", why)
            self._try(lambda: self.storage.set_trial_state_values(lease.id, TrialState.FAIL))
        except UpdateFinishedTrialError:
            return

    def release_dead(self) -> None:
        """Of workers of this machine whose process is gone: no need to wait for their lease."""
        host = _here()["host"]
        for trial in self.trials((TrialState.RUNNING,)):
            worker = trial.user_attrs.get("worker") or {}
            if worker.get("host") == host and not _lives(worker.get("process", 0)):
                lease = Lease(trial.user_attrs["key"], trial.number, self._id_of(trial.number))
                self.release(lease, "its worker is gone")

    def results(self, keys: Sequence[str]) -> Iterator[Result]:
        """Those of the wanted trials that the database knows: other machines' files."""
        wanted = set(keys)
        for trial in self.trials():
            text = trial.user_attrs.get("result")
            if text and trial.user_attrs.get("key") in wanted:
                yield Result.from_dict(json.loads(text), f"{self.name}'s trial {trial.number}")

    def _fail_stale(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._try(lambda: optuna.storages.fail_stale_trials(self.study))

    def _id_of(self, number: int) -> int:
        return self._try(
            lambda: self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        )

    def _set(self, lease: Lease, name: str, value: Any) -> None:
        self._try(lambda: self.storage.set_trial_user_attr(lease.id, name, value))

    def _try(self, call: Callable[[], T]) -> T:
        return _patiently(call, self.url)


_ANY = (0.0, 1e12)  # a range for every number that describes a trial


def _params(trial: Trial) -> dict[str, float]:
    """Numbers that Optuna's dashboard plots results against."""
    own = {n: float(v) for n, v in trial.about.items() if isinstance(v, int | float)}
    return {"lr": trial.recipe.optim.lr_peak, **own}


def _attrs(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {"result": json.dumps(result.to_dict())}
    return found | ({"failed": result.failed} if result.failed else {})


def _patiently(call: Callable[[], T], url: str) -> T:
    """Again while a database is locked or away, for a while; then one clear line."""
    began, wait = time.monotonic(), 0.05
    while True:
        try:
            return call()
        except (StorageInternalError, exc.SQLAlchemyError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            said = " ".join(str(getattr(cause, "orig", None) or error).split())
            passing = isinstance(cause, _PASSING)
            hopeless = any(words in said for words in _HOPELESS)
            if hopeless or not passing or time.monotonic() - began > PATIENCE_S:
                raise StoreError(f"{_shown(url)}: {said}. {_mend(said)}") from None
        time.sleep(wait)
        wait = min(2.0, 2 * wait)


class StoreError(PhiscaleError):
    """A database that cannot be used. Results are safe: they are files."""


# of two that make one database, the second finds tables half made
_PASSING = (exc.OperationalError, exc.IntegrityError, exc.ProgrammingError)
_HOPELESS = (
    "malformed", "not a database", "readonly", "unable to open", "disk is full", "disk I/O",
    "authentication", 'FATAL:  database "', 'FATAL:  role "', "Connection refused",
    "could not translate", "Name or service", "failed to resolve",
)  # fmt: skip


def _mend(said: str) -> str:
    if any(words in said for words in ("malformed", "not a database")):
        return "Delete it: it is filled again from the results"
    if any(words in said for words in ("readonly", "unable to open", "full", "I/O")):
        return "Check its folder, its permissions and the free space"
    return "Check --storage, and that the server runs"


def _shown(url: str) -> str:
    """Without the password."""
    return make_url(url).render_as_string(hide_password=True)


def _with_driver(url: str) -> str:
    """postgresql:// means psycopg 3 here, whatever SQLAlchemy's version takes it for."""
    try:
        known = make_url(url)
    except exc.ArgumentError:
        raise UsageError(
            f"--storage {url} is no database. Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        ) from None
    if known.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(
            f"--storage {_shown(url)}: workers are only kept apart in PostgreSQL and SQLite. "
            "Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        )
    if known.drivername == "postgresql":
        known = known.set(drivername="postgresql+psycopg")
    return known.render_as_string(hide_password=False)


def _by_hand(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_whole` says, not on their own


def _whole(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _here() -> dict[str, Any]:
    return {"host": f"{socket.gethostname()} {_boot()}", "process": os.getpid()}


def _boot() -> str:
    """Of this start of the machine, if the system says: process numbers are given out anew."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
