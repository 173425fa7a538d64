"""From the trainings of one method to alpha, beta and gamma with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec, name_of
from phiscale.arch.scaling import scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.coefficients import NAMES, Coefficients, Interval
from phiscale.planning.laws import Law
from phiscale.planning.laws.optimum import Triple, bootstrap_intervals, optimum, triple
from phiscale.planning.laws.posterior import Posterior
from phiscale.search.coefficients.law import (
    MethodResult,
    estimate_noise,
    fit_law,
    law_checks,
)
from phiscale.search.coefficients.plan import CoefficientSearch
from phiscale.search.spaces.lattice import Lattice, cost_metric

DRAWS = 300  # of the law, for intervals on the lattice

_Values = tuple[Triple, dict[str, Interval] | None, dict[str, Any]]


def derive_coefficients(
    plan: CoefficientSearch, result: MethodResult, command: str = ""
) -> Coefficients:
    """Returns what a method says of alpha, beta and gamma at `plan.compute` times the base's cost.

    A law in MACs gives its optimum before rounding, under depth * width^2 * resolution^2. A law in
    another cost metric gives the slope of its best networks on the lattice. A grid gives the
    network that won, with blocks and channels as built; no grid gives an interval.
    """
    extra = _outcome(plan, result)
    law: Law | None = None
    if result.fit is None:
        values, intervals = _from_network(result, plan.compute), None
    else:
        law = result.fit.law()
        extra["checks"] = _checks(result, plan.base.classes)
        derive = _from_optimum if plan.cost == "macs" else _from_lattice
        values, intervals, more = derive(plan, result, result.fit)
        extra |= more
    alpha, beta, gamma = values
    coefficients = Coefficients(
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        intervals=intervals,
        law=law,
        base=_base_name(plan.base),
        extra=extra,
        data=plan.conditions.data,
        cost=plan.cost,
        method=result.method,
        source=command,
    )
    return replace(
        coefficients, extra={**extra, "exact_costs": _costs_as_built(plan, coefficients)}
    )


def _base_name(base: Spec) -> str | Spec:
    """The model's name where it is one at its own resolution, else the network itself."""
    name = name_of(base)
    return name if name and get_spec(name).resolution == base.resolution else base


def _outcome(plan: CoefficientSearch, result: MethodResult) -> dict[str, Any]:
    """Facts about the search that found.json keeps beside the coefficients."""
    extra: dict[str, Any] = {
        "compute": plan.compute,
        "units": round(result.units, 3),
        "proposal": result.proposal.spec.to_dict(),
    }
    if result.candidates:
        extra["candidates"] = result.candidates
    if result.refused:
        extra["refused"] = f"{result.refused} Nothing was confirmed" + (
            "; the grid's result is in grid.json." if len(plan.methods) > 1 else "."
        )
    return extra


def _checks(result: MethodResult, classes: int) -> str:
    checks = law_checks(result)
    return " ".join([checks.summary(), *map(str, checks.flags), *_near_chance(result, classes)])


def _near_chance(result: MethodResult, classes: int) -> list[str]:
    """A caveat where trainings are hardly better than guessing: they say nothing of networks."""
    typical = float(np.median([run.error for run in result.runs]))
    if typical < 1 - 1.5 / classes:
        return []
    return [
        f"Half of the trainings have an error of {100 * typical:.1f} % or more; guessing has "
        f"{100 * (1 - 1 / classes):.1f} %. They say nothing of networks yet. Train longer: "
        "use more `epochs`."
    ]


def _from_optimum(plan: CoefficientSearch, result: MethodResult, fit: Posterior) -> _Values:
    """The optimum of a law in MACs, before rounding."""
    ray = optimum(fit, plan.compute)
    extra: dict[str, Any] = {
        "symmetric_null": ray.verdict(),
        "slopes": ray.slopes,
        "offsets": ray.offsets,
        "by_cross_entropy": _by_cross_entropy(plan, result),
    }
    if again := bootstrap_intervals(fit, plan.compute):
        extra["bootstrap"] = again
    return ray.values, _intervals(ray.low, ray.high), extra


def _from_lattice(plan: CoefficientSearch, _: MethodResult, fit: Posterior) -> _Values:
    """The mean slope of the best networks on the lattice, over laws drawn from the posterior."""
    p, c = fit.draws(DRAWS)
    triples = slopes_on_lattice(plan.lattice(), p[:, :3], c[:, 1:4], plan.compute)
    low, high = map(triple, np.quantile(triples, [0.025, 0.975], axis=0))
    return triple(np.exp(np.log(triples).mean(axis=0))), _intervals(low, high), {}


def _from_network(result: MethodResult, compute: float) -> Triple:
    by, power = result.proposal.by, 1 / math.log2(compute)
    return by.depth**power, by.width**power, by.resolution**power


def _intervals(low: Triple, high: Triple) -> dict[str, Interval]:
    return {name: (a, b) for name, a, b in zip(NAMES, low, high, strict=True)}


def _by_cross_entropy(plan: CoefficientSearch, result: MethodResult) -> dict[str, list[float]]:
    """Value, low and high by a law of the same trainings' cross-entropy: a second view, which
    decides nothing."""
    noise = estimate_noise(result.runs, plan.validation_images, of_loss=True)
    ray = optimum(fit_law(result.runs, noise, of_loss=True), plan.compute)
    return {
        name: [round(number, 4) for number in numbers]
        for name, *numbers in zip(NAMES, ray.values, ray.low, ray.high, strict=True)
    }


def _costs_as_built(plan: CoefficientSearch, coefficients: Coefficients) -> dict[str, float]:
    """Cost ratio, by phi, of the network that `compound` rounds to. Its blocks are rounded up, so
    that it costs more than its coefficients say."""
    metric = cost_metric(plan.cost, plan.device)
    of_base = float(metric(cost(plan.base)))
    phis = sorted({math.copysign(1.0, math.log(plan.compute)), round(math.log2(plan.compute), 4)})
    return {
        f"{phi:g}": round(float(metric(cost(scale(plan.base, coefficients.at(phi))))) / of_base, 4)
        for phi in phis
    }


def slopes_on_lattice(
    lattice: Lattice, p: NDArray[np.float64], a: NDArray[np.float64], compute: float
) -> NDArray[np.float64]:
    """Returns alpha, beta, gamma per doubling of the lattice's cost, for each law: (laws, 3).

    `p`, `a`: exponents and terms of the laws, (laws, 3). The slope is that of ln x of the best
    network against log2 of its cost, through the base.
    """
    targets = [target for target in _targets_around(compute) if _exists(lattice, target)]
    logs = lattice.path(a, p, targets)  # laws, targets, 3
    phi = np.log2(targets)
    return np.exp(np.einsum("t,ltd->ld", phi, logs) / np.sum(phi**2))


def _targets_around(compute: float) -> Sequence[float]:
    """From half of log `compute` to a doubling, or halving, beyond it."""
    phi, further = math.log2(compute), math.copysign(1.0, math.log(compute))
    return [2**each for each in (phi / 2, 0.75 * phi, phi, phi + further / 2, phi + further)]


def _exists(lattice: Lattice, target: float) -> bool:
    try:
        return len(lattice.at(target)) > 0
    except UsageError:
        return False
