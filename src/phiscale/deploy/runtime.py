"""ONNX Runtime: sessions, and the latency of one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from phiscale.errors import ExportError
from phiscale.text import printable

EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def open_session(model: bytes, threads: int = 0, name: str = "the model") -> ort.InferenceSession:
    """Opens a session on the CPU. `threads`: 0: one per core. `name`: for the error.

    ExportError: ONNX Runtime cannot open the model, or its weights are in other files.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # a folder that cannot exist: weights in other files, which no checksum covers, are not read
    options.add_session_config_entry(EXTERNAL_FOLDER, os.devnull)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception classes share no base but this
        raise ExportError(f"ONNX Runtime cannot open {name}: {_first_line(error)}") from None


def run(
    session: ort.InferenceSession, images: NDArray[np.float32], name: str = "the model"
) -> NDArray[np.float32]:
    """Returns logits (n, classes) of float32 images (n, 3, size, size).

    `name`: for the error. ExportError: ONNX Runtime cannot run the model on them.
    """
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])
    except Exception as error:  # as in `open_session`
        raise ExportError(f"ONNX Runtime cannot run {name}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])


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
