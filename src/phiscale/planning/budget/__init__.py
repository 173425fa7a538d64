"""From a budget to networks: every scaling of a base is counted, limits are exact, a law predicts.

solve(spec, Budget(macs=400e6))   the lattice of all scalings of `spec`
solve(..., along=coefficients)    those by alpha^phi, beta^phi, gamma^phi alone
weigh(spec, budget, over=base)    one network that exists already, such as a pretrained member
solve(..., beside=[...]), rank    both kinds by the same rules
finalists, explain                what a race may still decide, and why the best one won
"""

from phiscale.arch.scaling import effective
from phiscale.planning.budget.candidates import MAX_EPOCHS, Candidate, fewest_epochs, weigh
from phiscale.planning.budget.lattice import (
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    ray,
)
from phiscale.planning.budget.limits import Budget, Limit, parse_bytes, parse_count
from phiscale.planning.budget.pareto import undominated
from phiscale.planning.budget.solver import Solution, explain, finalists, rank, solve

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
    "ray",
    "solve",
    "undominated",
    "weigh",
]
