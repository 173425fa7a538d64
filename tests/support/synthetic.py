"""Results from a formula instead of a training, written where a study reads its results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.search.engine.plan import Plan, PlanProgress
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.trial import Trial

ErrorFormula = Callable[[Trial], float]  # the test error of a trial


def complete_plan(plan: Plan[Any], out: Path, error_of: ErrorFormula, labels: np.ndarray) -> Any:
    """Carry out a plan with results from a formula, written to `out`. Return its outcome."""
    results = Results(out / "results")
    progress = PlanProgress(plan)
    while not progress.finished:
        for trial in progress.stage_trials:
            results.write_result(synthetic_result(trial, error_of(trial), labels))
        progress.advance(results.read)
    return progress.outcome


def synthetic_result(trial: Trial, error: float, labels: np.ndarray) -> Result:
    """Return a result with that share of wrong predictions, drawn by the trial's key."""
    seed = int(hashlib.sha256(trial.key.encode()).hexdigest()[:8], 16)
    random = np.random.default_rng(seed)
    costs = cost(trial.spec)
    predictions = labels.copy()
    wrong = random.random(len(labels)) < error
    predictions[wrong] = (predictions[wrong] + 1) % (labels.max() + 1)
    return Result(
        key=trial.key,
        name=trial.name,
        attrs=dict(trial.attrs),
        trial=trial.to_dict(),
        validation_error=round(float(error), 6),
        validation_loss=1.0,
        validation_images=1000,
        test_predictions=predictions if trial.test else None,
        test_error=round(float(np.mean(wrong)), 6) if trial.test else None,
        macs=costs.macs,
        params=costs.params,
        activations=costs.activations,
        images_seen=1000,
        seconds=1.0,
        cpu_seconds=1.0,
    )
