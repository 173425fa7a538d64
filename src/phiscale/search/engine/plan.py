"""What is trained for what: stages of trials, each following from the results of those before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions

Outcome = TypeVar("Outcome", covariant=True)
Stages = Generator[Sequence[Trial], Mapping[str, Result], Outcome]
"""Yields the trials of a stage, is sent their results by key when all are there; returns what the
whole has come to."""


class Plan(Protocol[Outcome]):
    """What is trained for what. Frozen: workers get copies."""

    @property
    def conditions(self) -> TrialConditions:
        """What all trainings have in common."""
        ...

    def stages(self) -> Stages[Outcome]: ...


class PlanProgress(Generic[Outcome]):
    """How far a plan has come."""

    def __init__(self, plan: Plan[Outcome]):
        self._stages = plan.stages()
        self.completed: list[Trial] = []  # of the stages that are complete
        self.pending: Sequence[Trial] = ()
        self.outcome: Outcome | None = None
        self.finished = False
        self._go_on(None)

    @property
    def trials(self) -> list[Trial]:
        """All that are known so far."""
        return [*self.completed, *self.pending]

    def _go_on(self, results: Mapping[str, Result] | None) -> None:
        try:
            self.pending = next(self._stages) if results is None else self._stages.send(results)
        except StopIteration as end:
            self.pending, self.outcome, self.finished = (), end.value, True

    def advance(self, read: Callable[[Sequence[str]], dict[str, Result]]) -> dict[str, Result]:
        """As far as the results reach. Returns those of the stage that is not complete."""
        while not self.finished:
            keys = [trial.key for trial in self.pending]
            found = read(keys)
            if len(found) < len(set(keys)):
                return found
            self.completed += self.pending
            self._go_on(found)
        return {}
