"""A progress bar in a notebook, for calls that name no callbacks."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from phiscale.training.callbacks import AnyCallback, Callback, Progress

EVERY_S = 0.5


def default_callbacks() -> Sequence[AnyCallback]:
    """Returns a progress bar where an IPython kernel runs; nothing elsewhere."""
    return (NotebookProgress(),) if in_kernel() else ()


def in_kernel() -> bool:
    """Whether this is a notebook. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class NotebookProgress(Callback):
    """Shows one line under the cell, and keeps it up to date."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown_at = float("-inf")
        self._top1 = ""

    def on_step(self, progress: Progress) -> None:
        done = progress.images_seen >= progress.total
        if done or time.monotonic() - self._shown_at >= EVERY_S:
            self._show(progress)

    def on_evaluation(self, progress: Progress) -> None:
        if progress.validation_top1 is not None:
            self._top1 = f", validation top-1 {100 * progress.validation_top1:.1f} %"
        self._show(progress)

    def _show(self, progress: Progress) -> None:
        from IPython.display import display  # type: ignore[import-not-found]

        self._shown_at = time.monotonic()
        line = {"text/plain": bar(progress) + self._top1}
        if self._handle is None:
            self._handle = display(line, raw=True, display_id=True)
        else:
            self._handle.update(line, raw=True)


def bar(progress: Progress, width: int = 30) -> str:
    """Returns progress as text: `████░░ 1,200/3,000 images, 410 img/s, loss 0.312`."""
    full = round(width * min(1.0, progress.images_seen / max(1, progress.total)))
    done = f"{'█' * full}{'░' * (width - full)} {progress.images_seen:,}/{progress.total:,} images"
    if not math.isfinite(progress.loss):  # before the first step
        return done
    return f"{done}, {progress.images_per_s:.0f} img/s, loss {progress.loss:.3f}"
