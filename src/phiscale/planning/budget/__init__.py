"""From a budget to networks: every scaling of a base is counted, limits are exact, a law predicts.

solve("efficientnet_b0", Budget(macs=400e6))   the best of all scalings of a base
PlanningTask                                   the images, the device, the law, the coefficients
estimate(network, budget)                      one network, such as one with pretrained weights
solve(..., candidates=[...]), rank             both kinds by the same rules
finalists, explain                             what short runs can separate, and why it won
"""

from phiscale.arch.scaling import effective
from phiscale.planning.budget.candidates import Candidate
from phiscale.planning.budget.estimates import Pretraining, estimate
from phiscale.planning.budget.lattice import (
    LatticeAxes,
    ScalingLattice,
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    pixel_multiples,
    pixel_step,
)
from phiscale.planning.budget.limits import Budget, Limit, budget_of, parse_bytes, parse_count
from phiscale.planning.budget.pareto import undominated
from phiscale.planning.budget.ray import ray
from phiscale.planning.budget.solution import Solution, explain, finalists
from phiscale.planning.budget.solver import NEAR_BEST_ERROR, rank, solve
from phiscale.planning.budget.task import MAX_EPOCHS, PlanningTask, fewest_epochs

__all__ = [
    "MAX_EPOCHS",
    "NEAR_BEST_ERROR",
    "Budget",
    "Candidate",
    "LatticeAxes",
    "Limit",
    "PlanningTask",
    "Pretraining",
    "ScalingLattice",
    "Solution",
    "budget_of",
    "effective",
    "estimate",
    "explain",
    "fewest_epochs",
    "finalists",
    "lattice_depths",
    "lattice_resolutions",
    "lattice_widths",
    "parse_bytes",
    "parse_count",
    "pixel_multiples",
    "pixel_step",
    "rank",
    "ray",
    "solve",
    "undominated",
]
