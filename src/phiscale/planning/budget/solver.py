"""Selects the network of least predicted error within all limits, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, cast

from phiscale.arch.families import as_spec
from phiscale.arch.spec import Spec
from phiscale.errors import BudgetError, UsageError
from phiscale.planning.budget.arrays import (
    CandidateArrays,
    candidate_arrays,
    lattice_arrays,
    merge,
    ray_arrays,
)
from phiscale.planning.budget.candidates import Candidate
from phiscale.planning.budget.estimates import Estimator
from phiscale.planning.budget.lattice import ALL_AXES, LatticeAxes
from phiscale.planning.budget.limits import Budget, quantity, shorten, sufficient
from phiscale.planning.budget.pareto import undominated
from phiscale.planning.budget.solution import Solution
from phiscale.planning.budget.task import DEFAULT_TASK, PlanningTask
from phiscale.planning.priors import origin_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

NEAR_BEST_ERROR = 0.001  # a network within 0.1 point of the best is as good
MIN_LOG_DISTANCE = math.log(1.2)  # tied networks differ by a fifth in a multiplier
MAX_TIED = 4
PARETO_SHOWN = 20


def solve(
    base: Spec | str,
    budget: Budget | None = None,
    *,
    task: PlanningTask = DEFAULT_TASK,
    name: str | None = None,
    axes: LatticeAxes = ALL_AXES,
    family_offset: float = 0.0,
    candidates: Iterable[Candidate] = (),
) -> Solution:
    """Finds the scaling of `base` with the least predicted error within `budget`.

    `base`: a spec, a model's name, a spec.json or file.py:NAME. `task`: the images, the device and
    the law. `name`: what messages call the base. `axes`: the multipliers to try; those of
    `task.coefficients` have precedence. `family_offset`: extra error of these networks compared
    with `task.law_base` at the same scaling, such as 0.016 for EfficientNet-Lite. `candidates`:
    networks from `estimate`, which compete under the same rules.

    Raises BudgetError where no network fits, UsageError where the task lacks something, SpecError
    for a text that names no network.
    """
    if not isinstance(cast("object", budget), Budget | None):
        raise UsageError(f"budget={budget!r} is no Budget. Write phiscale.Budget(macs=400e6).")
    name = name or (base if isinstance(base, str) else "this network")
    spec = as_spec(base)
    budget = budget or Budget()
    estimator = Estimator.of(spec, budget, task, family_offset=family_offset)
    if task.coefficients is None:
        arrays = lattice_arrays(estimator, spec, axes)
    else:
        arrays = ray_arrays(estimator, spec, task.coefficients)
        name = f"{name} by these coefficients"
    others = candidate_arrays(candidates, budget.limits)
    arrays = merge([arrays, others]) if others else arrays
    solution = _select(arrays, budget.limits, estimator.law.sd, f"scaling of {name}")
    return replace(solution, coefficients=task.coefficients, law_origin=origin_of(estimator.law))


def rank(candidates: Iterable[Candidate], *, sd: float, law_origin: str = "") -> Solution:
    """Selects among some candidates as `solve` does.

    `sd` and `law_origin`: of the law that estimated them. Raises UsageError for no candidates and
    for candidates that were estimated for different budgets.
    """
    rows = list(candidates)
    allowed = rows[0].allowed if rows else {}
    arrays = candidate_arrays(rows, allowed)
    if arrays is None:
        raise UsageError("there are no candidates. Name at least one.")
    return replace(_select(arrays, allowed, sd, "candidate"), law_origin=law_origin)


def _select(arrays: CandidateArrays, limits: Mapping[str, float], sd: float, kind: str) -> Solution:
    """`kind`: what the networks are, for a message."""
    import numpy as np

    over = {limit: arrays.values[limit] > allowed for limit, allowed in limits.items()}
    excluded = np.logical_or.reduce([np.zeros(len(arrays.error), dtype=bool), *over.values()])
    if excluded.all():
        raise BudgetError(_no_network(arrays, limits, kind))
    fitting = np.flatnonzero(~excluded)
    error = arrays.error[fitting]
    best = _least(arrays, fitting)
    costs = [arrays.macs, arrays.params, *([] if arrays.latency is None else [arrays.latency])]
    front = fitting[undominated(np.stack([error, *(each[fitting] for each in costs)], axis=1))]
    by_latency = arrays.latency is not None and "latency_ms" in limits
    shown = _thin(front, arrays.latency if by_latency else arrays.macs)
    return Solution(
        best=arrays.candidate(best),
        pareto=tuple(arrays.candidate(number) for number in shown),
        pareto_total=len(front),
        tied=tuple(arrays.candidate(number) for number in _tied(arrays, fitting, best, sd)),
        considered=len(arrays.error),
        fitting=len(fitting),
        excluded={limit: int(broken.sum()) for limit, broken in over.items()},
        near_best=int((error <= arrays.error[best] + NEAR_BEST_ERROR).sum()) - 1,
        law_sd=sd,
    )


def _least(arrays: CandidateArrays, places: Places) -> int:
    """The place of the least error; among equal ones, of the fewest MACs, then parameters."""
    import numpy as np

    error = arrays.error[places]
    equal = places[error == error.min()]
    return int(equal[np.lexsort((arrays.params[equal], arrays.macs[equal]))[0]])


def _tied(arrays: CandidateArrays, fitting: Places, best: int, sd: float) -> list[int]:
    """Networks within `sd` of the best, each clearly different from the best and the others."""
    import numpy as np

    tied: list[int] = []
    rest = fitting[arrays.error[fitting] <= arrays.error[best] + sd]
    while len(tied) < MAX_TIED:
        last = tied[-1] if tied else best
        distance = np.abs(arrays.logs[:, rest] - arrays.logs[:, last, None]).max(axis=0)
        other_start = arrays.pretrained[rest] != arrays.pretrained[last]
        rest = rest[(distance > MIN_LOG_DISTANCE) | other_start]
        if not len(rest):
            break
        tied.append(_least(arrays, rest))
    return tied


def _thin(front: Places, cost: Floats | None) -> list[int]:
    """At most `PARETO_SHOWN`, best first: the least error in each equal step of the log cost."""
    import numpy as np

    if len(front) <= PARETO_SHOWN or cost is None:
        return [int(number) for number in front]
    logs = np.log(cost[front])
    steps = np.clip((logs - logs.min()) / (np.ptp(logs) or 1) * PARETO_SHOWN, 0, PARETO_SHOWN - 1)
    _, first = np.unique(steps.astype(int), return_index=True)  # the front is sorted by error
    return [int(front[place]) for place in sorted({0, *map(int, first)})][:PARETO_SHOWN]


def _no_network(arrays: CandidateArrays, limits: Mapping[str, float], kind: str) -> str:
    """Names the fewest limits that exclude all networks, and the network nearest to all limits."""
    import numpy as np

    impossible = next(
        names
        for size in range(1, len(limits) + 1)
        for names in combinations(limits, size)
        if np.logical_or.reduce([arrays.values[name] > limits[name] for name in names]).all()
    )
    excess = np.max([arrays.values[name] / limits[name] for name in limits], axis=0)
    nearest = arrays.candidate(int(excess.argmin()))
    exceeded = [limit for limit in nearest.limits if not limit.met]
    wanted = " and ".join(f"{name} <= {shorten(name, limits[name])}" for name in impossible)
    needs = " and ".join(quantity(limit.name, limit.value) for limit in exceeded)
    if any(limit.name == "train_minutes" for limit in exceeded):
        needs += " for the fewest useful epochs"
    raised = " and ".join(f"`{limit.name}` to {sufficient(limit)}" for limit in exceeded)
    together = " together" if len(impossible) > 1 else ""
    which = "smallest" if len(exceeded) == 1 else "nearest"
    return (
        f"no {kind} has {wanted}{together}: the {which} network needs {needs} ({nearest.name}). "
        f"Raise {raised}."
    )
