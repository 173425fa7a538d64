"""Rounds a scaled network to whole channels, blocks and pixels.

Multipliers give fractions, such as 19.2 channels. The rules here are those of the published
implementations, so that a network scaled here equals the published one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from phiscale.arch.spec import Spec, Stage, hidden_channels
from phiscale.errors import SpecError
from phiscale.files.values import is_finite


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Multipliers over the base network: blocks, channels, pixels a side."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        for name in ("depth", "width", "resolution"):
            value = getattr(self, name)
            if not (is_finite(value) and value > 0):
                raise SpecError(
                    f"{name}={value!r} scales to nothing; use a number above 0, 1 for no change."
                )

    @property
    def macs(self) -> float:
        """Returns the paper's approximation d * w^2 * r^2. `deviation` measures its error."""
        return self.depth * self.width**2 * self.resolution**2


def scale_spec(spec: Spec, by: Scaling) -> Spec:
    """Returns the network with its depth, width and resolution multiplied, rounded to integers.

    The fields `depth_rounding`, `channel_divisor` and `channel_rounding` of the spec say how.
    """
    last = len(spec.stages) - 1

    def channels(count: int) -> int:
        return round_channels(count * by.width, spec.channel_divisor, spec.channel_rounding)

    def stage(number: int, old: Stage) -> Stage:
        keep_repeats = spec.fixed_ends and number in (0, last)
        new = replace(
            old,
            repeats=old.repeats if keep_repeats else scaled_repeats(spec, old.repeats, by.depth),
            channels=channels(old.channels) if by.width != 1 else old.channels,
            expand_from=channels(old.expand_from)
            if old.expand_from and by.width != 1
            else old.expand_from,
            group_width=0,
        )
        return _regroup(new, old, by.width) if old.group_width else new

    keep_ends = spec.fixed_ends or by.width == 1
    return replace(
        spec,
        resolution=max(1, round(spec.resolution * by.resolution)),
        stem_channels=spec.stem_channels if keep_ends else channels(spec.stem_channels),
        head_channels=spec.head_channels
        if keep_ends or not spec.head_channels
        else channels(spec.head_channels),
        stages=tuple(stage(number, old) for number, old in enumerate(spec.stages)),
    )


def scaled_repeats(spec: Spec, repeats: int, depth: float) -> int:
    """Returns the number of blocks of a stage at depth multiplier `depth`.

    It is rounded up as in the paper, or to the nearest number, as the spec says.
    """
    exact = repeats * depth
    # 1e-9: 1.2 * 5 is 6, not the 7 that binary fractions would make of it
    rounded = math.ceil(exact - 1e-9) if spec.depth_rounding == "ceil" else math.floor(exact + 0.5)
    return max(1, rounded)


def round_channels(channels: float, divisor: int = 8, rule: str = "at_least_90") -> int:
    """Returns the multiple of `divisor` that is nearest to `channels`.

    The rule "at_least_90" never loses more than 10 % of `channels`: EfficientNet's, Lite's, Keras's
    and timm's. The rule "nearest" is EfficientNetV2's.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    if rule == "at_least_90" and nearest < 0.9 * channels:
        nearest += divisor
    return nearest


def _regroup(stage: Stage, old: Stage, width: float) -> Stage:
    """Widens groups with the network; otherwise a grouped convolution would cost w, not w^2."""
    if width == 1:
        return replace(stage, group_width=old.group_width)
    group = max(1, round(old.group_width * width / 8) * 8)
    hidden = hidden_channels(stage.channels, stage.expand)
    hidden = max(group, round(hidden / group) * group)
    return replace(stage, channels=round(hidden / stage.expand), group_width=group)
