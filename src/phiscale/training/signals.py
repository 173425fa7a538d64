"""SIGTERM and Ctrl-C wait for the end of a step; a second Ctrl-C does not, nor does what hangs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")

LEAVE_S = 25.0  # after SIGTERM, saved or not: what started us kills after 30


class Interrupted(SystemExit):
    """Left early, everything saved. `code` is 143 after SIGTERM, 130 after Ctrl-C."""

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.status, self.message = code, message


class _GivenUp(Interrupted):
    """What `StopSignal.unless_caught` was doing."""


class StopSignal:
    """While inside, remembers a signal instead of dying of it. One inside another hears what that
    has heard, and tells it what came meanwhile."""

    def __init__(self, leave_s: float = LEAVE_S) -> None:
        self.caught: int | None = None
        self.leave_s = leave_s
        self._breakable = False
        self._watchdog: threading.Timer | None = None

    def __enter__(self) -> StopSignal:
        self.active = threading.current_thread() is threading.main_thread()
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
            raise _GivenUp(128 + number, "stopped; run the same command to go on")

    def unless_caught(self, work: Callable[[], T]) -> T | None:
        """What `work` returns, or None where a signal came: it is given up half-way then."""
        try:
            self._breakable = True
            return work() if self.caught is None else None
        except _GivenUp:
            return None
        finally:
            self._breakable = False

    def leave(self, message: str) -> NoReturn:
        """Ends the program as the signal asked, or as the one that another process got."""
        raise Interrupted(128 + (self.caught or signal.SIGTERM), message)


def _leave_at_once() -> None:
    """What is on the disk is whole at any time; only the work since the last save is lost."""
    os.write(
        2,
        b"phiscale: stopped in the midst of something slow; "
        b"run the same command to go on from the last save\n",
    )
    os._exit(128 + signal.SIGTERM)
