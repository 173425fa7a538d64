"""Which files are images: one rule for image sets and for folders that are predicted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from phiscale.data.datasets.split_names import is_junk
from phiscale.data.reading.decode import open_at_once, regular_size
from phiscale.data.reading.formats import HEAD_BYTES, IMAGE_SUFFIXES, detect_image_format
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, printable

logger = logging.getLogger(__name__)


def list_images(folder: Path) -> list[Path]:
    """Lists the files in a folder and its subfolders that are named like images, sorted.

    Hidden files and those that file managers leave behind are ignored; other files are counted
    in a log line. Raises DataError for a folder that cannot be read or holds no image.
    """
    files = [Path(path) for path in _walk(folder)]
    images = sorted(path for path in files if named_like_image(path.name))
    if not images:
        raise DataError(
            f"No image in '{printable(str(folder))}'. Use image files, or folders that hold some."
        )
    if others := len(files) - len(images):
        logger.info(
            f"{printable(str(folder))}: {count_of(others, 'file')} not named like images, ignored"
        )
    return images


def named_like_image(name: str) -> bool:
    """Whether the suffix is one that images usually have."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (60,000 Path objects)


def begins_like_image(path: Path) -> bool:
    """Whether the first bytes are those of an image that can be read."""
    try:
        regular_size(path)
        with open_at_once(path) as file:
            return detect_image_format(file.read(HEAD_BYTES)) is not None
    except (BadImage, OSError):
        return False


def _walk(folder: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise DataError(
            f"Folder '{printable(str(error.filename))}' cannot be read: {error.strerror}. "
            "Give yourself the permission, or remove it."
        ) from error

    for place, folders, files in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        yield from (os.path.join(place, name) for name in files if not is_junk(name))  # noqa: PTH118
