"""Baselines for searches of coefficients, and networks of equal compute to compare them with.

scaling.STRATEGIES   the paper's ray, one dimension, uniform, dWr: scalings that need no search
INVERSE              the paper's shares with those of depth and resolution swapped
paper_grid           the grid of alpha, beta and gamma that the paper searched
symmetric_scaling    the best scaling if all three dimensions gave equal returns
match_compute        the network nearest to a ray that has the target MACs
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from phiscale.arch.costs import cost, measure_scaling
from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Scaling, Strategy, scale
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget import (
    LatticeAxes,
    ScalingLattice,
    lattice_depths,
    pixel_multiples,
    pixel_step,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 0.03  # of MACs: worth a few hundredths of a point; the paper's arms differ by 24 %
REACH = 1.6  # how far from the target multipliers rounding can push a network of these MACs
CLOSE_ENOUGH = 0.1  # in log-multipliers: a tenth off the ray is as near as 4-pixel steps get

# A falsification: if this does as well as compound scaling, the shares do not matter.
INVERSE = Strategy(
    depth=STRATEGIES["compound"].resolution,
    width=STRATEGIES["compound"].width,
    resolution=STRATEGIES["compound"].depth,
)


def paper_grid(step: float = 0.1, slack: float = 0.15) -> list[tuple[float, float, float]]:
    """Returns every (alpha, beta, gamma) of 1 to 2 that doubles the compute.

    That is, |alpha beta^2 gamma^2 - 2| < `slack`.

    It is the search of arXiv:1905.11946, section 3.3, at phi = 1. The paper does not print its
    step: 0.1 with slack 0.15 gives 25 candidates, 0.05 with slack 0.08 gives 84.
    """
    if not (0 < step <= 1 and slack > 0):
        raise UsageError(f"step={step}, slack={slack} make no grid. Use e.g. 0.1 and 0.15.")
    alphas = [round(1 + step * i, 9) for i in range(round(1 / step) + 1)]
    return [
        (a, b, c)
        for a in alphas
        for b in alphas
        for c in alphas
        if abs(a * b**2 * c**2 - 2) < slack
    ]


def symmetric_scaling(compute: float, exponent: float = 2.3) -> Scaling:
    """Returns the best scaling under d w^2 r^2 = `compute` if all dimensions gave equal returns.

    Equal returns are A x^-p with the same A and p for depth, width and resolution. Coefficients
    from a search should do better than this baseline, which needs no measurement: at p = 2.3 and
    compute 4.67 it gives alpha, beta, gamma = 1.28, 1.12, 1.12. It follows from
    p A x^-p = multiplier * (1, 2, 2).
    """
    if not (compute > 0 and exponent > 0 and math.isfinite(compute * exponent)):
        raise UsageError(
            f"compute={compute}, exponent={exponent} give no scaling. Use numbers above 0."
        )
    depth = (compute * 2 ** (4 / exponent)) ** 0.2
    other = depth / 2 ** (1 / exponent)
    return Scaling(depth=depth, width=other, resolution=other)


@lru_cache(maxsize=64)  # every worker of a study matches the same arms
def match_compute(
    base: Spec, ray: Strategy | Scaling, target_macs: float, *, tolerance: float = TOLERANCE
) -> ScaledNetwork:
    """Returns the network nearest to `ray` whose exact MACs are within `tolerance` of the target.

    `ray`: shares of log-compute, or any scaling that lies on it. The network may lie anywhere along
    the ray (the monomial d w^2 r^2 is up to 40 % wrong there), so that a width arm only widens.
    Images grow by 8 pixels (4 for bases of at most 64), or by 2 where that is too far from the ray.
    Then late stages may have a block more than early ones. Of networks whose distances agree to
    1 %, the one nearest in MACs is returned.

    UsageError: nothing is close enough to the target.
    """
    import numpy as np

    strategy = ray if isinstance(ray, Strategy) else Strategy.of(ray)
    base_macs = cost(base).macs
    if not (math.isfinite(target_macs) and target_macs > 0 and 0 < tolerance < 1):
        raise UsageError(
            f"target_macs={target_macs} within tolerance={tolerance}: no network has that. "
            f"Use a multiple of the base's {base_macs} and a fraction such as {TOLERANCE}."
        )
    target = strategy(target_macs / base_macs)
    nearest: ScaledNetwork | None = None
    closest_miss = math.inf
    for lattices in _finer_and_finer(base, target):
        for lattice in lattices:
            miss = np.abs(np.log(lattice.grid.cost.macs / target_macs)).ravel()
            closest_miss = min(closest_miss, float(miss.min()))
            fits = (miss <= math.log1p(tolerance)).nonzero()[0]
            if not len(fits):
                continue
            off = ray_distance(lattice.logs[fits], strategy).round(2)
            best = int(np.lexsort((miss[fits], off))[0])
            if nearest is None or off[best] < nearest.off_ray:
                spec = lattice.network(int(fits[best]))
                nearest = replace(measure_scaling(spec, base), off_ray=float(off[best]))
        if nearest and nearest.off_ray <= CLOSE_ENOUGH:
            break
    if nearest is None:
        raise UsageError(
            f"no scaling near depth x{target.depth:.2f}, width x{target.width:.2f}, resolution "
            f"x{target.resolution:.2f} has {target_macs:.4g} MACs within {tolerance:.1%}; the "
            f"nearest is {math.expm1(closest_miss):.1%} off. Use tolerance="
            f"{math.ceil(1000 * math.expm1(closest_miss)) / 1000:g} or another target."
        )
    return nearest


def ray_distance(logs: NDArray[np.float64], ray: Strategy) -> NDArray[np.float64]:
    """Returns how far networks are from a ray through the base: (networks,).

    `logs`: natural logarithms of their multipliers, (networks, 3).
    """
    import numpy as np

    direction = np.array([ray.depth, ray.width / 2, ray.resolution / 2])
    direction /= np.linalg.norm(direction)
    return np.linalg.norm(logs - np.outer(logs @ direction, direction), axis=1)


def _finer_and_finer(base: Spec, target: Scaling) -> Iterator[Iterable[ScalingLattice]]:
    """Yields lattices around the target multipliers: first with usual pixels, then with even ones,
    then at depths between."""
    import numpy as np

    depths = lattice_depths(base, target.depth / REACH, target.depth * REACH)
    fine = [1.0, *np.geomspace(target.width / REACH, target.width * REACH, 400).tolist()]
    widths = list({scale(base, Scaling(width=width)): width for width in fine}.values())

    def pixels(step: int) -> list[int]:
        """Returns the base's pixels, and multiples of `step` near the target; from a 2x2 map."""
        middle = base.resolution * target.resolution
        near = pixel_multiples(base, step, least=middle / REACH, most=middle * REACH)
        return sorted({base.resolution, *near})

    def lattice(depths: Sequence[float | Spec], step: int) -> ScalingLattice:
        axes = LatticeAxes(depths=depths, widths=widths, pixels=pixels(step))
        return ScalingLattice.of(base, axes)

    for step in (pixel_step(base.resolution), 2):
        yield [lattice(depths, step)]
    yield (lattice([deep], 2) for deep in between(base, depths))


def between(base: Spec, depths: Sequence[float]) -> Iterator[Spec]:
    """Yields the base at depths between `depths`: its last stages get a block more first.

    A base whose stages all grow at once has no depths between.
    """
    for low, high in pairwise(scale(base, Scaling(depth=depth)) for depth in depths):
        grown = [
            number
            for number, (a, b) in enumerate(zip(low.stages, high.stages, strict=True))
            if a != b
        ]
        for first in grown[1:]:
            yield replace(low, stages=low.stages[:first] + high.stages[first:])
