"""Measures latencies of many networks on this machine, so that they can be compared."""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Mapping

import numpy as np

from phiscale.arch.spec import Spec
from phiscale.deploy.runtime import open_session, run
from phiscale.deploy.untrained_onnx import untrained_onnx

logger = logging.getLogger(__name__)


def measure_interleaved_ms(
    specs: Mapping[str, Spec],
    *,
    rounds: int = 7,
    seconds: float = 0.2,
    threads: int = 0,
) -> dict[str, float]:
    """Milliseconds that each network's export takes for one image, in ONNX Runtime on the CPU.

    Every round times every network once, in a random order, for `seconds` or one run. The result
    is the median of the rounds, so that a machine that slows down affects all networks alike.
    All networks are in memory at once. `threads`: CPU threads; 0: one per core.
    """
    sessions = {name: open_session(untrained_onnx(spec), threads) for name, spec in specs.items()}
    images = {
        name: np.zeros((1, spec.in_channels, spec.resolution, spec.resolution), np.float32)
        for name, spec in specs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in specs}
    order = random.Random(0)
    for number in range(rounds):
        logger.info(f"round {number + 1} of {rounds}: {len(specs)} networks")
        for name in order.sample(list(specs), len(specs)):
            run(sessions[name], images[name])  # the previous network has filled the caches
            run_times: list[float] = []
            end = time.perf_counter() + seconds
            while not run_times or time.perf_counter() < end:
                start = time.perf_counter()
                run(sessions[name], images[name])
                run_times.append(time.perf_counter() - start)
            times[name].append(statistics.median(run_times))
    return {name: 1e3 * statistics.median(medians) for name, medians in times.items()}
