"""Types and checks that the arguments of many public functions, and files, share.

Messages name the Python parameter; the command line writes it as a flag.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection
from typing import TypeGuard

from phiscale.errors import UsageError

PathOrName = str | os.PathLike[str]


def is_whole(value: object) -> TypeGuard[int]:
    """Tells whether a value is a whole number. True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Tells whether a value is a number, if only NaN or infinite. True and False are none."""
    return is_whole(value) or isinstance(value, float)


def is_finite(value: object) -> TypeGuard[float]:
    """Tells whether a value is a number that a float can hold: neither NaN nor infinite."""
    return is_number(value) and abs(value) <= sys.float_info.max  # an int may be too large


def is_range(value: object) -> TypeGuard[tuple[float, float]]:
    """Tells whether a value is two finite numbers, the lower first."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(is_finite(each) for each in value)
        and value[0] < value[1]
    )


def check_range(**ranges: tuple[float, float] | None) -> None:
    """Raises UsageError for what is not two finite numbers, the lower first. None is allowed."""
    for name, value in ranges.items():
        if value is not None and not is_range(value):
            raise UsageError(f"{name}={value!r} is no range. Use two numbers, the lower first.")


def check_at_least(least: int, **numbers: int | None) -> None:
    """Raises UsageError for a whole number below `least` or above 64 bits. None is allowed."""
    for name, value in numbers.items():
        if value is not None and not (is_whole(value) and least <= value < 2**63):
            raise UsageError(f"{name}={value} is out of range. Use {least} or more.")


def check_trains(**numbers: float | None) -> None:
    """Raises UsageError for epochs or learning rates that are not finite and above 0. None is
    allowed."""
    for name, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name}={value:g} trains nothing. Use a number above 0.")


def check_one_of(allowed: Collection[str], **choices: str) -> None:
    """Raises UsageError for a choice that is none of the allowed words."""
    for name, value in choices.items():
        if value not in allowed:
            words = " or ".join(repr(each) for each in allowed)
            raise UsageError(f"{name}={value!r} is unknown. Use {words}.")
