"""The sizes of one network or of many, and arithmetic that serves both.

The same lines describe one network (integers), half a million at once (numpy arrays over a lattice)
and the ideal network between the integers (fractions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

from phiscale.arch.scaling import Scaling
from phiscale.arch.spec import Spec

Number = Any  # int, float or numpy array: the arithmetic is the same


@dataclass(frozen=True)
class ScaledSizes:
    """The numbers of a spec that scaling changes: integers, arrays over a lattice, or fractions."""

    stem: Number
    head: Number
    side: Number
    repeats: tuple[Number, ...]
    channels: tuple[Number, ...]
    groups: tuple[Number, ...]
    expand_from: tuple[Number, ...]
    fractional: bool = False  # nothing is rounded

    @staticmethod
    def of(spec: Spec) -> ScaledSizes:
        """Returns the integers of one network."""
        stages = spec.stages
        return ScaledSizes(
            stem=spec.stem_channels,
            head=spec.head_channels,
            side=spec.resolution,
            repeats=tuple(s.repeats for s in stages),
            channels=tuple(s.channels for s in stages),
            groups=tuple(s.group_width for s in stages),
            expand_from=tuple(s.expand_from for s in stages),
        )

    @staticmethod
    def ideal(spec: Spec, by: Scaling) -> ScaledSizes:
        """Returns the scaled network before any rounding."""
        last = len(spec.stages) - 1
        ends = 1.0 if spec.fixed_ends else by.width

        def depth(number: int) -> float:
            return 1.0 if spec.fixed_ends and number in (0, last) else by.depth

        return ScaledSizes(
            stem=spec.stem_channels * ends,
            head=spec.head_channels * ends,
            side=spec.resolution * by.resolution,
            repeats=tuple(s.repeats * depth(i) for i, s in enumerate(spec.stages)),
            channels=tuple(s.channels * by.width for s in spec.stages),
            groups=tuple(s.group_width * by.width for s in spec.stages),
            expand_from=tuple(s.expand_from * by.width for s in spec.stages),
            fractional=True,
        )


# Plain numbers take Python's arithmetic (a network in well under a millisecond), arrays numpy's.


def plain(value: Any) -> bool:
    """Tells whether a value is a Python number, not an array."""
    return isinstance(value, bool | int | float)


def floor(value: Number) -> Number:
    """Returns the largest whole number of at most `value`."""
    if plain(value):
        return math.floor(value)
    import numpy as np

    return np.floor(value).astype(np.int64)


def at_least(least: int, value: Number) -> Number:
    """Returns `value`, or `least` where it is smaller."""
    if plain(value):
        return max(least, value)
    import numpy as np

    return np.maximum(least, value)


def where(condition: Any, then: Number, otherwise: Number) -> Number:
    """Returns `then` where the condition holds, else `otherwise`, as `numpy.where`."""
    if plain(condition):
        return then if condition else otherwise
    import numpy as np

    return cast("Any", np.where(condition, then, otherwise))
