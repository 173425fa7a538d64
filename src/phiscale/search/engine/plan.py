"""What is trained for what: stages of trials, each following from the results of those before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from phiscale.search.engine.trial import Result, Trial

Outcome = TypeVar("Outcome", covariant=True)
Stages = Generator[Sequence[Trial], Mapping[str, Result], Outcome]
"""Yields the trials of a stage, is sent their results by key when all are there; returns what the
whole has come to."""


class Plan(Protocol[Outcome]):
    """What is trained for what. Frozen: workers get copies."""

    @property
    def data(self) -> str:
        """DATA as the user gave it; a worker elsewhere may have it elsewhere."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the pictures."""
        ...

    def stages(self) -> Stages[Outcome]: ...


class Course(Generic[Outcome]):
    """How far a plan has come."""

    def __init__(self, plan: Plan[Outcome]):
        self._stages = plan.stages()
        self.passed: list[Trial] = []  # of the stages that are complete
        self.wanted: Sequence[Trial] = ()
        self.outcome: Outcome | None = None
        self.over = False
        self._go_on(None)

    @property
    def trials(self) -> list[Trial]:
        """All that are known so far."""
        return [*self.passed, *self.wanted]

    def _go_on(self, results: Mapping[str, Result] | None) -> None:
        try:
            self.wanted = next(self._stages) if results is None else self._stages.send(results)
        except StopIteration as end:
            self.wanted, self.outcome, self.over = (), end.value, True

    def follow(self, read: Callable[[Sequence[str]], dict[str, Result]]) -> dict[str, Result]:
        """As far as the results reach. Returns those of the stage that is not complete."""
        while not self.over:
            keys = [trial.key for trial in self.wanted]
            found = read(keys)
            if len(found) < len(set(keys)):
                return found
            self.passed += self.wanted
            self._go_on(found)
        return {}
