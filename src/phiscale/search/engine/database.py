"""Databases that hold queues of trials: opening one, waiting for one, and errors in one line each.

Either an SQLite file or a PostgreSQL server, used through Optuna's storage.
"""

from __future__ import annotations

import time
import traceback
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

PATIENCE_S = 60.0  # how long to wait for a locked or absent database
SQLITE_TIMEOUT_S = 10.0  # of that, inside one call of SQLite

T = TypeVar("T")


class StoreError(PhiscaleError):
    """A database cannot be used. Results are safe: they are files."""


class UnreadableEntry(Exception):
    """A value of an entry is not what a worker writes; `retry` reports it as damage."""


class DamagedStore(StoreError):
    """A database is not as it was written."""

    def __init__(self, url: str, what: str):
        self.url, self.what = url, what
        super().__init__(
            f"{redacted_url(url)}: {what}. Move it away and run the same command: it is "
            "filled again from the results."
        )


def sqlite_url(path: Path) -> str:
    """Returns the URL of an SQLite file, whatever its name."""
    return URL.create("sqlite", database=str(path.resolve())).render_as_string()


def open_storage(url: str, heartbeat_timeout_s: float) -> RDBStorage:
    """Opens Optuna's storage at `url`, or create it. MissingExtra: its driver is not installed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # `retry` reports errors in one line
    return retry(lambda: _open(url, heartbeat_timeout_s), url, first=True)


def _open(url: str, heartbeat_timeout_s: float) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    try:
        with warnings.catch_warnings():  # heartbeats are called experimental
            warnings.simplefilter("ignore")
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT_S}} if sqlite else None,
                heartbeat_interval=max(1, int(heartbeat_timeout_s / 4)),
                grace_period=max(1, int(heartbeat_timeout_s)),
            )
    except ImportError:
        raise MissingExtra("storage='postgresql://...'", "psycopg", "postgres") from None
    if sqlite:
        # A read may be outdated when its write follows, so that two workers would claim one
        # trial: every transaction locks the whole database.
        event.listen(storage.engine, "connect", _manual_transactions)
        event.listen(storage.engine, "begin", _begin_immediate)
        storage.engine.dispose()
    return storage


def _manual_transactions(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # `_begin_immediate` begins transactions, not the driver


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def check_integrity(storage: RDBStorage, url: str) -> None:
    """Raises DamagedStore where SQLite finds a fault in its file."""
    if not url.startswith("sqlite"):
        return

    def message() -> str:
        with storage.engine.connect() as connection:
            return str(connection.execute(text("PRAGMA integrity_check(1)")).scalar())

    if (verdict := retry(message, url)) != "ok":
        raise DamagedStore(url, " ".join(verdict.split()))


def move_aside(path: Path) -> Path:
    """Renames a damaged SQLite file and its journal, which would be applied to a new file."""
    aside = path.with_name(f"{path.name}.damaged")
    for end in ("-journal", "-wal", "-shm", ""):
        if (old := path.with_name(path.name + end)).exists():
            old.replace(aside.with_name(aside.name + end))
    return aside


def retry(
    call: Callable[[], T], url: str, *, first: bool = False, patience_s: float = PATIENCE_S
) -> T:
    """Repeats a call while the database is locked or away, for `patience_s`.

    `first`: nobody has reached the database yet, so that an absent one is a mistake in its address.
    StoreError: it stays locked or away. DamagedStore: it cannot be read.
    """
    began, wait = time.monotonic(), 0.05
    while True:
        try:
            return call()
        except (UpdateFinishedTrialError, DuplicatedStudyError):
            raise
        except (StorageInternalError, exc.SQLAlchemyError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            message = " ".join(str(getattr(cause, "orig", None) or error).split()).rstrip(".?")
            kind = _classify(cause, message, url, first)
            if kind == "passing" and time.monotonic() - began < patience_s:
                pass
            elif kind == "damaged":
                raise DamagedStore(url, message) from None
            else:
                raise StoreError(f"{redacted_url(url)}: {message}. {_advice(message)}.") from None
        except (UnreadableEntry, *_UNREADABLE) as error:
            if not (isinstance(error, UnreadableEntry) or _raised_by_storage(error)):
                raise  # a fault of the caller, not of the database
            # its tables cannot be read, or are another version's
            message = " ".join(str(error).split())[:200]
            raise DamagedStore(url, f"it cannot be read: {message}") from None
        time.sleep(wait)
        wait = min(2.0, 2 * wait)


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)
"""What Optuna and SQLAlchemy raise when tables hold what they cannot read."""
_DISK_ERRORS = ("readonly", "unable to open", "disk is full", "disk I/O", "No space left")
_REFUSED = ("authentication", 'FATAL: database "', 'FATAL: role "')
_ABSENT = (
    "Connection refused",
    "could not translate",
    "Name or service",
    "failed to resolve",
    "No such file or directory",
)


def _raised_by_storage(error: BaseException) -> bool:
    """Returns whether an error was raised while Optuna or SQLAlchemy read a database.

    An error of the calling code passes through neither, and one of encoding a value to write comes
    from `json.encoder`: both are programming errors.
    """
    modules = [
        frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    if modules[-1].startswith("json") and modules[-1] != "json.decoder":
        return False
    return any(name.partition(".")[0] in ("optuna", "sqlalchemy") for name in modules)


def _classify(error: BaseException | None, message: str, url: str, first: bool) -> str:
    """Returns whether an error will pass, shows damage, or has a cause outside the database."""
    if any(words in message for words in (*_DISK_ERRORS, *_REFUSED, *(_ABSENT if first else ()))):
        return "outside"
    if isinstance(error, exc.IntegrityError) or "already exists" in message:
        return "passing"  # of two that create one database, the second sees half of the tables
    if url.startswith("sqlite"):
        return "passing" if "locked" in message else "damaged"
    passing = (exc.OperationalError, exc.ProgrammingError, exc.InternalError, exc.InterfaceError)
    return "passing" if isinstance(error, passing) else "outside"


def _advice(message: str) -> str:
    if any(words in message for words in _DISK_ERRORS):
        return "Check its folder, its permissions and the free space"
    return "Check `storage`, and that the server runs"


def redacted_url(url: str) -> str:
    """Returns a URL without its password, for messages."""
    return make_url(url).render_as_string(hide_password=True).replace("+psycopg", "", 1)


def normalized_url(url: str) -> str:
    """Returns the URL with its driver: postgresql:// means psycopg 3 here. UsageError: neither
    PostgreSQL nor SQLite."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise UsageError(
            f"storage={url!r} is no database. Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(
            f"storage={redacted_url(url)!r}: only PostgreSQL and SQLite keep workers apart. "
            "Use postgresql://USER@HOST/NAME or sqlite:///FILE."
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)
