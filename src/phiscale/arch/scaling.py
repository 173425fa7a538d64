"""Scaling as a pure function Spec -> Spec, and the rules that say which multipliers to use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

from phiscale.arch.families import as_spec
from phiscale.arch.rounding import Scaling, round_channels, scale_spec, scaled_repeats
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError

__all__ = [
    "STRATEGIES",
    "ScaledNetwork",
    "Scaling",
    "Strategy",
    "compound",
    "effective",
    "first_stages",
    "round_channels",
    "scale",
    "scaled_repeats",
]


def compound(phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15) -> Scaling:
    """Returns depth = alpha^phi, width = beta^phi, resolution = gamma^phi.

    Source: arXiv:1905.11946, equation 3. phi = 0 is the base; a negative phi shrinks it.
    SpecError: phi is beyond 100, or a coefficient is not above 0.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not (math.isfinite(value) and value > 0):
            raise SpecError(
                f"{name}={value} cannot be raised to phi; use a number above 0, e.g. 1.2."
            )
    if not math.isfinite(phi) or abs(phi) > 100:
        raise SpecError(f"phi={phi} is out of range; use a number between -100 and 100.")
    return Scaling(depth=alpha**phi, width=beta**phi, resolution=gamma**phi)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A scaling rule as shares of log-compute: d = T^depth, w^2 = T^width, r^2 = T^resolution.

    T is the target compute over the base's. The shares sum to 1, so that d * w^2 * r^2 = T.
    Compound, single-dimension, uniform and dWr scaling all belong to this family
    (Dollár et al., arXiv:2103.06877). The share of depth is ln d / ln(d w^2 r^2).
    """

    depth: float
    width: float
    resolution: float

    def __post_init__(self) -> None:
        total = self.depth + self.width + self.resolution
        if not abs(total - 1) <= 1e-6:
            raise SpecError(f"shares sum to {total:g}, not 1; divide each by {total:g}.")

    def __call__(self, compute_ratio: float) -> Scaling:
        """Returns the multipliers that spend `compute_ratio` times the base's MACs."""
        if not (math.isfinite(compute_ratio) and compute_ratio > 0):
            raise SpecError(
                f"compute_ratio={compute_ratio} is not above 0; use 2 for twice the base's MACs."
            )
        return Scaling(
            depth=compute_ratio**self.depth,
            width=compute_ratio ** (self.width / 2),
            resolution=compute_ratio ** (self.resolution / 2),
        )

    @staticmethod
    def of(scaling: Scaling) -> Strategy:
        """Returns the strategy on whose ray `scaling` lies. SpecError: it keeps the compute."""
        total = math.log(scaling.macs)
        if abs(total) < 1e-12:
            raise SpecError(
                "a scaling that keeps the compute lies on no ray; use phi other than 0."
            )
        return Strategy(
            depth=math.log(scaling.depth) / total,
            width=2 * math.log(scaling.width) / total,
            resolution=2 * math.log(scaling.resolution) / total,
        )


STRATEGIES: dict[str, Strategy] = {
    "compound": Strategy.of(compound(1.0)),
    "depth": Strategy(depth=1, width=0, resolution=0),
    "width": Strategy(depth=0, width=1, resolution=0),
    "resolution": Strategy(depth=0, width=0, resolution=1),
    "uniform": Strategy(depth=1 / 3, width=1 / 3, resolution=1 / 3),
    "dWr": Strategy(depth=0.1, width=0.8, resolution=0.1),  # "fast": activations grow as T^0.6
}


def scale(model: Spec | str, by: Scaling) -> Spec:
    """Returns the network `by` times as deep, wide and finely sampled, rounded to integers.

    `model`: a spec or a model's name. The spec's fields say how to round.
    SpecError: there is no such model, or `by` is no Scaling.
    """
    if not isinstance(cast("object", by), Scaling):
        raise SpecError(
            f"by={by!r} is no Scaling. Write phiscale.Scaling(depth=1.2), or compound(1)."
        )
    return scale_spec(as_spec(model), by)


def effective(spec: Spec, over: Spec, native_pixels: int | None = None) -> Scaling:
    """Returns the multipliers of `spec` over another network, as an error law counts them.

    Depth is the ratio of blocks. Width is the root of the ratio of summed squared channels: over
    the blocks of `over`, or over stages where the two have a different number of them. Resolution
    counts pixels up to `native_pixels`, those that the images have.
    """
    most = native_pixels or max(spec.resolution, over.resolution)
    return Scaling(
        depth=spec.blocks / over.blocks,
        width=_width(spec, over),
        resolution=min(spec.resolution, most) / min(over.resolution, most),
    )


@dataclass(frozen=True, kw_only=True)
class ScaledNetwork:
    """A network as rounding built it, with its multipliers and its cost over a base network.

    `costs.measure_scaling` makes one from two specs.
    """

    name: str = ""
    spec: Spec
    by: Scaling  # multipliers over the base, as built: blocks, channels, pixels
    compute_ratio: float  # exact MACs over the base's
    cost_ratio: float = 0.0
    """Over the base's, in the cost metric of a search. 0 = the metric is MACs: `compute_ratio`."""
    off_ray: float = 0.0  # distance from the requested ray, in logs of the multipliers

    def __post_init__(self) -> None:
        if not self.cost_ratio:
            object.__setattr__(self, "cost_ratio", self.compute_ratio)


def _width(spec: Spec, over: Spec) -> float:
    if len(spec.stages) == len(over.stages):
        pairs = zip(spec.stages, over.stages, strict=True)
        squares = sum(base.repeats * stage.channels**2 for stage, base in pairs)
        return math.sqrt(squares / sum(s.repeats * s.channels**2 for s in over.stages))

    def mean_square(of: Spec) -> float:
        return sum(stage.channels**2 for stage in of.stages) / len(of.stages)

    return math.sqrt(mean_square(spec) / mean_square(over))


def first_stages(network: Spec, count: int) -> Spec:
    """Returns the network without its last stages and without the convolution before pooling.

    What is left computes what it computed before, so that it can keep its weights. All stages: the
    network as it is. SpecError: it has fewer stages, or `count` is below 1.
    """
    stages = len(network.stages)
    if not 1 <= count <= stages:
        raise SpecError(f"count={count} is not between 1 and the {stages} stages of this network.")
    if count == stages:
        return network
    return replace(network, stages=network.stages[:count], head_channels=0)
