"""One search on several image sets: where each is kept, and whether their coefficients differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from phiscale.errors import UsageError
from phiscale.planning.coefficients import NAMES, Coefficients

SAME = 1 + 1e-6  # a ratio of two coefficients on which all laws agree


def set_folders(out: Path, sets: Sequence[str]) -> dict[str, Path]:
    """Returns the folder of the search on each set: `out`, or one folder in it per set.

    UsageError: two sets have one name.
    """
    if len(sets) == 1:
        return {sets[0]: out}
    folders = {each: out / Path(each).name for each in sets}
    if len(set(folders.values())) < len(sets):
        raise UsageError("two image sets in `data` have one name. Use different names.")
    return folders


def compare_sets(coefficients: Mapping[str, Coefficients]) -> list[str]:
    """Says whether coefficients of several sets differ by more than chance explains, a line each.

    The interval of a ratio comes from those of its parts, end by end in logs, for an estimate often
    lies at an end of its own interval (MOVER: Zou and Donner, Statistics in Medicine 27 (2008),
    1693-1702). Sets are taken as independent.
    """
    lines: list[str] = []
    for (one, a), (other, b) in combinations(coefficients.items(), 2):
        if not (a.intervals and b.intervals):
            lines.append(f"{one} and {other}: a grid has no intervals, so nothing can be said")
            continue
        for name in NAMES:
            gap = math.log(getattr(b, name) / getattr(a, name))
            (a_down, a_up), (b_down, b_up) = _reach(a, name), _reach(b, name)
            low = math.exp(gap - math.hypot(b_down, a_up))
            high = math.exp(gap + math.hypot(b_up, a_down))
            differ = low > SAME or high < 1 / SAME
            lines.append(
                f"{name} of {other} over that of {one}: {math.exp(gap):.3f} [{low:.2f}, "
                f"{high:.2f}]: {'they differ' if differ else 'not significantly different'}"
            )
    return lines


def _reach(coefficients: Coefficients, name: str) -> tuple[float, float]:
    """How far a coefficient's interval reaches below and above it, in logs."""
    value = getattr(coefficients, name)
    low, high = (coefficients.intervals or {})[name]
    return max(0.0, math.log(value / low)), max(0.0, math.log(high / value))
