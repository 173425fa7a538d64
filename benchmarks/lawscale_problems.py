"""Synthetic problems for lawscale.py: error surfaces over depth, width and resolution.

Their optimum is known, and the law cannot follow most of them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("additive", "interaction", "native pixels", "under-trained", "broken")
RUN_SDS = (0.0015, 0.0030)

Floats = NDArray[np.float64]
Errors = Callable[[Floats], Floats]  # (networks, 3) multipliers -> (networks,) fractions


@dataclass(frozen=True)
class Problem:
    """A synthetic problem: its kind, its errors, and the seed standard deviation of a run."""

    kind: str
    error: Errors
    run_sd: float


def problem(seed: int) -> Problem:
    """A problem of one of five kinds.

    Terms are of 0.8 to 5 points and exponents of 0.35 to 2.5, log-uniform.
    """
    random = np.random.default_rng(seed)
    kind, run_sd = KINDS[seed % len(KINDS)], RUN_SDS[seed // len(KINDS) % 2]
    e0 = random.uniform(0.05, 0.2)
    a = np.exp(random.uniform(math.log(0.008), math.log(0.05), 3))
    p = np.exp(random.uniform(math.log(0.35), math.log(2.5), 3))
    q = random.uniform(
        0.6, 2
    )  # exponent of a CES function; below 1 terms add up to more than their sum
    native = random.uniform(1.3, 2.5)
    penalty = random.uniform(0.0001, 0.0006)  # for every squared doubling of compute
    at, left = random.uniform(1.2, 2.5, 3), random.uniform(0.1, 0.6, 3)

    def terms(x: Floats) -> Floats:
        return a * x**-p

    def saturating(x: Floats) -> Floats:
        seen = (x[:, 2] ** -4 + native**-4) ** -0.25
        return terms(np.column_stack([x[:, :2], seen]))

    def broken(x: Floats) -> Floats:
        return terms(np.minimum(x, at)) * np.maximum(1, x / at) ** (-p * left)

    def doublings(x: Floats) -> Floats:
        return np.maximum(0, np.log2(x[:, 0] * x[:, 1] ** 2 * x[:, 2] ** 2))

    errors: dict[str, Errors] = {
        "additive": lambda x: e0 + terms(x).sum(1),
        "interaction": lambda x: e0 + (terms(x) ** q).sum(1) ** (1 / q),
        "native pixels": lambda x: e0 + saturating(x).sum(1),
        "under-trained": lambda x: e0 + terms(x).sum(1) + penalty * doublings(x) ** 2,
        "broken": lambda x: e0 + broken(x).sum(1),
    }
    return Problem(kind, errors[kind], run_sd)
