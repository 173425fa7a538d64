"""The networks to choose among: the lattice of all scalings where rounding changes something, as
far as a base can sensibly be scaled, or the ray of some coefficients through it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import scale
from phiscale.arch.spec import Spec
from phiscale.planning.coefficients import Coefficients

DEPTHS, WIDTHS, MOST_RESOLUTION = (0.25, 4.0), (0.25, 2.5), 2.7  # least and most multipliers
PHI_STEPS = 100  # a unit of phi
MOST_PHI = 20  # of coefficients that hardly scale


def lattice_depths(
    spec: Spec, least: float = DEPTHS[0], most: float = DEPTHS[1], count: int = 40
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


def lattice_widths(count: int, least: float = WIDTHS[0], most: float = WIDTHS[1]) -> list[float]:
    """About `count` multipliers in equal steps that meet 1: they round to different channels."""
    below = min(150, max(30, round(count * (1 - least) / (most - least))))
    step = (1 - least) / below
    return [round(least + step * i, 9) for i in range(round((most - least) / step) + 1)]


def lattice_resolutions(spec: Spec, native_pixels: int | None = None) -> list[int]:
    """Multiples of 8 (4 for bases of at most 64 px), from a last map of 2x2 to 2.7 times the base.

    Not above what the images have, unless that leaves less than the smallest of them.
    """
    step, least = _steps(spec)
    most = min(int(MOST_RESOLUTION * spec.resolution), _most_pixels(spec, native_pixels))
    base = {spec.resolution} if spec.resolution <= most or most < least else set[int]()
    return sorted(base | set(range(least, most + 1, step)))


def ray(
    spec: Spec, coefficients: Coefficients, native_pixels: int | None = None
) -> dict[Spec, float]:
    """The scalings of `spec` by these coefficients, each with its phi, from small to large.

    Phi goes in hundredths as far as the lattice does: from -7.6 to 7.1 for the paper's coefficients
    of EfficientNet-B0. Of those that round to the same network the roundest is kept, so that
    `describe --phi` shows it. Above the pixels that the images have, depth and width go on alone,
    and a network that pixels alone would change keeps its phi.
    """
    low, high = _phi_limits(spec, coefficients)
    most = _most_pixels(spec, native_pixels)
    found: dict[Spec, int] = {}
    for step in range(math.ceil(low * PHI_STEPS), math.floor(high * PHI_STEPS) + 1):
        network = scale(spec, coefficients.at(step / PHI_STEPS))
        if network.resolution > most:
            found.setdefault(replace(network, resolution=most), step)
        else:
            found[network] = min(found.get(network, step), step, key=_roundness)
    return {network: step / PHI_STEPS for network, step in found.items()}


def _phi_limits(spec: Spec, coefficients: Coefficients) -> tuple[float, float]:
    """As far as every multiplier stays on the lattice; 0 always does."""
    coarsest = min(1.0, _steps(spec)[1] / spec.resolution)
    low, high = -float(MOST_PHI), float(MOST_PHI)
    for power, (least, most) in (
        (coefficients.alpha, DEPTHS),
        (coefficients.beta, WIDTHS),
        (coefficients.gamma, (coarsest, MOST_RESOLUTION)),
    ):
        if power != 1:
            ends = sorted(math.log(end) / math.log(power) for end in (least, most))
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def _roundness(step: int) -> tuple[int, int]:
    """Whole numbers first, then halves, tenths and twentieths; of equally round ones the last."""
    parts = (PHI_STEPS, PHI_STEPS // 2, PHI_STEPS // 10, PHI_STEPS // 20, 1)
    return next(place for place, part in enumerate(parts) if step % part == 0), -step


def _steps(spec: Spec) -> tuple[int, int]:
    """Of the lattice's pixels: their step, and the least, where the last map is 2x2."""
    step = 8 if spec.resolution > SMALL_PIXELS else 4
    return step, -(-2 * spec.reduction // step) * step


def _most_pixels(spec: Spec, native_pixels: int | None) -> int:
    """What the images have, unless that leaves less than the least."""
    return sys.maxsize if native_pixels is None else max(native_pixels, _steps(spec)[1])


def _evenly(values: Sequence[float], count: int) -> list[float]:
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
