"""A plan: stages of trials. Each stage follows from the results of the stages before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from phiscale.search.engine.result import Result
from phiscale.search.engine.trial import Trial, TrialConditions

Outcome = TypeVar("Outcome", covariant=True)
Stages = Generator[Sequence[Trial], Mapping[str, Result], Outcome]
"""Yields the trials of a stage and receives their results by key; returns the outcome of all."""


class Plan(Protocol[Outcome]):
    """Decides what is trained. Frozen: workers get copies."""

    @property
    def conditions(self) -> TrialConditions:
        """What all trainings have in common."""
        ...

    def stages(self) -> Stages[Outcome]:
        """Starts the generator of stages; a pure function of the results it receives."""
        ...


class PlanProgress(Generic[Outcome]):
    """How far a plan has come, given the results so far."""

    def __init__(self, plan: Plan[Outcome]):
        self._stages = plan.stages()
        self.completed: list[Trial] = []  # trials of complete stages
        self.stage_trials: Sequence[Trial] = ()  # all of the first incomplete stage
        self.outcome: Outcome | None = None
        self.finished = False
        self._next_stage(None)

    @property
    def trials(self) -> list[Trial]:
        """All trials so far."""
        return [*self.completed, *self.stage_trials]

    def _next_stage(self, results: Mapping[str, Result] | None) -> None:
        try:
            self.stage_trials = (
                next(self._stages) if results is None else self._stages.send(results)
            )
        except StopIteration as end:
            self.stage_trials, self.outcome, self.finished = (), end.value, True

    def advance(self, read: Callable[[Sequence[str]], dict[str, Result]]) -> dict[str, Result]:
        """Advances as far as the results reach. Returns those of the first incomplete stage."""
        while not self.finished:
            keys = [trial.key for trial in self.stage_trials]
            results = read(keys)
            if len(results) < len(set(keys)):
                return results
            self.completed += self.stage_trials
            self._next_stage(results)
        return {}
