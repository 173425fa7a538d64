"""The choice: the least predicted error of what fits, the Pareto list, and words for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from phiscale.arch.spec import Spec
from phiscale.errors import BudgetError, UsageError
from phiscale.planning.budget.candidates import MAX_EPOCHS, MIN_EPOCHS, Candidate, plan_for
from phiscale.planning.budget.limits import FLAGS, Budget, enough, percent, quantity, typed
from phiscale.planning.budget.pareto import undominated
from phiscale.planning.budget.pools import Pool, allowed_of, given_pools, lattice_pool, ray_pool
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw

INDIFFERENT = 0.001  # of error: 0.1 point
CLEARLY_DIFFERENT = math.log(1.2)  # by a fifth in depth, width or resolution
PARETO_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The best network, those that trade its error for less cost, and how clear the choice is."""

    best: Candidate
    pareto: tuple[Candidate, ...]  # none beaten in error and cost at once; best first, thinned
    pareto_total: int  # before thinning
    rivals: tuple[Candidate, ...]  # clearly different, within `sd` of the best; best first
    considered: int
    fitting: int
    ruled_out: dict[str, int]  # limit -> networks over it; one network may be over several
    indifferent: int  # others within 0.1 point of the best
    sd: float  # of the law
    along: Coefficients | None = None  # what the scalings were bound to


def solve(
    spec: Spec,
    budget: Budget | None = None,
    *,
    name: str = "this network",
    law: ErrorLaw | None = None,
    device: DeviceModel | None = None,
    train_images: int | None = None,
    native_pixels: int | None = None,
    batch: int | None = None,
    depths: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    resolutions: Sequence[int] | None = None,
    min_epochs: float = MIN_EPOCHS,
    max_epochs: float = MAX_EPOCHS,
    along: Coefficients | None = None,
    over: Spec | None = None,
    handicap: float = 0.0,
    beside: Iterable[Candidate] = (),
) -> Solution:
    """The scaling of `spec` with the least predicted error within `budget`.

    `law`: that of `along`, if it is over `over`, else the prior (`priors.law_for`), with its images
    term as soon as `train_images` are known.
    `train_images`: of one epoch; then training lasts `max_epochs` or what `train_minutes` allow.
    `native_pixels`: of the images; more than that are not tried and predict no gain. If None, those
    of `over` where that is made for small pictures: nothing is known of it beyond them.
    `batch`: of training memory; the device model's, else 64.
    `depths`, `widths`, `resolutions`: the lattice, instead of the default one.
    `along`: only the scalings by these coefficients compete, instead of the lattice.
    `over`: the network that multipliers are counted over; `spec` itself.
    `handicap`: error that these networks have more than those of `over` at the same scaling.
    `beside`: candidates of `weigh`, which compete under the same rules.
    """
    if law is None and along is not None:
        law = along.law_over(over or spec)
    plan = plan_for(
        budget,
        law,
        device,
        train_images,
        native_pixels,
        batch,
        min_epochs,
        max_epochs,
        over or spec,
        handicap=handicap,
    )
    if along is None:
        pool = lattice_pool(plan, spec, depths, widths, resolutions)
    else:
        pool = ray_pool(plan, spec, along)
        name = f"{name} by these coefficients"
    found = _choose(
        [pool, *given_pools(beside, plan.budget.limits)],
        plan.budget.limits,
        plan.law.sd,
        f"scaling of {name}",
    )
    return replace(found, along=along)


def rank(candidates: Iterable[Candidate], *, sd: float) -> Solution:
    """`solve`'s choice among given networks; `sd` is that of the law that weighed them."""
    given = list(candidates)
    if not given:
        raise UsageError("there is no network to choose from. Name at least one candidate.")
    allowed = allowed_of(given[0])
    return _choose(given_pools(given, allowed), allowed, sd, "candidate")


def finalists(solution: Solution, limit: int = 3) -> tuple[Candidate, ...]:
    """The best and the clearly different networks that the law cannot tell from it: for a race."""
    return (solution.best, *solution.rivals)[:limit]


def explain(solution: Solution) -> str:
    """Why that one, in a line or two."""
    best, sd = solution.best, f"{100 * solution.sd:.1f}"
    costs = [quantity("macs", best.cost.macs), quantity("params", best.cost.params)]
    if best.latency_ms is not None:
        costs.append(quantity("latency_ms", best.latency_ms))
    if best.epochs is not None:
        costs.append(f"{best.epochs:.3g} epochs")
    text = (
        f"{best.name}: the least predicted error of {solution.fitting:,} networks that fit "
        f"({', '.join(costs)}): {percent(best.error)}, a prior; ± {sd} points between networks."
    )
    if over := [f"{limit} {count:,}" for limit, count in solution.ruled_out.items() if count]:
        text += f" Of {solution.considered:,}, ruled out by {', '.join(over)}."
    if solution.along:
        text += f" All lie on the ray of the coefficients {solution.along.words()}."
    if solution.indifferent:
        text += f" Others within 0.1 point: {solution.indifferent:,}."
    if rivals := [rival.name for rival in finalists(solution)[1:]]:
        text += f" The law cannot tell it from {' or '.join(rivals)}: a race can."
    return text


