"""The first steps of a choice: which pretrained networks compete, and the best candidates by
measured speed and latency."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

from phiscale.arch.spec import Spec
from phiscale.errors import BudgetError, WeightsError
from phiscale.pipeline.evidence import FAMILY_OFFSETS, Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import native_pixels, recipe_for
from phiscale.planning.budget import (
    MAX_EPOCHS,
    Budget,
    Candidate,
    PlanningTask,
    Pretraining,
    Solution,
    estimate,
    fewest_epochs,
    finalists,
    rank,
    solve,
)
from phiscale.planning.priors import origin_of
from phiscale.weights.store import read_metadata

logger = logging.getLogger(__name__)

MOST_KNOWN = 2  # pretrained networks that are fetched
MEASURED_SHARE = 0.012  # of the training minutes: every finalist's speed, to plan with
MOST_SOLVES = 5  # until a network's measured latency is within the limit


def propose_pretrained(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Adds the best of the known pretrained weights that fit the budget, by estimates alone.

    Nothing is measured. Weights that the request names compete in any case.
    Raises WeightsError where no network is left to compete.
    """
    if request.known_weights:
        evidence = _with_known_weights(request, evidence, measurements)
    if not request.from_scratch and not evidence.pretrained:
        raise WeightsError("no pretrained weights are at hand. Name some with `pretrained`.")
    return evidence


