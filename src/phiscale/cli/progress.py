"""The progress of a training: one line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phiscale.cli.output import log_to
from phiscale.training.callbacks import Callback

if TYPE_CHECKING:
    from phiscale.training.callbacks import Progress


@contextmanager
def training_progress(quiet: bool = False) -> Iterator[tuple[Callback, ...]]:
    """A progress line on a terminal, below what is logged; elsewhere a line now and then.

    `quiet`: no progress, since another process shows it."""
    if quiet:
        yield ()
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield (_Shown(_lines()),)
        return
    best: list[float | None] = [None]
    with Live(console=console, refresh_per_second=4) as live:

        def show(progress: Progress) -> None:
            best[0] = progress.validation_top1 or best[0]
            live.update(Text(progress_line(progress, console.width - 1, best[0])))

        with log_to(lambda line: console.print(line, markup=False, highlight=False)):
            yield (_Shown(show),)


def progress_line(progress: Progress, columns: int, validation_top1: float | None = None) -> str:
    """Returns the state of a training in at most `columns` characters.

    `42% 30.7k/73.2k  1036 img/s  loss 0.69  val 98.3%  ETA 0:46`. Wider lines also say the learning
    rate, data wait and memory; what does not fit is left out, of the least important first.
    `validation_top1`: of the last evaluation.
    """
    top1 = progress.validation_top1 if validation_top1 is None else validation_top1
    share = progress.images_seen / max(1, progress.total)
    counts = f"{shorten(progress.images_seen)}/{shorten(progress.total)}"
    speed, loss = progress.images_per_s, progress.loss
    eta = f"ETA {clock((progress.total - progress.images_seen) / speed)}" if speed > 0 else ""
    memory = f"{progress.memory_bytes / 1e9:.1f} GB" if progress.memory_bytes else ""
    by_importance = (  # in the order of the line; the first number says what goes last
        (0, f"{100 * min(1.0, share):.0f}% {counts}"),
        (3, f"{speed:.0f} img/s" if speed > 0 else ""),
        (4, f"loss {loss:.2f}" if math.isfinite(loss) else ""),
        (2, f"val {100 * top1:.1f}%" if top1 is not None else ""),
        (1, eta),
        (7, f"lr {progress.learning_rate:.2g}" if math.isfinite(progress.learning_rate) else ""),
        (5, f"data wait {100 * progress.wait_share:.0f}%" if progress.wait_share >= 0.01 else ""),
        (6, memory),
    )
    line = ""
    for least in range(len(by_importance) - 1, -1, -1):
        line = "  ".join(part for rank, part in by_importance if part and rank <= least)
        if len(line) <= columns:
            break
    return line[:columns]


def shorten(count: int) -> str:
    """Returns a count in three digits: 512, 30.7k, 1.28M."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if count >= size:
            value = count / size
            decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{decimals}f}{unit}"
    return str(count)


def clock(seconds: float) -> str:
    """Returns a time as 0:46, 12:05 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
        print(progress_line(progress, 200), file=sys.stderr, flush=True)

    return report
