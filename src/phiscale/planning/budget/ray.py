"""The scalings of a base by alpha^phi, beta^phi, gamma^phi: a ray through the lattice."""

from __future__ import annotations

import math
from dataclasses import replace

from phiscale.arch.scaling import scale
from phiscale.arch.spec import Spec
from phiscale.planning.budget.lattice import (
    DEPTHS,
    MAX_RESOLUTION,
    WIDTHS,
    max_pixels,
    min_pixels,
    pixel_step,
)
from phiscale.planning.coefficients import Coefficients

PHI_STEPS = 100  # a unit of phi
MAX_PHI = 20  # of coefficients that hardly scale


def ray(
    spec: Spec, coefficients: Coefficients, native_pixels: int | None = None
) -> dict[Spec, float]:
    """The scalings of `spec` by these coefficients, each with its phi, from small to large.

    Phi goes in hundredths as far as the lattice does: from -7.6 to 7.1 for the paper's coefficients
    of EfficientNet-B0. Several phi can round to the same network: it gets the roundest of them,
    which is easiest to type. If 0.99, 1 and 1.01 make the same network, its phi is 1.

    Resolution stops at the pixels of the images, and beyond it only depth and width grow. If the
    images have 224 px and phi 0.25 asks for 232 px, the network has 224 px. A phi that would change
    the pixels alone then makes no new network: the smallest phi of that network stays.
    """
    low, high = _phi_limits(spec, coefficients)
    most = max_pixels(spec, native_pixels)
    steps: dict[Spec, int] = {}
    for step in range(math.ceil(low * PHI_STEPS), math.floor(high * PHI_STEPS) + 1):
        network = scale(spec, coefficients.at(step / PHI_STEPS))
        if network.resolution > most:
            steps.setdefault(replace(network, resolution=most), step)
        else:
            steps[network] = min(steps.get(network, step), step, key=_roundness)
    return {network: step / PHI_STEPS for network, step in steps.items()}


def _phi_limits(spec: Spec, coefficients: Coefficients) -> tuple[float, float]:
    """The least and the largest phi at which every multiplier is on the lattice."""
    coarsest = min(1.0, min_pixels(spec, pixel_step(spec.resolution)) / spec.resolution)
    low, high = -float(MAX_PHI), float(MAX_PHI)
    for power, (least, most) in (
        (coefficients.alpha, DEPTHS),
        (coefficients.beta, WIDTHS),
        (coefficients.gamma, (coarsest, MAX_RESOLUTION)),
    ):
        if power != 1:
            ends = sorted(math.log(end) / math.log(power) for end in (least, most))
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def _roundness(step: int) -> tuple[int, int]:
    """Whole numbers first, then halves, tenths and twentieths; of equally round ones the last."""
    parts = (PHI_STEPS, PHI_STEPS // 2, PHI_STEPS // 10, PHI_STEPS // 20, 1)
    return next(place for place, part in enumerate(parts) if step % part == 0), -step
