"""Prints what commands have to show: tables, JSON, progress."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from phiscale.cli.parameters import as_flags
from phiscale.text import format_table, printable

if TYPE_CHECKING:
    from phiscale.deploy.predict import Prediction
    from phiscale.training.metrics import Metrics


def show_json(value: Any) -> None:
    """Prints indented JSON, with Unicode characters where the terminal can show them."""
    plain = "utf" not in (sys.stdout.encoding or "utf").lower()
    print(json.dumps(value, indent=1, ensure_ascii=plain, allow_nan=False))


def to_stderr(line: str) -> None:
    """Prints a remark that is not part of the result."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows of equal keys as a plain table."""
    for line in format_table(rows):
        print(line)


def print_predictions(answers: Iterable[Prediction], form: str) -> tuple[int, int]:
    """Prints predictions as they come; returns how many images cannot be read, of how many."""
    bad = count = 0
    rows: list[dict[str, Any]] = []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(["image", "rank", "class", "probability", "error"])
    for answer in answers:
        count += 1
        bad += answer.error is not None
        error = as_flags(answer.error or "")
        best = answer.top()
        if form == "json":
            rows.append(
                {
                    "image": answer.source,
                    "error": error or None,
                    "top": [{"class": c, "probability": p} for c, p in best],
                }
            )
        elif form == "csv":
            for rank, (name, probability) in enumerate(best, 1):
                writer.writerow([answer.source, rank, name, f"{probability:.6f}", ""])
            if error:
                writer.writerow([answer.source, "", "", "", error])
        else:
            words = "  ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in best)
            print(f"{printable(answer.source)}  {words or f'unreadable: {error}'}")
    if form == "json":
        show_json(rows)
    return bad, count


class _LogLines(logging.Handler):
    """Writes each log record of the library as one line; warnings begin with `warning:`."""

    def __init__(self, write: Callable[[str], None]):
        super().__init__(logging.INFO)
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        text = as_flags(record.getMessage())
        self.write(prefix + "\n".join(printable(line) for line in text.split("\n")))


@contextmanager
def log_to(write: Callable[[str], None]) -> Iterator[None]:
    """Writes what the library logs with `write`, instead of where an outer `log_to` writes it."""
    logger = logging.getLogger("phiscale")
    before, level = [h for h in logger.handlers if isinstance(h, _LogLines)], logger.level
    handler = _LogLines(write)
    for each in before:
        logger.removeHandler(each)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        for each in before:
            logger.addHandler(each)


def metrics_lines(metrics: Metrics) -> list[str]:
    """Metrics of a model as lines for a terminal."""
    low, high = metrics.interval
    width = max([5, *(len(printable(row["name"])) for row in metrics.per_class)])
    return [
        f"top-1 {100 * metrics.top1:.2f} % [{100 * low:.2f}, {100 * high:.2f}] at 95 % on "
        f"{metrics.images} images (majority class: {100 * metrics.majority:.1f} %)",
        f"top-5 {100 * metrics.top5:.2f} %, macro-F1 {metrics.macro_f1:.4f}, "
        f"cross-entropy {metrics.cross_entropy:.4f}, "
        f"expected calibration error {metrics.calibration_error:.4f}",
        "",
        f"{'class':<{width}}  images  precision  recall     F1",
        *(
            f"{printable(row['name']):<{width}}  {row['images']:6d}  {row['precision']:9.3f}  "
            f"{row['recall']:6.3f}  {row['f1']:5.3f}"
            for row in metrics.per_class
        ),
    ]
