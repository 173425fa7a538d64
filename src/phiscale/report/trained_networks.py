"""Finished runs as rows of a law: network, images seen, error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phiscale.errors import DataError
from phiscale.files import read_checked
from phiscale.files.run_files import EVALUATION
from phiscale.planning.laws.sheet import Sheet, TrainedNetwork
from phiscale.report.runs import RunSummary, read_runs


def sheet_of_runs(folders: Sequence[Path]) -> Sheet:
    """Returns the runs in these folders as a table for a law.

    The error is that of the test split where every run has an evaluation.json, as `fit` writes it.
    Otherwise it is the best one on validation, which selection makes lower than the last one.
    PhiscaleError: there is no run. DataError: a run has not finished, or runs differ in images.
    """
    runs = read_runs(folders)
    for run in runs:
        if run.data.get("fingerprint") != runs[0].data.get("fingerprint"):
            raise DataError(
                f"{run.name} was trained on other images than {runs[0].name}: one law cannot "
                "hold for both. Use runs on one set."
            )
        row = run.row()
        if not row["images"] or row["images"] < run.planned or row["top1"] is None:
            raise DataError(
                f"{run.name} has not finished ({row['done'] or '0 %'}). "
                "Run its `train` again, or leave it out."
            )
    test_errors = [_test_error(run) for run in runs]
    tested = all(error is not None for error in test_errors)
    errors = [
        error if tested and error is not None else 1 - run.row()["top1"]
        for run, error in zip(runs, test_errors, strict=True)
    ]
    rows = tuple(
        TrainedNetwork(
            name=run.name,
            error=error,
            spec=run.spec,
            values={"images_seen": float(run.row()["images"])},
        )
        for run, error in zip(runs, errors, strict=True)
    )
    split = "test" if tested else "best validation"
    return Sheet(source=f"{len(rows)} runs, {split} error", rows=rows)


def _test_error(run: RunSummary) -> float | None:
    path = run.folder / EVALUATION
    if not path.is_file():
        return None
    evaluation = read_checked(path, "Run its `fit` again, which evaluates anew, or leave it out.")
    return 1 - float(evaluation["metrics"]["top1"])
