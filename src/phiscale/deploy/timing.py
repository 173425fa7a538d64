"""Latencies of many networks on this machine, measured so that they can be compared."""

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


def interleaved_ms(
    specs: Mapping[str, Spec],
    *,
    rounds: int = 7,
    seconds: float = 0.2,
    threads: int = 0,
) -> dict[str, float]:
    """Milliseconds of one picture through each network's exported shape, ONNX Runtime on the CPU.

    Every round times each network once, in an order of its own, for `seconds` or one run; a
    network's time is the median of its rounds. So a machine that gets slower meets all of them
    alike. All networks are held in memory at once. `threads` 0 = as many as there are cores.
    """
    sessions = {name: open_session(untrained_onnx(spec), threads) for name, spec in specs.items()}
    pictures = {
        name: np.zeros((1, spec.in_channels, spec.resolution, spec.resolution), np.float32)
        for name, spec in specs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in specs}
    order = random.Random(0)
    for number in range(rounds):
        logger.info(f"round {number + 1} of {rounds}: {len(specs)} networks")
        for name in order.sample(list(specs), len(specs)):
            run(sessions[name], pictures[name])  # the one before has taken the caches
            once: list[float] = []
            end = time.perf_counter() + seconds
            while not once or time.perf_counter() < end:
                start = time.perf_counter()
                run(sessions[name], pictures[name])
                once.append(time.perf_counter() - start)
            times[name].append(statistics.median(once))
    return {name: 1e3 * statistics.median(each) for name, each in times.items()}
