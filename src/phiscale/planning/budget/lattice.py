"""Every distinct network that scaling can reach, with its exact costs.

Many multipliers round to the same blocks, channels and pixels; each network comes once.

    LatticeAxes()           every depth, width and resolution that makes another network
    ScalingLattice.of(...)  the networks at these axes, with their exact costs

`ray` walks through them by alpha^phi, beta^phi, gamma^phi.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from phiscale.arch.costs import CostGrid, cost_grid
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import Scaling, effective
from phiscale.arch.sizes import Number
from phiscale.arch.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEPTHS, WIDTHS, MAX_RESOLUTION = (0.25, 4.0), (0.25, 2.5), 2.7  # multipliers, from and to
LATTICE_SIZE = 500_000  # networks


@dataclass(frozen=True, kw_only=True)
class LatticeAxes:
    """The multipliers of a lattice. None: all that make another network on that axis."""

    depths: Sequence[float | Spec] | None = None  # a spec: the base with other repeats
    widths: Sequence[float] | None = None
    pixels: Sequence[int] | None = None  # a side


ALL_AXES = LatticeAxes()


@dataclass(frozen=True)
class ScalingLattice:
    """Every combination of some depths, widths and pixels of a base, with exact costs."""

    base: Spec  # multipliers are counted over it
    grid: CostGrid
    native_pixels: int | None = None  # more pixels than these count as these

    @staticmethod
    def of(
        network: Spec,
        axes: LatticeAxes = ALL_AXES,
        *,
        base: Spec | None = None,
        native_pixels: int | None = None,
    ) -> ScalingLattice:
        """All scalings of `network`, their multipliers counted over `base` (itself if None).

        With the default axes about half a million networks, counted in a second.
        """
        depths, pixels, widths = axes.depths, axes.pixels, axes.widths
        if depths is None:
            depths = lattice_depths(network)
        if pixels is None:
            pixels = lattice_resolutions(network, native_pixels)
        if widths is None:
            widths = lattice_widths(LATTICE_SIZE // max(1, len(depths) * len(pixels)))
        grid = cost_grid(network, depths, widths, pixels)
        return ScalingLattice(base or network, grid, native_pixels)

    @cached_property
    def multipliers(self) -> tuple[list[float], list[float], list[float]]:
        """Depth, width and resolution over the base, as built: (depths,), (widths,), (pixels,)."""

        def by(network: Spec) -> Scaling:
            return effective(network, self.base, self.native_pixels)

        grid = self.grid
        at_pixels = (replace(grid.widths[0], resolution=pixels) for pixels in grid.resolutions)
        return (
            [by(network).depth for network in grid.depths],
            [by(network).width for network in grid.widths],
            [by(network).resolution for network in at_pixels],
        )

    @cached_property
    def logs(self) -> NDArray[np.float64]:
        """Logs of depth, width and resolution over the base, as built: (networks, 3)."""
        import numpy as np

        axes = [[math.log(value) for value in axis] for axis in self.multipliers]
        mesh = np.meshgrid(*axes, indexing="ij")
        return np.stack([axis.ravel() for axis in mesh], axis=1)

    def flat(self, values: Number) -> NDArray[np.float64]:
        """Values that broadcast to the lattice, one for each network: (networks,)."""
        import numpy as np

        return np.broadcast_to(np.asarray(values, dtype=float), self.grid.shape).ravel()

    def network(self, number: int) -> Spec:
        """The network at this place of the flat arrays."""
        import numpy as np

        return self.grid.spec([int(i) for i in np.unravel_index(number, self.grid.shape)])


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
    return sorted({1.0, *_thin(inside, count - 1)})


def lattice_widths(count: int, least: float = WIDTHS[0], most: float = WIDTHS[1]) -> list[float]:
    """About `count` multipliers in equal steps that meet 1: they round to different channels."""
    below = min(150, max(30, round(count * (1 - least) / (most - least))))
    step = (1 - least) / below
    return [round(least + step * i, 9) for i in range(round((most - least) / step) + 1)]


def lattice_resolutions(spec: Spec, native_pixels: int | None = None) -> list[int]:
    """The resolutions to try in pixels: multiples of `pixel_step`, and the base's.

    They go from `min_pixels` to 2.7 times the base, but not above `max_pixels`.
    """
    step = pixel_step(spec.resolution)
    most = min(int(MAX_RESOLUTION * spec.resolution), max_pixels(spec, native_pixels))
    base = {spec.resolution} if spec.resolution <= most or most < min_pixels(spec, step) else ()
    return sorted({*base, *pixel_multiples(spec, step, most=most)})


def pixel_step(pixels: int) -> int:
    """The step between resolutions in pixels: 8, or 4 up to 64 px.

    `pixels`: of the base or of the images. Smaller steps hardly change a network.
    """
    return 8 if pixels > SMALL_PIXELS else 4


def min_pixels(spec: Spec, step: int, least: float = 0) -> int:
    """The smallest resolution of a lattice, in pixels.

    It is the first multiple of `step`, at or above `least`, whose last feature map is 2x2 or more.
    """
    return int(-(-max(2 * spec.reduction, least) // step) * step)


def pixel_multiples(spec: Spec, step: int, *, least: float = 0, most: float) -> range:
    """The resolutions from `least` to `most` in pixels: multiples of `step`.

    Those whose last feature map would be smaller than 2x2 are left out.
    """
    return range(min_pixels(spec, step, least), int(most) + 1, step)


def max_pixels(spec: Spec, native_pixels: int | None) -> int:
    """The largest resolution of a lattice, in pixels: that of the images.

    No less than `min_pixels`, so that small images leave one resolution. Unlimited where
    `native_pixels` is None.
    """
    least = min_pixels(spec, pixel_step(spec.resolution))
    return sys.maxsize if native_pixels is None else max(native_pixels, least)


def _thin(values: Sequence[float], count: int) -> list[float]:
    """At most `count` of the values, evenly spread over them."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
