"""Everything that phiscale raises on purpose.

The first sentence says what is wrong, the second what to type.

PhiscaleError
├── UsageError        the command line or arguments contradict each other or themselves (exit 2)
├── SpecError         a network that cannot be built
├── BudgetError       limits that no network meets
├── DataError         images or folders that cannot be used
│   └── BadImage      one image that cannot be read
├── CheckpointError   a run that cannot be resumed
├── TrainingError     a training that cannot go on (a loss that is not a number, ...)
├── WeightsError      a weights file that does not fit or cannot be trusted
├── ExportError       an artefact that differs from its network
└── MissingExtra      an optional dependency that is not installed
"""

from __future__ import annotations


class PhiscaleError(Exception):
    """A mistake that the reader of the message can mend. Shown without a traceback, exit 1."""


class UsageError(PhiscaleError):
    """Arguments that contradict each other or themselves. Exit 2."""


class SpecError(PhiscaleError, ValueError):
    """A spec that no network can be built from. The message says what to change."""


class BudgetError(PhiscaleError):
    """Limits that no network meets. The message names the limit and the nearest network."""


class DataError(PhiscaleError):
    """A data set that cannot be used. The message names the folder or file."""


class BadImage(DataError):
    """One image that cannot be read. `reason` is short and stands beside the file's name."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class CheckpointError(PhiscaleError):
    """A run folder that cannot be resumed as asked."""


class TrainingError(PhiscaleError):
    """A training that cannot go on."""


class WeightsError(PhiscaleError):
    """A weights file that does not fit its network, or that cannot be trusted."""


class ExportError(PhiscaleError):
    """An exported artefact whose answers differ from its network's."""


class MissingExtra(PhiscaleError):
    """An optional dependency that is not installed; the message is the pip line."""

    def __init__(self, verb: str, package: str, extra: str):
        super().__init__(f"{verb} needs {package}. pip install 'phiscale[{extra}]'")


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own, or torch's, which is a RuntimeError like others."""
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
