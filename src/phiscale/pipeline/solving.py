"""Within the second step of a choice: the best candidates by the law and the measured latency."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace

from phiscale.errors import BudgetError
from phiscale.pipeline.estimates import estimate_pretrained, task_for
from phiscale.pipeline.evidence import FAMILY_OFFSETS, Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.planning.budget import Budget, Candidate, Solution, rank, solve
from phiscale.planning.priors import guessing_error_of, origin_of

logger = logging.getLogger(__name__)

MOST_SOLVES = 5  # until a network's measured latency is within the limit


def solve_within_latency(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Solves, then times the best network. Where it is too slow, solves again for less."""
    allowed, budget, real = request.budget.latency_ms, request.budget, float("inf")
    pretrained = estimate_pretrained(request, evidence)
    for attempt in range(MOST_SOLVES):
        try:
            solution = _solve(request, evidence, budget, pretrained)
        except BudgetError:
            if attempt == 0:
                raise
            break  # its message would name the latency that was tightened below
        _refuse_guessing(request, evidence, solution)
        if allowed is None or budget.latency_ms is None:
            return replace(evidence, proposal=solution)
        real = evidence.latencies.get(solution.best.name)
        if real is None:
            real = _latency_ms(request, measurements, solution.best)
        how = "by the device model" if request.targets_other_device else "measured"
        logger.info(f"{solution.best.name}: {real:.3g} ms {how}, {allowed:g} ms allowed")
        if real <= allowed:
            return replace(evidence, proposal=solution)
        budget = replace(budget, latency_ms=budget.latency_ms * allowed / real * 0.95)
        pretrained = [_with_latency_limit(candidate, budget) for candidate in pretrained]
    raise BudgetError(
        f"no network was within latency_ms={allowed:g}; the last one took "
        f"{real:.3g} ms. Raise it to {real * 1.1:.2g}, or try again on an idle machine."
    )


def _refuse_guessing(request: Request, evidence: Evidence, solution: Solution) -> None:
    """Raises BudgetError where even the best network is predicted to do no better than guessing.

    Whoever sets `min_epochs` has decided what is worth training. Without a limit there is none to
    raise.
    """
    if request.min_epochs is not None or not request.budget.limits:
        return
    best, guessing = solution.best, guessing_error_of(evidence.law)
    if best.probe_error is not None or guessing is None:  # errors are those of these images
        guessing = evidence.largest_class_error
    if best.error < guessing:
        return
    raise BudgetError(
        "no network within these limits is predicted to be better than always naming the largest "
        f"class. The best is {best.name}. Raise {_tightest(best)}."
    )


def _tightest(candidate: Candidate) -> str:
    """Returns the limits that a candidate nearly uses up."""
    used = sorted(candidate.limits, key=lambda limit: -limit.value / limit.allowed)
    near = [f"`{limit.name}`" for limit in used if limit.value > 0.5 * limit.allowed]
    return " or ".join(near or [f"`{limit.name}`" for limit in used[:1]] or ["`train_minutes`"])


def within_latency(
    request: Request, measurements: Measurements, candidates: tuple[Candidate, ...]
) -> list[Candidate]:
    """Returns the first, whose latency was measured, and the others that keep the limit, too."""
    limit = request.budget.latency_ms
    if limit is None:
        return list(candidates)
    best, *rivals = candidates
    return [best, *(each for each in rivals if _latency_ms(request, measurements, each) <= limit)]


def _solve(
    request: Request, evidence: Evidence, budget: Budget, pretrained: list[Candidate]
) -> Solution:
    if not request.from_scratch:
        return rank(pretrained, sd=0.01, law_origin=origin_of(evidence.law))
    task = task_for(request, evidence)
    first, *others = evidence.bases
    candidates = list(pretrained)
    for name in others:  # the best of each competes with the first one's whole lattice
        with contextlib.suppress(BudgetError):
            best = solve(
                evidence.spec(name),
                budget,
                task=task,
                name=name,
                family_offset=FAMILY_OFFSETS[name],
            ).best
            candidates.append(replace(best, name=f"{name}, {best.name}"))
    return solve(evidence.base, budget, task=task, name=first, candidates=candidates)


def _latency_ms(request: Request, measurements: Measurements, candidate: Candidate) -> float:
    """Measures the latency of the network's shape here; another device's is predicted."""
    if request.targets_other_device:
        return candidate.latency_ms or 0.0
    return measurements.latency_ms(candidate.spec)


def _with_latency_limit(candidate: Candidate, budget: Budget) -> Candidate:
    """Returns the same candidate under a tightened limit of latency."""
    limits = tuple(
        replace(limit, allowed=budget.latency_ms) if limit.name == "latency_ms" else limit
        for limit in candidate.limits
    )
    return replace(candidate, limits=limits)