def solve_with_measurements(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Solves the budget, measures the best candidates, and ranks all by what was measured.

    Where the best one is slower than estimated, the budget is solved again. Raises BudgetError
    where no network fits.
    """
    evidence = _with_pretrained_speeds(request, evidence, measurements)
    evidence = _solved(request, evidence, measurements)
    pretrained = estimate_pretrained(request, evidence)
    measured_names = {candidate.name for candidate in evidence.finalists}
    others = [candidate for candidate in pretrained if candidate.name not in measured_names]
    proposal = _proposal(evidence)
    ranking = replace(
        rank([*evidence.finalists, *others], sd=proposal.law_sd, law_origin=proposal.law_origin),
        considered=proposal.considered,
        fitting=proposal.fitting,
        excluded=proposal.excluded,
        near_best=proposal.near_best,
        pareto=proposal.pareto,
        coefficients=proposal.coefficients,
    )
    return replace(evidence, pretrained_candidates=tuple(pretrained), ranking=ranking)


def estimate_pretrained(request: Request, evidence: Evidence) -> list[Candidate]:
    """Networks with weights at hand, with new heads for the classes of the images."""
    candidates = []
    for name, path in evidence.pretrained.items():
        metadata = read_metadata(path)
        images_seen = metadata.metrics.get("validation", {}).get("images_seen")
        candidates.append(
            _pretrained(
                request, evidence, name, metadata.spec, _pretraining(str(path), images_seen)
            )
        )
    return candidates


def estimate_again(
    request: Request,
    evidence: Evidence,
    candidate: Candidate,
    *,
    budget: Budget,
    images_per_s: float | None,
    min_epochs: float,
) -> Candidate:
    """The same candidate under another budget or at another training speed."""
    weights = candidate.pretrained
    task = _task(request, evidence, pretrained=weights is not None)
    return estimate(
        candidate.spec,
        budget,
        task=replace(task, min_epochs=min_epochs),
        name=candidate.name,
        pretraining=Pretraining(weights, candidate.pretrained_images) if weights else None,
        images_per_s=images_per_s,
        family_offset=candidate.family_offset,
    )


# Propose


def _with_known_weights(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Fetches the best of the known weights that fit the budget."""
    fitting: list[Candidate] = []
    for known in measurements.known_weights():
        spec = replace(evidence.spec(known.member), resolution=known.pixels)
        name = f"{known.member}.{known.tag}"
        candidate = _pretrained(request, evidence, name, spec, Pretraining(known.source))
        if candidate.excluded_by is None:
            fitting.append(candidate)
    fetched: dict[str, Path] = {}
    refused: list[str] = []
    for candidate in sorted(fitting, key=lambda candidate: candidate.error):
        if len(fetched) == MOST_KNOWN:
            break
        try:
            fetched[candidate.name] = measurements.fetch_weights(candidate.name)
        except WeightsError as error:
            refused.append(str(error))
    if refused:
        logger.warning(
            f"pretrained='auto': {len(refused)} of the known weights cannot be fetched: "
            f"{refused[0]}"
        )
    return replace(evidence, pretrained={**evidence.pretrained, **fetched})


def _pretrained(
    request: Request, evidence: Evidence, name: str, spec: Spec, pretraining: Pretraining
) -> Candidate:
    """A pretrained network as a candidate, with a new head for the classes of the images."""
    return estimate(
        replace(spec, classes=len(evidence.images.classes)),
        request.budget,
        task=_task(request, evidence, pretrained=True),
        name=name,
        pretraining=pretraining,
        images_per_s=evidence.pretrained_speeds.get(name),
    )


def _pretraining(weights: str, images_seen: int | None) -> Pretraining:
    return Pretraining(weights) if images_seen is None else Pretraining(weights, images_seen)


# Solve with measurements


def _with_pretrained_speeds(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Measures the training speed of each pretrained candidate that meets the other limits: they
    are few, and a wrong device model must not exclude them."""
    if request.budget.train_minutes is None:
        return evidence
    for candidate in estimate_pretrained(request, evidence):
        if all(limit.met or limit.name == "train_minutes" for limit in candidate.limits):
            speed, evidence = _training_speed(request, evidence, measurements, candidate)
            evidence = replace(
                evidence, pretrained_speeds={**evidence.pretrained_speeds, candidate.name: speed}
            )
    return evidence


def _solved(request: Request, evidence: Evidence, measurements: Measurements) -> Evidence:
    """Solves, then trains the best network for seconds. Where the device model is far off, corrects
    it and solves again. The finalists get their measured speeds too."""
    evidence = _within_measured_latency(request, evidence, measurements)
    best, evidence = _at_measured_speed(request, evidence, measurements, _proposal(evidence).best)
    for _ in range(2):
        modelled, real = _proposal(evidence).best.train_images_per_s, best.train_images_per_s
        if request.budget.train_minutes is None or not modelled or not real:
            break
        if 0.8 < real / modelled < 1.25:
            break
        evidence = replace(
            evidence, device_model=evidence.device_model.training_faster(real / modelled)
        )
        evidence = _within_measured_latency(request, evidence, measurements)
        best, evidence = _at_measured_speed(
            request, evidence, measurements, _proposal(evidence).best
        )
    measured = [best]
    rivals = _fast_enough(request, measurements, finalists(_proposal(evidence)))[1:]
    for rival in rivals:
        candidate, evidence = _at_measured_speed(request, evidence, measurements, rival)
        measured.append(candidate)
    return replace(evidence, finalists=tuple(measured))


def _within_measured_latency(
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
        if allowed is None or budget.latency_ms is None:
            return replace(evidence, proposal=solution)
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


def _solve(
    request: Request, evidence: Evidence, budget: Budget, pretrained: list[Candidate]
) -> Solution:
    if not request.from_scratch:
        return rank(pretrained, sd=0.01, law_origin=origin_of(evidence.law))
    task = _task(request, evidence)
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


def _at_measured_speed(
    request: Request, evidence: Evidence, measurements: Measurements, candidate: Candidate
) -> tuple[Candidate, Evidence]:
    """The same candidate with the speed of its real training, on these images and this machine.

    Half of the fewest epochs is enough by now: noise must not exclude what was solved for.
    """
    speed = evidence.pretrained_speeds.get(candidate.name)
    if not speed:
        speed, evidence = _training_speed(request, evidence, measurements, candidate)
    least = request.min_epochs or fewest_epochs(candidate.pretrained is not None)
    measured = estimate_again(
        request,
        evidence,
        candidate,
        budget=request.budget,
        images_per_s=speed,
        min_epochs=least / 2,
    )
    return measured, evidence


def _training_speed(
    request: Request, evidence: Evidence, measurements: Measurements, candidate: Candidate
) -> tuple[float, Evidence]:
    """Images per second of a candidate's training; the time that measuring takes is counted."""
    start = measurements.clock()
    minutes = request.budget.train_minutes or 10.0
    seconds = max(2.0, MEASURED_SHARE * 60 * minutes)
    speed = measurements.images_per_s(request, evidence, candidate, seconds)
    logger.info(f"{candidate.name}: {speed:.0f} img/s measured in training")
    return speed, evidence.used(round(measurements.clock() - start))


def _fast_enough(
    request: Request, measurements: Measurements, candidates: tuple[Candidate, ...]
) -> list[Candidate]:
    """The first, whose latency was measured, and those of the others that keep the limit too."""
    limit = request.budget.latency_ms
    if limit is None:
        return list(candidates)
    best, *rivals = candidates
    return [best, *(each for each in rivals if _latency_ms(request, measurements, each) <= limit)]


def _latency_ms(request: Request, measurements: Measurements, candidate: Candidate) -> float:
    """Of the network's shape, measured here; of another device, as its model predicts."""
    if request.targets_other_device:
        return candidate.latency_ms or 0.0
    return measurements.latency_ms(candidate.spec)


def _with_latency_limit(candidate: Candidate, budget: Budget) -> Candidate:
    """The same candidate under a tightened limit of latency."""
    limits = tuple(
        replace(limit, allowed=budget.latency_ms) if limit.name == "latency_ms" else limit
        for limit in candidate.limits
    )
    return replace(candidate, limits=limits)


def _proposal(evidence: Evidence) -> Solution:
    assert evidence.proposal is not None
    return evidence.proposal


def _task(request: Request, evidence: Evidence, *, pretrained: bool = False) -> PlanningTask:
    """What is planned for: the images, the device and the law."""
    recipe = recipe_for(evidence.images, evidence.audit, pretrained=pretrained)
    return PlanningTask(
        train_images=len(evidence.images.train),
        native_pixels=native_pixels(evidence.audit),
        device_model=evidence.device_model,
        law=evidence.law,
        coefficients=evidence.coefficients,
        batch=recipe.batch,
        min_epochs=request.min_epochs,
        max_epochs=MAX_EPOCHS if request.budget.train_minutes else recipe.epochs,
        law_base=evidence.base,
    )
