"""A search whose trainings are done: what the sections of its report are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws.posterior import Posterior
from phiscale.search.coefficients.law import MethodResult
from phiscale.search.coefficients.plan import CoefficientSearch, SearchOutcome
from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.result import Result


@dataclass(frozen=True, kw_only=True)
class CompletedSearch:
    """A search, its images, its results and its answers."""

    plan: CoefficientSearch
    outcome: SearchOutcome
    answers: Sequence[Coefficients]  # of each method, in their order
    dataset: DatasetInfo
    trainings: Sequence[Result]  # all that the search made
    interim_looks: Sequence[int]  # with how many seeds its report was read before

    @property
    def lawful(self) -> MethodResult | None:
        """The method that fitted a law, if one did."""
        return next((result for result in self.outcome.searched if result.fit), None)

    @property
    def law(self) -> Posterior | None:
        """The law that was fitted, if one was."""
        return self.lawful.fit if self.lawful else None

    @property
    def cost_name(self) -> str:
        """The cost metric in words."""
        names = {"macs": "MACs", "params": "parameters", "latency-ms": "latency"}
        return names.get(self.plan.cost, self.plan.cost.replace("-", " "))
