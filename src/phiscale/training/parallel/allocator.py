"""The C library's memory, told to stay: on a CPU torch asks for every tensor's anew."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


@cache
def keep_freed_memory() -> None:
    """From here on this process keeps the memory that it frees, for its next use of it.

    glibc returns every large block to the system at once, and the next layer gets it back page by
    page, each one zeroed: up to a third of the time of a training step (docs/log.md). Threads must
    share one arena for that: glibc gives those of the others back whatever it is told.
    Where the C library is another one, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_ARENA_MAX, 1)
