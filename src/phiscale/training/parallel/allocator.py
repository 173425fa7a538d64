"""Makes the C library keep freed memory, since torch allocates every tensor anew on a CPU."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


@cache
def keep_freed_memory() -> None:
    """Makes this process keep the memory that it frees, from now on.

    By default glibc returns every large block to the system at once. The next layer gets it back
    page by page, each page zeroed: up to a third of the time of a training step (docs/log.md).
    Threads must share one arena, because glibc always returns the memory of further arenas. With
    another C library nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_ARENA_MAX, 1)
