"""The result of `solve`: the best network, the Pareto front, and an explanation."""

from __future__ import annotations

from dataclasses import dataclass

from phiscale.planning.budget.candidates import Candidate, table_row
from phiscale.planning.budget.limits import percent, quantity
from phiscale.planning.coefficients import Coefficients
from phiscale.text import format_table, html_table


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The best network, those that trade its error for less cost, and how clear the choice is."""

    best: Candidate
    pareto: tuple[Candidate, ...]  # none beaten in error and cost at once; best first, thinned
    pareto_total: int  # before thinning
    tied: tuple[Candidate, ...]  # clearly different, within `law_sd` of the best; best first
    considered: int  # networks
    fitting: int  # of them within all limits
    excluded: dict[str, int]  # limit -> networks over it; one network may be over several
    near_best: int  # other networks within 0.1 point of the best
    law_sd: float  # typical error of a predicted difference, a fraction
    law_origin: str = ""  # where predicted errors come from, in words
    coefficients: Coefficients | None = None  # that the scalings were bound to

    def __str__(self) -> str:
        """The Pareto front as a table, then the explanation: what `phiscale solve` prints."""
        rows = [table_row(candidate.to_dict()) for candidate in self.pareto]
        return "\n".join([*format_table(rows), explain(self)])

    def _repr_html_(self) -> str:
        """The Pareto front as a table, for notebooks."""
        latency = self.best.latency_ms is not None
        heads = ["network", "predicted top-1 error", "MACs", "parameters"]
        rows = [_cells(each, latency) for each in self.pareto]
        return html_table([*heads, "latency"] if latency else heads, rows, explain(self))


def finalists(solution: Solution, limit: int = 3) -> tuple[Candidate, ...]:
    """The best network and those statistically tied with it: short runs can separate them."""
    return (solution.best, *solution.tied)[:limit]


def explain(solution: Solution) -> str:
    """Why the best network is the best, in one line of a few sentences."""
    best, sd = solution.best, f"{100 * solution.law_sd:.1f}"
    costs = [quantity("macs", best.cost.macs), quantity("params", best.cost.params)]
    if best.latency_ms is not None:
        costs.append(quantity("latency_ms", best.latency_ms))
    if best.epochs is not None:
        costs.append(f"{best.epochs:.3g} epochs")
    origin = f" ({solution.law_origin})" if solution.law_origin else ""
    if best.probe_error is not None:
        origin = f" (after fine-tuning; its linear probe has {percent(best.probe_error)}, measured)"
    text = (
        f"{best.name} ({', '.join(costs)}): predicted top-1 error {percent(best.shown_error)}"
        f"{origin}, the least of {solution.fitting:,} networks within all limits. "
        f"Typical error of a predicted difference: {sd} points."
    )
    if over := [f"by {limit}: {count:,}" for limit, count in solution.excluded.items() if count]:
        text += f" Of {solution.considered:,} networks, excluded {', '.join(over)}."
    if solution.coefficients:
        text += f" All lie on the ray of the coefficients {solution.coefficients.summary()}."
    if solution.near_best:
        text += f" Other networks within 0.1 point: {solution.near_best:,}."
    if tied := [each.name for each in finalists(solution)[1:]]:
        text += f" Statistically tied with {' and '.join(tied)}; short runs can separate them."
    return text


def _cells(candidate: Candidate, latency: bool) -> list[str]:
    cells = [
        candidate.name,
        percent(candidate.shown_error),
        quantity("macs", candidate.cost.macs),
        quantity("params", candidate.cost.params),
    ]
    if latency:
        time = candidate.latency_ms
        cells.append("-" if time is None else quantity("latency_ms", time))
    return cells
