"""Prints what commands have to show: tables, JSON, progress."""

from __future__ import annotations

import csv
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from phiscale.cli.parameters import as_flags
from phiscale.text import format_table, printable
from phiscale.training.callbacks import Callback

if TYPE_CHECKING:
    from phiscale.deploy.predict import Prediction
    from phiscale.training.callbacks import Progress
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


@contextmanager
def training_progress(quiet: bool = False) -> Iterator[Sequence[Callback]]:
    """A progress bar on a terminal, below what is logged; elsewhere a line now and then.

    `quiet`: no progress, since another process shows it."""
    if quiet:
        yield ()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield (_Shown(_lines()),)
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=False, refresh_per_second=4) as bar:
        task: list[Any] = []
        best = [""]

        def report(progress: Progress) -> None:
            if not task:
                task.append(bar.add_task("training", total=progress.total, words=""))
            best[0] = _validation(progress) or best[0]
            words = f"{_state(progress)}{best[0]}"
            bar.update(task[0], completed=progress.images_seen, words=words)

        with log_to(lambda line: bar.console.print(line, markup=False, highlight=False)):
            yield (_Shown(report),)


class _Shown(Callback):
    """Shows progress after steps and evaluations alike."""

    def __init__(self, show: Callable[[Progress], None]):
        self.show = show

    def on_step(self, progress: Progress) -> None:
        self.show(progress)

    def on_evaluation(self, progress: Progress) -> None:
        self.show(progress)


def _lines(every_s: float = 30.0) -> Callable[[Progress], None]:
    last = [time.monotonic()]

    def report(progress: Progress) -> None:
        if progress.validation_top1 is None and time.monotonic() - last[0] < every_s:
            return
        last[0] = time.monotonic()
        left = (progress.total - progress.images_seen) / max(1e-9, progress.images_per_s)
        line = (
            f"{progress.images_seen}/{progress.total} images, {_state(progress)}"
            f"{_validation(progress)}, {left:.0f} s left"
        )
        print(line, file=sys.stderr, flush=True)

    return report


def _state(progress: Progress) -> str:
    waits = f", data wait {100 * progress.wait_share:.0f} %" if progress.wait_share >= 0.01 else ""
    memory = f", {progress.memory_bytes / 1e9:.1f} GB" if progress.memory_bytes else ""
    return (
        f"{progress.images_per_s:.0f} img/s{waits}, loss {progress.loss:.3f}, "
        f"lr {progress.learning_rate:.2g}{memory}"
    )


def _validation(progress: Progress) -> str:
    """Validation accuracy of the EMA, which is kept, and of the raw weights."""
    if progress.validation_top1 is None or progress.raw_top1 is None:
        return ""
    top1, raw = 100 * progress.validation_top1, 100 * progress.raw_top1
    return f", validation top-1 {top1:.2f} % (EMA; raw weights {raw:.2f} %)"


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
