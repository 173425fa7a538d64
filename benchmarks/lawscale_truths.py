"""Error surfaces over depth, width and resolution for lawscale.py: what real ones may be like."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("additive", "interaction", "native pixels", "under-trained", "broken")
RUN_SDS = (0.0015, 0.0030)

Errors = Callable[[Any], Any]  # (networks, 3) multipliers -> (networks,) fractions


@dataclass(frozen=True)
class Truth:
    kind: str
    error: Errors
    run_sd: float


def truth(seed: int) -> Truth:
    """One of five kinds: terms of 0.8 to 5 points and exponents of 0.35 to 2.5, log-uniform."""
    random = np.random.default_rng(seed)
    kind, run_sd = KINDS[seed % len(KINDS)], RUN_SDS[seed // len(KINDS) % 2]
    e0 = random.uniform(0.05, 0.2)
    a = np.exp(random.uniform(math.log(0.008), math.log(0.05), 3))
    p = np.exp(random.uniform(math.log(0.35), math.log(2.5), 3))
    q = random.uniform(0.6, 2)  # of the CES: below 1 terms add up to more than their sum
    native = random.uniform(1.3, 2.5)
    penalty = random.uniform(0.0001, 0.0006)  # for every squared doubling of compute
    at, left = random.uniform(1.2, 2.5, 3), random.uniform(0.1, 0.6, 3)

    def terms(x: Any) -> Any:
        return a * x**-p

    def saturating(x: Any) -> Any:
        seen = (x[:, 2] ** -4 + native**-4) ** -0.25
        return terms(np.column_stack([x[:, :2], seen]))

    def broken(x: Any) -> Any:
        return terms(np.minimum(x, at)) * np.maximum(1, x / at) ** (-p * left)

    def doublings(x: Any) -> Any:
        return np.maximum(0, np.log2(x[:, 0] * x[:, 1] ** 2 * x[:, 2] ** 2))

    errors: dict[str, Errors] = {
        "additive": lambda x: e0 + terms(x).sum(1),
        "interaction": lambda x: e0 + (terms(x) ** q).sum(1) ** (1 / q),
        "native pixels": lambda x: e0 + saturating(x).sum(1),
        "under-trained": lambda x: e0 + terms(x).sum(1) + penalty * doublings(x) ** 2,
        "broken": lambda x: e0 + broken(x).sum(1),
    }
    return Truth(kind, errors[kind], run_sd)
