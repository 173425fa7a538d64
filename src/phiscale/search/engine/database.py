"""The database of a study: how it is opened, what is waited for, what ends in one clear line."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from sqlalchemy import event, exc, text
from sqlalchemy.engine import URL, make_url

from phiscale.errors import MissingExtra, PhiscaleError, UsageError

PATIENCE_S = 60.0  # with a database that is locked or away
BUSY_S = 10.0  # of it inside SQLite, at a time

T = TypeVar("T")


class StoreError(PhiscaleError):
    """A database that cannot be used. Results are safe: they are files."""


class DamagedStore(StoreError):
    """A database that is not as it was written."""

    def __init__(self, url: str, what: str):
        super().__init__(
            f"{redacted_url(url)}: {what}. Move it away and run the same command: it is "
            "filled again from the results."
        )


def sqlite_url(path: Path) -> str:
    """Of a file, whatever its name."""
    return URL.create("sqlite", database=str(path.resolve())).render_as_string()


def open_storage(url: str, heartbeat_timeout_s: float) -> RDBStorage:
    """Optuna's storage at `url`, made where there is none. MissingExtra: the driver of it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what fails is said in our words
    return retry(lambda: _open(url, heartbeat_timeout_s), url, first=True)


def _open(url: str, heartbeat_timeout_s: float) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    try:
        with warnings.catch_warnings():  # heartbeats are called experimental
            warnings.simplefilter("ignore")
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": BUSY_S}} if sqlite else None,
                heartbeat_interval=max(1, int(heartbeat_timeout_s / 4)),
                grace_period=max(1, int(heartbeat_timeout_s)),
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


def _by_hand(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_whole` says, not on their own


def _whole(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def check_integrity(storage: RDBStorage, url: str) -> None:
    """DamagedStore where SQLite finds a fault in its file."""
    if not url.startswith("sqlite"):
        return

    def said() -> str:
        with storage.engine.connect() as connection:
            return str(connection.execute(text("PRAGMA integrity_check(1)")).scalar())

    if (found := retry(said, url)) != "ok":
        raise DamagedStore(url, " ".join(found.split()))


def move_aside(path: Path) -> Path:
    """Renames a damaged SQLite file and its journal, which would be played into a new one."""
    aside = path.with_name(f"{path.name}.damaged")
    for end in ("-journal", "-wal", "-shm", ""):
        if (old := path.with_name(path.name + end)).exists():
            old.replace(aside.with_name(aside.name + end))
    return aside


def retry(
    call: Callable[[], T], url: str, *, first: bool = False, patience_s: float | None = None
) -> T:
    """Again while a database is locked or away, for a while; then one clear line. `first`: nobody
    has reached it yet, so that one that is away is a mistake in its address."""
    began, wait = time.monotonic(), 0.05
    patience = PATIENCE_S if patience_s is None else patience_s
    while True:
        try:
            return call()
        except (UpdateFinishedTrialError, DuplicatedStudyError):
            raise
        except (StorageInternalError, exc.SQLAlchemyError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            said = " ".join(str(getattr(cause, "orig", None) or error).split()).rstrip(".?")
            kind = _kind(cause, said, url, first)
            if kind == "passing" and time.monotonic() - began < patience:
                pass
            elif kind == "damaged":
                raise DamagedStore(url, said) from None
            else:
                raise StoreError(f"{redacted_url(url)}: {said}. {_mend(said)}.") from None
        except _UNREADABLE as error:
            # what is in its tables cannot be read, or is another version's
            said = " ".join(str(error).split())[:200]
            raise DamagedStore(url, f"it cannot be read: {said}") from None
        time.sleep(wait)
        wait = min(2.0, 2 * wait)


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)
_OF_THE_DISK = ("readonly", "unable to open", "disk is full", "disk I/O", "No space left")
_REFUSED = ("authentication", 'FATAL: database "', 'FATAL: role "')
_AWAY = (
    "Connection refused",
    "could not translate",
    "Name or service",
    "failed to resolve",
    "No such file or directory",
)


def _kind(error: BaseException | None, said: str, url: str, first: bool) -> str:
    """Whether what a database said passes, is the machine's or the address's, or its own damage."""
    if any(words in said for words in (*_OF_THE_DISK, *_REFUSED, *(_AWAY if first else ()))):
        return "not ours"
    if isinstance(error, exc.IntegrityError) or "already exists" in said:
        return "passing"  # of two that make one database, the second finds tables half made
    if url.startswith("sqlite"):
        return "passing" if "locked" in said else "damaged"
    passing = (exc.OperationalError, exc.ProgrammingError, exc.InternalError, exc.InterfaceError)
    return "passing" if isinstance(error, passing) else "not ours"


def _mend(said: str) -> str:
    if any(words in said for words in _OF_THE_DISK):
        return "Check its folder, its permissions and the free space"
    return "Check --storage, and that the server runs"


def redacted_url(url: str) -> str:
    """Without the password."""
    return make_url(url).render_as_string(hide_password=True).replace("+psycopg", "", 1)


def normalized_url(url: str) -> str:
    """postgresql:// means psycopg 3 here, whatever SQLAlchemy's version takes it for."""
    try:
        known = make_url(url)
    except exc.ArgumentError:
        raise UsageError(
            f"--storage {url} is no database. Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        ) from None
    if known.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(
            f"--storage {redacted_url(url)}: workers are only kept apart in PostgreSQL and SQLite. "
            "Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        )
    if known.drivername == "postgresql":
        known = known.set(drivername="postgresql+psycopg")
    return known.render_as_string(hide_password=False)
