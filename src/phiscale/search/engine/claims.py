"""Claims of trials: which worker trains which, shown by heartbeats.

A worker that has claimed a trial sends heartbeats. After `heartbeat_timeout_s` without one it
counts as dead, and another worker may claim the trial. A claim is known by the ids of its entry.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from phiscale.search.engine.database import StoreError
from phiscale.search.engine.entries import WORKER_LOST
from phiscale.search.engine.study_database import EntryIds, StudyDatabase

EXIT_TIMEOUT_S = 3.0  # how long a worker that ends waits for the database


class Claims:
    """Claims in the database of one study."""

    def __init__(self, database: StudyDatabase):
        self.database = database

    def claim(self, entry: FrozenTrial) -> EntryIds | None:
        """Claims an entry that waits; None where another worker was faster."""
        claim, storage = self.database.entry_ids(entry), self.database.storage
        # a heartbeat first: a worker that dies right after its claim is noticed as well
        self.database.call(lambda: storage.record_heartbeat(claim.id))
        with suppress(UpdateFinishedTrialError):
            if self.database.set_state(claim.id, TrialState.RUNNING):
                self.set_attr(claim, "worker", this_process())
                return claim
        return None

    @contextmanager
    def heartbeats(self, claim: EntryIds) -> Iterator[None]:
        """Sends heartbeats while inside. A database may be away for a while."""
        storage, ended = self.database.storage, threading.Event()

        def send() -> None:
            while not ended.wait(max(0.25, self.database.heartbeat_timeout_s / 4)):
                try:
                    storage.record_heartbeat(claim.id)
                except Exception:  # the database may come back
                    continue
                finally:
                    storage.remove_session()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(EXIT_TIMEOUT_S)  # it may be waiting for an absent database

    def holds(self, claim: EntryIds) -> bool:
        """Returns whether the claim still holds: its worker has not been counted as dead."""
        entry = self.database.call(lambda: self.database.storage.get_trial(claim.id))
        return entry.state is TrialState.RUNNING

    def set_attr(self, entry: EntryIds, name: str, value: Any) -> None:
        """Sets a `user_attr` of an entry. UpdateFinishedTrialError: it is finished."""
        storage = self.database.storage
        self.database.call(lambda: storage.set_trial_user_attr(entry.id, name, value))

    def release(self, entry: EntryIds, why: str) -> None:
        """Ends an entry, claimed or waiting, without a result; this counts as no failed attempt.

        An absent database is not waited for: it will notice by the missing heartbeats.
        """
        storage = self.database.storage
        with suppress(UpdateFinishedTrialError, StoreError):
            for call in (
                lambda: storage.set_trial_user_attr(entry.id, "released", why),
                lambda: storage.set_trial_state_values(entry.id, TrialState.FAIL),
            ):
                self.database.call(call, patience_s=EXIT_TIMEOUT_S)

    def release_ended_processes(self, *, blame: bool = False) -> None:
        """Releases claims whose worker was a process of this machine that has ended.

        Nobody has to wait for its heartbeat timeout. `blame`: nobody is known to have killed it, so
        the trial may have; it counts as a failed attempt.
        """
        host = this_process()["host"]
        for entry in self.database.entries((TrialState.RUNNING,)):
            worker = entry.user_attrs.get("worker") or {}
            if worker.get("host") != host or _is_running(worker.get("process", 0)):
                continue
            claim = self.database.entry_ids(entry)
            if not blame:
                self.release(claim, WORKER_LOST)
                continue
            with suppress(UpdateFinishedTrialError):
                self.database.set_state(claim.id, TrialState.FAIL)


def this_process() -> dict[str, Any]:
    """Returns the number of this process, and where it means one process: the machine, its boot and
    its container."""
    boot, container = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    host = [socket.gethostname()]
    with suppress(OSError):
        host += [boot.read_text().strip(), str(container.readlink())]
    return {"host": " ".join(host), "process": os.getpid()}


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
