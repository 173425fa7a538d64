"""How far exact MACs are from the paper's d w^2 r^2, and the powers with which costs grow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from phiscale.arch.costs import Cost, cost, count, total
from phiscale.arch.families import as_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.sizes import ScaledSizes
from phiscale.arch.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The MACs of a scaled network over its base's, and why they differ from d w^2 r^2.

    The paper's approximation d * w^2 * r^2 is called the monomial. The exact ratio is the monomial
    times four factors, which are 1 where the approximation holds:

        exact = monomial * structure * depth_rounding * channel_rounding * spatial_rounding

    *Structure* is what the monomial misses before anything is rounded. Depthwise convolutions, for
    example, grow with w instead of w^2, and stem and head do not grow with d.
    """

    monomial: float  # d * w^2 * r^2
    exact: float  # MACs of the network as built, over the base's
    structure: float  # parts of the network that grow with other powers of d, w and r
    depth_rounding: float  # blocks of a stage are whole numbers
    channel_rounding: float  # channels are multiples of the spec's divisor
    spatial_rounding: float  # sides of feature maps are whole numbers
    real_depth: float  # depth as built: blocks over the base's blocks

    @property
    def total(self) -> float:
        """Returns exact / monomial."""
        return self.exact / self.monomial


def deviation(base: Spec | str, by: Scaling) -> Deviation:
    """Compares a scaled network with the paper's FLOPS ~ d w^2 r^2 (arXiv:1905.11946, eq. 3)."""
    base = as_spec(base)
    net = scale(base, by)
    by = replace(by, resolution=net.resolution / base.resolution)
    built, ideal = ScaledSizes.of(net), ScaledSizes.ideal(base, by)
    deep = replace(ideal, repeats=built.repeats)
    wide = replace(
        deep,
        stem=built.stem,
        head=built.head,
        channels=built.channels,
        groups=built.groups,
        expand_from=built.expand_from,
    )
    at_base, at_ideal, at_deep, at_wide, at_built = (
        float(sum(layer.macs * count for layer, count in count(base, sizes)))
        for sizes in (ScaledSizes.of(base), ideal, deep, wide, built)
    )
    return Deviation(
        monomial=by.macs,
        exact=at_built / at_base,
        structure=at_ideal / at_base / by.macs,
        depth_rounding=at_deep / at_ideal,
        channel_rounding=at_wide / at_deep,
        spatial_rounding=at_built / at_wide,
        real_depth=net.blocks / base.blocks,
    )


AXES = ("depth", "width", "resolution")
GROWING = ("macs", "params", "activations", "saved_bytes", "peak_bytes")
Powers = dict[str, tuple[float, float, float]]  # of depth, width and resolution, by cost


def doubling_powers(model: Spec | str) -> Powers:
    """Returns the power of depth, width and resolution with which each cost of a model grows.

    One dimension at a time is doubled and the network rounded as usual. A cost that becomes 4 times
    as large has the power 2. MACs would have the powers 1, 2 and 2 if they were d w^2 r^2.
    """
    spec = as_spec(model)
    return _powers(lambda by: cost(scale(spec, by)), Scaling(), 2.0)


def slopes(base: Spec | str, at: Scaling | None = None, *, step: float = 1.25) -> Powers:
    """Returns the powers of `doubling_powers` without rounding, around any scaling of the base.

    Blocks, channels and pixels stay fractions, so the powers show what the structure alone does.
    `at`: the scaling where they are measured; the base by default. `step`: the factor by which one
    dimension at a time grows.
    """
    spec = as_spec(base)

    def unrounded(by: Scaling) -> Cost:
        return total(count(spec, ScaledSizes.ideal(spec, by)))

    return _powers(unrounded, at or Scaling(), step)


def _powers(costs: Callable[[Scaling], Cost], at: Scaling, step: float) -> Powers:
    start = costs(at)
    ends = [costs(replace(at, **{axis: getattr(at, axis) * step})) for axis in AXES]

    def power(name: str, end: Cost) -> float:
        return math.log(getattr(end, name) / getattr(start, name)) / math.log(step)

    return {
        name: (power(name, ends[0]), power(name, ends[1]), power(name, ends[2])) for name in GROWING
    }
