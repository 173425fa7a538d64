"""Third step of a choice: short runs on the validation split decide between networks that the law
cannot separate."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from phiscale.pipeline.estimates import estimate_again
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.planning.budget import Candidate, finalists

logger = logging.getLogger(__name__)

FOLDER = "short-runs"  # of the short runs, inside the folder of `fit`
SHORT_RUN_SHARE = 0.15  # of the training minutes, at most
TRAINED_SHARE = 0.85  # of a short run's time; its evaluation takes the rest


def short_runs(
    request: Request, evidence: Evidence, measurements: Measurements, out: Path
) -> Evidence:
    """Trains the finalists briefly and selects the winner.

    How much better or worse each is than the law predicts for so short a training is added to the
    law's prediction for the whole training: a short run alone would favour small networks. None is
    trained where the time costs more error than the law is uncertain of.
    """
    ranking, minutes = evidence.ranking, request.budget.train_minutes
    assert ranking is not None
    candidates = finalists(ranking)
    evidence = replace(evidence, winner=ranking.best)
    if len(candidates) < 2 or minutes is None:
        return evidence
    run_s = minutes * 60 * SHORT_RUN_SHARE / len(candidates)
    epochs = [_epochs(evidence, candidate, run_s) for candidate in candidates]
    if run_s < measurements.least_short_run_s or min(epochs) < measurements.least_short_run_epochs:
        return replace(evidence, remark=" But these minutes are too few for short runs.")
    shortened = _after(request, evidence, ranking.best, minutes * (1 - SHORT_RUN_SHARE))
    price = shortened.error - ranking.best.error
    if price > ranking.law_sd:
        remark = f" But short runs would cost {100 * price:.1f} points: none was made."
        return replace(evidence, remark=remark)
    rows: list[dict[str, Any]] = []
    for number, (candidate, length) in enumerate(zip(candidates, epochs, strict=True)):
        logger.info(
            f"short run {number + 1}/{len(candidates)}: {candidate.name}, {length:.1f} epochs"
        )
        error = measurements.error_after(
            request, evidence, candidate, length, out / FOLDER / str(number)
        )
        predicted = _after(request, evidence, candidate, run_s * TRAINED_SHARE / 60).error
        rows.append(_row(candidate, error, predicted))
    best = min(range(len(rows)), key=lambda i: rows[i]["corrected"])
    return replace(
        evidence,
        winner=candidates[best],
        short_runs=tuple(rows),
        remark=_remark(rows, candidates[best]),
    ).used(run_s * len(candidates))


def _epochs(evidence: Evidence, candidate: Candidate, run_s: float) -> float:
    """Returns the epochs that a short run of so many seconds has."""
    speed = candidate.train_images_per_s or 1
    return run_s * TRAINED_SHARE * speed / len(evidence.images.train)


def _after(request: Request, evidence: Evidence, candidate: Candidate, minutes: float) -> Candidate:
    """Estimates the same candidate, trained for so many minutes."""
    return estimate_again(
        request,
        evidence,
        candidate,
        budget=replace(request.budget, train_minutes=minutes),
        images_per_s=candidate.train_images_per_s,
        min_epochs=1e-6,
    )


def _row(candidate: Candidate, error: float, predicted: float) -> dict[str, Any]:
    """Returns a row of `choice.json`."""
    return {
        "name": candidate.name,
        "validation_error": error,
        "predicted_short": predicted,  # for a training as short as this one
        "predicted": candidate.error,  # for the whole training
        "corrected": candidate.error + error - predicted,
    }


def _remark(rows: list[dict[str, Any]], winner: Candidate) -> str:
    errors = "; ".join(f"{row['name']} {100 * row['validation_error']:.1f} %" for row in rows)
    return f" Validation errors of short runs: {errors}. Selected: {winner.name}."
