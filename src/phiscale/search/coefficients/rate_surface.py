"""The best learning rate between tuned sizes, as a function of depth and width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from phiscale.arch.scaling import Scaling
from phiscale.search.engine.tuning import Tuning


@dataclass(frozen=True, kw_only=True)
class RateSurface:
    """The best rate between tuned sizes: log2 rate = a + b ln depth + c ln width, within the rates
    tried. Pixels have no term: batch norms take what they change."""

    a: float
    b: float
    c: float
    least: float
    most: float

    def at(self, by: Scaling) -> float:
        log2 = self.a + self.b * math.log(by.depth) + self.c * math.log(by.width)
        return min(self.most, max(self.least, 2.0**log2))


def rate_surface(tuned: Mapping[Scaling, float], tuning: Tuning) -> RateSurface:
    """Through the rates that sizes chose, by least squares."""
    import numpy as np

    rows = [[1.0, math.log(by.depth), math.log(by.width)] for by in tuned]
    log2 = [math.log2(rate) for rate in tuned.values()]
    (a, b, c), *_ = np.linalg.lstsq(np.array(rows), np.array(log2), rcond=None)
    return RateSurface(
        a=float(a), b=float(b), c=float(c), least=min(tuning.rates), most=max(tuning.rates)
    )
