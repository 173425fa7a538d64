"""What stands for an image in Python: a path, bytes, a PIL image or an array; one or many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from phiscale.data.datasets.listing import list_images
from phiscale.data.reading.decode import DEFAULT_LIMITS, DecodedImage, DecodeLimits, decode_image
from phiscale.data.reading.pixels import DecodeOptions
from phiscale.errors import BadImage, DataError
from phiscale.text import printable

ImageLike = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A file or folder, an encoded image, a decoded one, or uint8 pixels (height, width, 3)."""

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image before it is read, and what answers call it."""

    name: str
    """Its path; else its position, such as images[2]."""
    value: Path | bytes | Image.Image | NDArray[np.uint8]

    def read(self, options: DecodeOptions, limits: DecodeLimits = DEFAULT_LIMITS) -> DecodedImage:
        """Reads the upright image; of files in RGB, without transparency.

        BadImage: it cannot be read.
        """
        if isinstance(self.value, Path | bytes):
            return decode_image(self.value, options, limits=limits)
        if isinstance(self.value, np.ndarray):
            return _in_memory(Image.fromarray(self.value))
        try:
            return _in_memory(ImageOps.exif_transpose(self.value))
        except (OSError, SyntaxError, ValueError) as error:  # a file behind it, read only now
            raise BadImage(f"damaged: {error}") from error


def _in_memory(image: Image.Image) -> DecodedImage:
    return DecodedImage(image, "array", image.mode)


def is_single(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Tells whether this is one image. A folder is many, even if it holds one."""
    if isinstance(images, str | Path):
        return not Path(images).is_dir()
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    return isinstance(images, bytes | Image.Image)


def name_images(images: ImageLike | Iterable[ImageLike]) -> Iterable[NamedImage]:
    """Returns every image with its name; a folder stands for the images in it.

    A list or tuple is checked as a whole; any other iterable is consumed as the images are read.
    DataError: a path does not exist, a folder is empty, or the type is another.
    """
    if is_single(images) or isinstance(images, str | Path | bytes):
        return list(_named("the image", images))
    if not isinstance(images, Iterable):
        raise _wrong_type("images", images)
    named = _named_each(images)
    return list(named) if isinstance(images, Sequence | np.ndarray) else named


def _named_each(images: Iterable[ImageLike]) -> Iterator[NamedImage]:
    for number, image in enumerate(images):
        yield from _named(f"images[{number}]", image)


def _named(name: str, image: object) -> Iterator[NamedImage]:
    if isinstance(image, str | Path):
        yield from _of_path(Path(image))
    elif isinstance(image, bytes | Image.Image):
        yield NamedImage(name, image)
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (
            image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        ):
            raise DataError(
                f"{name} is an array of {image.dtype} and shape {image.shape}. "
                "Use uint8 of shape (height, width, 3)."
            )
        yield NamedImage(name, image)
    else:
        raise _wrong_type(name, image)


def _of_path(path: Path) -> Iterator[NamedImage]:
    if path.is_dir():
        yield from (NamedImage(str(file), file) for file in list_images(path))
    elif path.suffix.lower() in ARCHIVE_SUFFIXES and path.exists():
        raise DataError(
            f"{printable(str(path))} is an archive. Unpack it, then give the folder of its images."
        )
    elif path.exists():
        yield NamedImage(str(path), path)
    else:
        raise DataError(_missing(printable(str(path))))


def _missing(name: str) -> str:
    """Why a path is no image, and what is taken instead."""
    if url := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", name):  # Path made one slash of two
        return f"{url[1]}://{url[2]} is a URL. Download it first, then give the file."
    if name == "-":
        return "- is no file: images are not read from standard input. Use image files or folders."
    if any(c in name for c in "*?["):
        return f"no file matches {name}. Use image files, or folders that hold some."
    return f"{name} does not exist. Use image files, or folders that hold some."


def _wrong_type(name: str, image: object) -> DataError:
    return DataError(
        f"{name} is of type {type(image).__name__}. "
        "Use a path, bytes, a PIL image, a uint8 array, or a list of these."
    )
