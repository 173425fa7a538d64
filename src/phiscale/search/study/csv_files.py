"""The runs of a study as CSV, so that others can repeat its statistics."""

from __future__ import annotations

import csv
import io

import numpy as np

from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.engine.result import Result
from phiscale.search.study.plan import Outcome

COLUMNS = (
    "arm",
    "seed",
    "rate",
    "drop_path",
    "macs",
    "params",
    "activations",
    "images_seen",
    "validation_error",
    "test_error",
    "cpu_seconds",
    "failed",
    "key",
)


def runs_csv(outcome: Outcome) -> str:
    """Writes a row for each run: what was trained, and its errors."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for (arm, seed), run in sorted(outcome.runs.items()):
        rows.writerow(_row(arm, seed, run))
    return text.getvalue()


def _row(arm: str, seed: int, run: Result) -> list[object]:
    recipe = run.trial["recipe"]
    return [
        arm,
        seed,
        recipe["optim"]["lr_peak"],
        recipe["drop_path"],
        run.macs,
        run.params,
        run.activations,
        run.images_seen,
        run.validation_error,
        run.test_error,
        run.cpu_seconds,
        run.failed or "",
        run.key,
    ]


def predictions_csv(outcome: Outcome, dataset: DatasetInfo) -> str:
    """Writes a row for each test image, in the split's order: its class, and the class that each
    run predicted; -1 where the training failed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    runs = sorted(outcome.runs.items())
    rows.writerow(["image", "truth", *(f"{arm} {seed}" for (arm, seed), _ in runs)])
    failed = np.full(len(dataset.test_labels), -1)
    columns = [failed if run.test_predictions is None else run.test_predictions for _, run in runs]
    for number, row in enumerate(np.column_stack([dataset.test_labels, *columns]).tolist()):
        rows.writerow([number, *row])
    return text.getvalue()
