"""From a budget to networks: every scaling of a base is counted, limits are exact, a law predicts.

solve(spec, Budget(macs=400e6))   the lattice of all scalings of `spec`
weigh(spec, budget, over=base)    one network that exists already, such as a pretrained member
solve(..., beside=[...]), rank    both kinds by the same rules
finalists, explain                what a race may still decide, and why the best one won
"""

from phiscale.budget.candidates import (
    MAX_EPOCHS,
    Candidate,
    fewest_epochs,
    weigh,
)
from phiscale.budget.lattice import lattice_depths, lattice_resolutions, lattice_widths
from phiscale.budget.limits import Budget, Limit, parse_bytes, parse_count
from phiscale.budget.pareto import undominated
from phiscale.budget.solver import Solution, explain, finalists, rank, solve
from phiscale.scaling import effective

__all__ = [
    "MAX_EPOCHS",
    "Budget",
    "Candidate",
    "Limit",
    "Solution",
    "effective",
    "explain",
    "fewest_epochs",
    "finalists",
    "lattice_depths",
    "lattice_resolutions",
    "lattice_widths",
    "parse_bytes",
    "parse_count",
    "rank",
    "solve",
    "undominated",
    "weigh",
]
