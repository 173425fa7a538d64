"""SIGTERM and Ctrl-C end a training after the current step, with a checkpoint.

A second Ctrl-C ends it at once. If a step hangs after SIGTERM, the process exits without saving.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

from phiscale.training.ownership import is_own_process

T = TypeVar("T")

EXIT_AFTER_S = 25.0  # after SIGTERM, saved or not: schedulers send SIGKILL after 30 s


class Interrupted(SystemExit):
    """Raised when a signal ended the work early and everything is saved.

    `status` is the exit status: 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.status, self.message = code, message


class _CallInterrupted(Interrupted):
    """Raised inside the call that `StopSignal.run_interruptibly` makes."""


class StopSignal:
    """Context manager that records SIGTERM or SIGINT, so that the work can end at a good moment.

    `caught` is the number of the signal, or None. Nested ones share it: an inner one starts with
    the signal of the outer one, and passes on what it catches. In a host program (`ownership`) and
    outside the main thread no handler is installed, and `caught` stays None.
    """

    def __init__(self, exit_after_s: float = EXIT_AFTER_S) -> None:
        self.caught: int | None = None
        self.exit_after_s = exit_after_s
        self._interruptible = False
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
        owner = getattr(self.before[signal.SIGTERM], "__self__", None)
        return owner if isinstance(owner, StopSignal) else None

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
            self._watchdog = threading.Timer(self.exit_after_s, _exit_at_once)
            self._watchdog.daemon = True
            self._watchdog.start()
        self.caught = number
        if self._interruptible:
            self._interruptible = False
            raise _CallInterrupted(128 + number, "stopped; run the same command to resume")

    def run_interruptibly(self, work: Callable[[], T]) -> T | None:
        """Calls `work` and returns its result. A signal interrupts the call.

        Returns None if a signal came during the call or before it.
        """
        try:
            self._interruptible = True
            return work() if self.caught is None else None
        except _CallInterrupted:
            return None
        finally:
            self._interruptible = False

    def exit_resumable(self, message: str) -> NoReturn:
        """Raises `Interrupted` with the status of the signal, for a program that can be resumed.

        The signal may have reached another process only; the status is then that of SIGTERM.
        """
        raise Interrupted(128 + (self.caught or signal.SIGTERM), message)


def _exit_at_once() -> None:
    """Ends the process. Files are complete at any time; the work since the last save is lost."""
    os.write(
        2,
        b"phiscale: stopped during a slow operation; "
        b"run the same command to resume from the last checkpoint\n",
    )
    os._exit(128 + signal.SIGTERM)
