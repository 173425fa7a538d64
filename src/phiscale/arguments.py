"""Types and checks that the arguments of many public functions share.

Messages name the Python parameter; the command line writes it as a flag.
"""

from __future__ import annotations

import math
import os

from phiscale.errors import UsageError

PathOrName = str | os.PathLike[str]


def check_at_least(least: int, **numbers: int | None) -> None:
    """Raises UsageError for a whole number below `least` or above 64 bits. None is allowed."""
    for name, value in numbers.items():
        if value is not None and not least <= value < 2**63:
            raise UsageError(f"{name}={value} is out of range. Use {least} or more.")


def check_trains(**numbers: float | None) -> None:
    """Raises UsageError for epochs or learning rates that are not finite and above 0. None is
    allowed."""
    for name, value in numbers.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name}={value:g} trains nothing. Use a number above 0.")
