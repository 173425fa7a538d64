"""A predicted error and its intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

# Student's t, two-sided 95 %, for 1 to 10 degrees of freedom; then its expansion about the normal
NORMAL_95 = 1.959964
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, eq=False)
class PredictedError:
    """Errors as fractions, floats or arrays alike.

    `sd` is that of the expected error of such networks; `run_sd` is added to it for a single run.
    Where run_sd was estimated, from `freedom` degrees of freedom, intervals are Student's.
    """

    error: Any
    sd: Any
    run_sd: float
    freedom: float = math.inf

    @property
    def interval(self) -> tuple[Any, Any]:
        """Returns the interval (low, high) that holds the error of one new run 95 times in 100."""
        return self._around(np.sqrt(self.sd**2 + self.run_sd**2))

    @property
    def expected_interval(self) -> tuple[Any, Any]:
        """Returns the interval (low, high) that holds the mean of many runs 95 times in 100."""
        return self._around(self.sd)

    def _around(self, sd: Any) -> tuple[Any, Any]:
        # a difference of errors may be negative, an error may not: whoever shows it clips it
        half = quantile_95(self.freedom) * sd
        return self.error - half, self.error + half


def quantile_95(freedom: float) -> float:
    """Returns the standard deviations from the mean to each end of a 95 % interval."""
    if freedom <= len(T_95):
        return T_95[max(1, int(freedom)) - 1]
    return NORMAL_95 + (NORMAL_95**3 + NORMAL_95) / (4 * freedom)
