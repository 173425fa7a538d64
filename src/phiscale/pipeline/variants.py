"""The variants of pretrained networks that compete: several resolutions, and first stages alone.

The same weights serve every resolution, and the first stages compute the same without the last
ones. Which of them is best for a budget, a linear probe measures (`probing.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from phiscale.arch.costs import cost
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import first_stages
from phiscale.arch.spec import Spec
from phiscale.planning.budget import Budget
from phiscale.planning.device import DeviceModel

SIZES = (3 / 7, 4 / 7, 5 / 7, 1.0)  # of the side that weights were trained at
LEAST_STAGES = 3  # fewer know little more than edges
LEAST_PIXELS = 48
MOST_ENLARGED = 4.0  # times that an image's side is enlarged
LATENCY_DOUBT = 2.0  # a predicted latency may be so many times the real one


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A pretrained network at one resolution, whole or its first stages."""

    name: str
    weights: Path
    network: Spec  # with as many classes as the images have


@dataclass(frozen=True, kw_only=True)
class VariantLimits:
    """What decides which variants of a network are worth a measurement."""

    budget: Budget
    device_model: DeviceModel
    native_pixels: int  # shorter side of the images
    batch: int  # that training memory counts

    def met(self, network: Spec) -> bool:
        """Tells whether a network is within the limits that are counted exactly."""
        counted, budget = cost(network), self.budget
        values: dict[str, Callable[[], float]] = {
            "macs": lambda: counted.macs,
            "params": lambda: counted.params,
            "weight_bytes": lambda: counted.weight_bytes,
            "train_memory_bytes": lambda: counted.train_bytes(self.batch),
            "latency_ms": lambda: self._doubted_latency_ms(network),
            "train_minutes": lambda: 0.0,  # a probe fits into any
        }
        return all(values[name]() <= allowed for name, allowed in budget.limits.items())

    def _doubted_latency_ms(self, network: Spec) -> float:
        """The latency that a network has if its prediction is far too high."""
        return float(self.device_model.latency_ms(cost(network))) / LATENCY_DOUBT


def variants_of(
    name: str, weights: Path, network: Spec, limits: VariantLimits, *, named: bool
) -> list[Variant]:
    """Returns the variants that are within the limits, or may be; of few pixels first.

    Each resolution has the most stages that fit. Where not even the smallest resolution fits whole,
    a still smaller one does. `named`: the user asked for these weights, so that they compete
    however small the images are. A network that fits in none of them competes as it is: what
    excludes it is then said.
    """
    native = network.resolution
    if native <= SMALL_PIXELS:
        return [Variant(name=name, weights=weights, network=network)]
    found: dict[Spec, str] = {}
    sizes = _sizes(native, limits.native_pixels, named)
    for pixels in sizes:
        for stages in range(len(network.stages), LEAST_STAGES - 1, -1):
            part = replace(first_stages(network, stages), resolution=pixels)
            if limits.met(part):
                whole = stages == len(network.stages)
                found[part] = (
                    f"{name}, {pixels} px"
                    if whole
                    else (f"{name}, first {stages} stages, {pixels} px")
                )
                break
    smaller = _largest_that_fits(network, sizes[0], limits) if sizes else None
    if smaller is not None:
        found[smaller] = f"{name}, {smaller.resolution} px"
    if not found and (named or sizes):
        return [Variant(name=name, weights=weights, network=network)]
    ordered = sorted(found, key=lambda part: part.resolution)
    return [Variant(name=found[part], weights=weights, network=part) for part in ordered]


def too_small(image_pixels: int, native: int) -> bool:
    """Tells whether images would be enlarged too much for a network trained at `native` pixels."""
    return native > SMALL_PIXELS and _usual_sizes(native)[0] > MOST_ENLARGED * image_pixels


def _sizes(native: int, image_pixels: int, named: bool) -> list[int]:
    """Returns the resolutions to try, in multiples of 32 but for the native one."""
    sizes = _usual_sizes(native)
    allowed = [pixels for pixels in sizes if pixels <= MOST_ENLARGED * image_pixels]
    return allowed or (sizes[:1] if named else [])


def _usual_sizes(native: int) -> list[int]:
    return sorted({native if size == 1 else round(native * size / 32) * 32 for size in SIZES})


def _largest_that_fits(network: Spec, below: int, limits: VariantLimits) -> Spec | None:
    """Returns the whole network at the largest resolution below the usual ones, where even the
    smallest of those is too large; else None."""
    if limits.met(replace(network, resolution=below)):
        return None
    for pixels in range(below - 8, LEAST_PIXELS - 1, -8):
        smaller = replace(network, resolution=pixels)
        if limits.met(smaller):
            return smaller
    return None
