"""Second step of a choice: solves the budget, and ranks all candidates by measured speeds."""

from __future__ import annotations

import logging
from dataclasses import replace

from phiscale.pipeline.estimates import estimate_again, estimate_pretrained
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.solving import solve_within_latency, within_latency
from phiscale.planning.budget import Candidate, Solution, fewest_epochs, finalists, rank

logger = logging.getLogger(__name__)

MEASURED_PRETRAINED = 3  # pretrained candidates whose training is timed, at most
MEASURED_SHARE = 0.012  # of the training minutes: every finalist's speed, to plan with


def rank_by_measurements(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Solves the budget, measures the best candidates, and ranks all by what was measured.

    Where the best one is slower than estimated, the budget is solved again. Raises BudgetError
    where no network fits.
    """
    evidence = _with_pretrained_speeds(request, evidence, measurements)
    evidence = _with_best(request, evidence, measurements)
    evidence = _with_rivals(request, evidence, measurements)
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


def _with_pretrained_speeds(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Measures the training speed of the most promising pretrained candidates, since a wrong device
    model must not exclude them. The others' speeds follow from theirs by their MACs."""
    if request.budget.train_minutes is None:
        return evidence
    measured: dict[str, float] = {}
    for _ in range(MEASURED_PRETRAINED):
        best = _most_promising(request, evidence)
        if best is None or best.name in measured:
            break
        speed, evidence = _training_speed(request, evidence, measurements, best)
        measured[best.name] = speed
        likely = {
            each.name: speed * best.cost.macs / each.cost.macs
            for each in estimate_pretrained(request, evidence)
        }
        evidence = replace(evidence, pretrained_speeds={**likely, **measured})
    return evidence


def _most_promising(request: Request, evidence: Evidence) -> Candidate | None:
    """Returns the pretrained candidate of least predicted error, of those within the limits."""
    fitting = [each for each in estimate_pretrained(request, evidence) if each.may_only_lack_time]
    return min(fitting, key=lambda each: each.error, default=None)


def _with_best(request: Request, evidence: Evidence, measurements: Measurements) -> Evidence:
    """Solves, then trains the best network for seconds, which makes it the first finalist. Where
    the device model is far off, corrects it and solves again."""
    evidence = solve_within_latency(request, evidence, measurements)
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
        evidence = solve_within_latency(request, evidence, measurements)
        best, evidence = _at_measured_speed(
            request, evidence, measurements, _proposal(evidence).best
        )
    return replace(evidence, finalists=(best,))


def _with_rivals(request: Request, evidence: Evidence, measurements: Measurements) -> Evidence:
    """Adds the other finalists, each at the speed that its training measured."""
    measured = list(evidence.finalists)
    rivals = within_latency(request, measurements, finalists(_proposal(evidence)))[1:]
    for rival in rivals:
        candidate, evidence = _at_measured_speed(request, evidence, measurements, rival)
        measured.append(candidate)
    return replace(evidence, finalists=tuple(measured))


def _at_measured_speed(
    request: Request, evidence: Evidence, measurements: Measurements, candidate: Candidate
) -> tuple[Candidate, Evidence]:
    """Estimates the candidate again at the speed of its real training, here on these images.

    Half of `min_epochs` is enough by now, so that noise of the measured speed does not exclude what
    was solved for.
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
    """Measures the images per second of a candidate's training; counts the time this takes."""
    start = measurements.clock()
    minutes = request.budget.train_minutes or 10.0
    seconds = max(2.0, MEASURED_SHARE * 60 * minutes)
    speed = measurements.images_per_s(request, evidence, candidate, seconds)
    logger.info(f"{candidate.name}: {speed:.0f} img/s measured in training")
    return speed, evidence.used(round(measurements.clock() - start))


def _proposal(evidence: Evidence) -> Solution:
    assert evidence.proposal is not None
    return evidence.proposal
