"""Callbacks of a training, and the progress that they receive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from phiscale.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a training after a step or an evaluation."""

    images_seen: int
    total: int  # images of the whole training
    loss: float
    images_per_s: float
    validation_top1: float | None = None  # of the EMA weights; None after a step
    raw_top1: float | None = None  # of the raw weights; None after a step
    learning_rate: float = 0.0
    wait_share: float = 0.0  # data wait, as a share of the time
    memory_bytes: int = 0  # peak of this process so far


@runtime_checkable
class Callback(Protocol):
    """Receives the progress of a training. A subclass overrides what it needs.

    The methods run in the thread that trains, in the process of rank 0 only. An exception raised
    by one ends the training; the last checkpoint stays, so that the training can be resumed.
    """

    def on_step(self, progress: Progress) -> None:
        """Is called after every update of the weights."""

    def on_evaluation(self, progress: Progress) -> None:
        """Is called after every evaluation on the validation split."""


AnyCallback = Callback | Callable[[Progress], None]
"""A `Callback`, or a plain function, which is called as `on_step`."""


class _OnStep(Callback):
    """A plain function as a `Callback`."""

    def __init__(self, function: Callable[[Progress], None]):
        self.function = function

    def on_step(self, progress: Progress) -> None:
        self.function(progress)


def check_callbacks(callbacks: object) -> None:
    """Raises UsageError unless these are several callbacks."""
    if not isinstance(callbacks, Sequence) or not all(map(callable_or_callback, callbacks)):
        raise UsageError(
            "`callbacks` is a list of functions or `phiscale.Callback`s. Write callbacks=[print]."
        )


def callable_or_callback(value: object) -> bool:
    """Tells whether a value can receive the progress of a training."""
    return callable(value) or isinstance(value, Callback)


def as_callbacks(callbacks: Sequence[AnyCallback]) -> list[Callback]:
    """Wraps plain functions, so that all have both methods."""
    return [c if isinstance(c, Callback) else _OnStep(c) for c in callbacks]
