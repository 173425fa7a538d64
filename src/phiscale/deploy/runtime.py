"""ONNX Runtime: sessions, and the latency of one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from phiscale.errors import ExportError


def open_session(model: bytes | Path, threads: int = 0) -> ort.InferenceSession:
    """Opens a session on the CPU. `threads`: 0: one per core.

    ExportError: ONNX Runtime cannot open the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception classes share no base but this
        name = model if isinstance(model, Path) else "the model"
        raise ExportError(
            f"ONNX Runtime cannot open {name}: {str(error).splitlines()[0]}"
        ) from None


def run(session: ort.InferenceSession, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns logits (n, classes) of float32 images (n, 3, size, size)."""
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def latency_ms(
    session: ort.InferenceSession,
    shape: tuple[int, ...],
    seconds: float = 0.5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measures milliseconds of a run on an input of this shape, over `seconds`, 20 runs at least.

    It is the median of the quietest fifth of that time, since other programs can only add to it.
    """
    images = np.zeros(shape, np.float32)
    name = session.get_inputs()[0].name
    for _ in range(5):
        session.run(None, {name: images})
    times: list[float] = []
    end = clock() + seconds
    while len(times) < 20 or clock() < end:
        start = clock()
        session.run(None, {name: images})
        times.append(clock() - start)
    part = len(times) // 5
    return min(statistics.median(times[i * part : (i + 1) * part]) for i in range(5)) * 1e3
