"""SIGTERM and Ctrl-C wait for the end of a step; a second Ctrl-C does not."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupted(SystemExit):
    """Left early, everything saved. `code` is 143 after SIGTERM, 130 after Ctrl-C."""

    def __init__(self, code: int, message: str):
        super().__init__(code)
        self.status, self.message = code, message


class StopSignal:
    """While inside, remembers a signal instead of dying of it."""

    def __init__(self) -> None:
        self.caught: int | None = None

    def __enter__(self) -> StopSignal:
        self.active = threading.current_thread() is threading.main_thread()
        if self.active:
            self.before = {
                s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = number

    def leave(self, message: str) -> None:
        """Ends the program as the signal asked, or as the one that another process got."""
        raise Interrupted(128 + (self.caught or signal.SIGTERM), message)