def _choose(pools: Sequence[Pool], limits: Mapping[str, float], sd: float, of: str) -> Solution:
    import numpy as np

    starts = np.cumsum([0, *(len(pool.error) for pool in pools)])

    def make(index: int) -> Candidate:
        number = int(np.searchsorted(starts, index, side="right")) - 1
        return pools[number].make(int(index - starts[number]))

    values = {limit: np.concatenate([pool.values[limit] for pool in pools]) for limit in limits}
    over = {limit: taken > limits[limit] for limit, taken in values.items()}
    fits = ~np.logical_or.reduce([np.zeros(starts[-1], dtype=bool), *over.values()])
    if not fits.any():
        raise BudgetError(_infeasible(values, limits, make, of))
    chosen = fits.nonzero()[0]
    error = np.concatenate([pool.error for pool in pools])[chosen]
    macs, params = (np.concatenate([pool.costs[i] for pool in pools])[chosen] for i in (0, 1))
    latencies = [pool.latency for pool in pools if pool.latency is not None]
    timed = [np.concatenate(latencies)[chosen]] if len(latencies) == len(pools) else []
    place = np.concatenate([pool.place for pool in pools], axis=1)[:, chosen]
    pretrained = np.concatenate(
        [np.broadcast_to(pool.pretrained, pool.error.shape) for pool in pools]
    )[chosen]

    def least(among: Any) -> int:
        """Of these, the one with the least error; then the fewest MACs, then parameters."""
        equal = among[error[among] == error[among].min()]
        return int(equal[np.lexsort((params[equal], macs[equal]))[0]])

    best = least(np.arange(len(error)))
    rivals: list[int] = []
    rest = (error <= error[best] + sd).nonzero()[0]
    while len(rivals) < 4:
        last = rivals[-1] if rivals else best
        far = np.abs(place[:, rest] - place[:, last, None]).max(axis=0) > CLEARLY_DIFFERENT
        rest = rest[far | (pretrained[rest] != pretrained[last])]
        if not len(rest):
            break
        rivals.append(least(rest))
    front = undominated(np.stack([error, macs, params, *timed], axis=1))
    shown = _thinned(front, timed[0] if timed and "latency_ms" in limits else macs)
    return Solution(
        best=make(chosen[best]),
        pareto=tuple(make(chosen[index]) for index in shown),
        pareto_total=len(front),
        rivals=tuple(make(chosen[index]) for index in rivals),
        considered=int(starts[-1]),
        fitting=len(chosen),
        ruled_out={limit: int(broken.sum()) for limit, broken in over.items()},
        indifferent=int((error <= error[best] + INDIFFERENT).sum()) - 1,
        sd=sd,
    )


def _thinned(front: Any, axis: Any) -> list[int]:
    """At most `PARETO_SHOWN`, best first: the least error in each equal step of the log cost."""
    import numpy as np

    if len(front) <= PARETO_SHOWN:
        return [int(index) for index in front]
    logs = np.log(axis[front])
    steps = np.clip((logs - logs.min()) / (np.ptp(logs) or 1) * PARETO_SHOWN, 0, PARETO_SHOWN - 1)
    _, first = np.unique(steps.astype(int), return_index=True)  # the front is sorted by error
    return [int(front[index]) for index in sorted({0, *first})][:PARETO_SHOWN]


def _infeasible(
    values: Mapping[str, Any],
    limits: Mapping[str, float],
    make: Callable[[int], Candidate],
    of: str,
) -> str:
    import numpy as np

    culprits = next(
        names
        for size in range(1, len(limits) + 1)
        for names in combinations(limits, size)
        if np.logical_or.reduce([values[each] > limits[each] for each in names]).all()
    )
    excess = np.max([values[each] / limits[each] for each in limits], axis=0)
    nearest = make(int(excess.argmin()))
    broken = [limit for limit in nearest.limits if not limit.met]
    wanted = " and ".join(f"{each} <= {typed(each, limits[each])}" for each in culprits)
    takes = " and ".join(quantity(limit.name, limit.value) for limit in broken)
    if any(limit.name == "train_minutes" for limit in broken):
        takes += " for the fewest epochs worth it"
    raised = " and ".join(f"{FLAGS[each.name]} to {enough(each)}" for each in broken)
    together = " together" if len(culprits) > 1 else ""
    kind = "smallest" if len(broken) == 1 else "nearest"
    return (
        f"no {of} has {wanted}{together}: the {kind} network takes {takes} ({nearest.name}). "
        f"Raise {raised}."
    )
