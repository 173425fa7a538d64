"""What this process is: phiscale's own, or that of a host program which uses the library.

Only in a process of its own does phiscale handle signals, end the process, and change how the C
library allocates memory. The command line and the processes that phiscale starts are its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_depth = 0


def is_own_process() -> bool:
    """Whether this process is phiscale's own."""
    return _depth > 0


def is_first_process() -> bool:
    """Whether this process reports for all that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def own_process(enabled: bool = True) -> Iterator[None]:
    """Declares, while inside, that this process is phiscale's own. Not `enabled`: no change."""
    global _depth
    _depth += enabled
    try:
        yield
    finally:
        _depth -= enabled
