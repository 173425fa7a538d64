"""Signals: SIGTERM and Ctrl-C wait for the end of a step; a second Ctrl-C and a hang do not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

from phiscale.training.ownership import is_own_process

T = TypeVar("T")

LEAVE_S = 25.0  # after SIGTERM, saved or not: schedulers send SIGKILL after 30


class Interrupted(SystemExit):
    """A signal ended the work early; everything is saved. `status` is 143 after SIGTERM, 130 after
    Ctrl-C."""

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.status, self.message = code, message


class _BrokenOff(Interrupted):
    """Breaks off what `StopSignal.unless_caught` was doing."""


class StopSignal:
    """While inside, remembers SIGTERM or SIGINT, so that the work can end at a good moment.

    An inner one starts with the signal that an outer one has caught, and passes on what it catches.
    In a process of a host program (`ownership`) and outside the main thread it installs nothing:
    signals are the host's, and `caught` stays None.
    """

    def __init__(self, leave_s: float = LEAVE_S) -> None:
        self.caught: int | None = None
        self.leave_s = leave_s
        self._breakable = False
        self._watchdog: threading.Timer | None = None

    def __enter__(self) -> StopSignal:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self.active = in_main_thread and is_own_process()
        if self.active:
            self.before = {
                s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)
            }
            if (outer := self._outer()) is not None and outer.caught is not None:
                self.caught = outer.caught
        return self

    def _outer(self) -> StopSignal | None:
        found = getattr(self.before[signal.SIGTERM], "__self__", None)
        return found if isinstance(found, StopSignal) else None

    def __exit__(self, *_: object) -> None:
        if self.active:
            for number, handler in self.before.items():
                signal.signal(number, handler)
            if (outer := self._outer()) is not None and outer.caught is None:
                outer.caught, outer._watchdog = self.caught, self._watchdog
                return
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGTERM and self._watchdog is None:
            self._watchdog = threading.Timer(self.leave_s, _leave_at_once)
            self._watchdog.daemon = True
            self._watchdog.start()
        self.caught = number
        if self._breakable:
            self._breakable = False
            raise _BrokenOff(128 + number, "stopped; run the same command to resume")

    def unless_caught(self, work: Callable[[], T]) -> T | None:
        """Returns what `work` returns, or None where a signal came, which breaks it off."""
        try:
            self._breakable = True
            return work() if self.caught is None else None
        except _BrokenOff:
            return None
        finally:
            self._breakable = False

    def leave(self, message: str) -> NoReturn:
        """Ends the program with the status of the signal that this or another process got."""
        raise Interrupted(128 + (self.caught or signal.SIGTERM), message)


def _leave_at_once() -> None:
    """Ends the process. Files are whole at any time; only the work since the last save is lost."""
    os.write(
        2,
        b"phiscale: stopped during a slow operation; "
        b"run the same command to resume from the last checkpoint\n",
    )
    os._exit(128 + signal.SIGTERM)
