"""A study's raw numbers as CSV, so that others can do its statistics again."""

from __future__ import annotations

import csv
import io

import numpy as np

from phiscale.search.engine.folder import DatasetInfo
from phiscale.search.study.plan import Outcome


def runs_csv(outcome: Outcome) -> str:
    """A row a run: what was trained, and what came of it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        [
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
        ]
    )
    for (arm, seed), run in sorted(outcome.runs.items()):
        recipe = run.trial["recipe"]
        rows.writerow(
            [
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
        )
    return text.getvalue()


def predictions_csv(outcome: Outcome, dataset: DatasetInfo) -> str:
    """A row a test picture, in the split's order: the truth, and the class each run answered; -1
    where a training failed."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    runs = sorted(outcome.runs.items())
    rows.writerow(["image", "truth", *(f"{arm} {seed}" for (arm, seed), _ in runs)])
    blank = np.full(len(dataset.test_labels), -1)
    columns = [blank if run.test_predictions is None else run.test_predictions for _, run in runs]
    for number, row in enumerate(np.column_stack([dataset.test_labels, *columns]).tolist()):
        rows.writerow([number, *row])
    return text.getvalue()
