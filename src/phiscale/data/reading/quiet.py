"""Pillow without its warnings, for the thread that decodes; all other threads keep them.

Pillow warns of large images and of corrupt metadata. `warnings.catch_warnings` is no way to drop
these: filters belong to the whole process, and threads that save and restore them undo each
other's changes. So Pillow's modules get a stand-in for the module `warnings` instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Drops, while inside and in this thread only, what Pillow warns of."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


class _Warnings(ModuleType):
    """The module `warnings`, as Pillow's modules see it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)

    def warn(
        self, message: Any, category: type[Warning] | None = None, stacklevel: int = 1, **more: Any
    ) -> None:
        """Warns as `warnings.warn` does, on behalf of the same line; not while quiet."""
        if not _quiet.get():
            warnings.warn(message, category, stacklevel + 1, **more)


for _module in (Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin):
    vars(_module)["warnings"] = _Warnings("warnings")
