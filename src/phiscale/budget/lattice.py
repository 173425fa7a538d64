"""The lattice: where rounding changes the network, as far as a base can sensibly be scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phiscale.families.small import SMALL_PIXELS
from phiscale.spec import Spec


def lattice_depths(
    spec: Spec, least: float = 0.25, most: float = 4.0, count: int = 40
) -> list[float]:
    """One multiplier for every different vector of repeats, thinned to at most `count` of them."""
    half = 0.5 if spec.depth_rounding == "round" else 0.0
    steps = {1.0, least} | {
        (repeats - half) / stage.repeats + (1e-9 if half else 0)
        for stage in spec.stages
        for repeats in range(1, math.ceil(most * stage.repeats) + 1)
    }
    inside = sorted(step for step in steps if least <= step <= most)
    return sorted({1.0, *_evenly(inside, count - 1)})


def lattice_widths(count: int, least: float = 0.25, most: float = 2.5) -> list[float]:
    """About `count` multipliers in equal steps that meet 1: they round to different channels."""
    below = min(150, max(30, round(count * (1 - least) / (most - least))))
    step = (1 - least) / below
    return [round(least + step * i, 9) for i in range(round((most - least) / step) + 1)]


def lattice_resolutions(spec: Spec, native_pixels: int | None = None) -> list[int]:
    """Multiples of 8 (4 for bases of at most 64 px), from a last map of 2x2 to 2.7 times the base.

    Not above what the images have, unless that leaves less than the smallest of them.
    """
    step = 8 if spec.resolution > SMALL_PIXELS else 4
    least = -(-2 * spec.reduction // step) * step
    most = int(2.7 * spec.resolution)
    if native_pixels is not None:
        most = min(most, max(native_pixels, least))
    base = {spec.resolution} if spec.resolution <= most or most < least else set[int]()
    return sorted(base | set(range(least, most + 1, step)))


def _evenly(values: Sequence[float], count: int) -> list[float]:
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
