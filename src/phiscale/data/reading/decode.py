"""One image from a file or from bytes: RGB, upright, whole; or a BadImage that says why not.

The same function reads for the audit, training, evaluation and the predictor, so an image has
the same pixels everywhere. Files are recognised by their content, never by their
name. Of animations the first frame is read; the others are not looked at, however many they are.
"""

from __future__ import annotations

import errno
import io
import math
import os
import re
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from phiscale.data.reading.formats import detect_image_format, detect_other_type
from phiscale.data.reading.integrity import (
    check_checksums,
    check_complete,
    check_parts,
    check_passes,
)
from phiscale.data.reading.jpeg import WHOLE_PIXELS, decode_smaller
from phiscale.data.reading.pixels import (
    DEFAULT_OPTIONS,
    DecodeOptions,
    StoredValues,
    stored_values,
    to_rgb,
)
from phiscale.data.reading.quiet import without_pillow_warnings
from phiscale.data.reading.tiff import explain_tiff, is_signed_8_bit
from phiscale.errors import BadImage, UsageError
from phiscale.files.values import is_finite

# Pillow's other formats are left out on purpose: some start other programs (EPS), some hold
# images of another size than they declare (ICO), some decode pixel by pixel in Python.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
if find_spec("PIL.AvifImagePlugin"):  # since Pillow 11.3
    FORMATS += ("AVIF",)

_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What a file may claim before it is decoded. Pillow's own limit (179 megapixels) holds too."""

    max_pixels: int = WHOLE_PIXELS
    """Decoded, they may take 3 bytes each: of 16-bit RGBA a file may have 3/8 of these pixels."""
    max_file_bytes: int = 64 * 2**20
    max_aspect: float = 100.0
    """Longer side over shorter side."""

    @staticmethod
    def of_megapixels(number: float | None) -> DecodeLimits:
        """Returns the limits for images of so many megapixels; None: the default ones.

        UsageError: the number is not above 0, or Pillow would refuse so many.
        """
        if number is None:
            return DEFAULT_LIMITS
        if not is_finite(number) or number <= 0:
            raise UsageError(f"max_megapixels={number!r} is impossible. Use a number above 0.")
        pixels = round(number * 1e6)
        most = Image.MAX_IMAGE_PIXELS  # Pillow warns above it, and refuses twice as many
        if most is not None and pixels > 2 * most:
            raise UsageError(
                f"max_megapixels={number:g} is more than Pillow reads. Use at most "
                f"{2 * most // 1_000_000}, or set PIL.Image.MAX_IMAGE_PIXELS to None."
            )
        return DecodeLimits(max_pixels=pixels, max_file_bytes=max(64 * 2**20, 4 * pixels))


DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image, and how it lay in its file."""

    image: Image.Image
    """RGB, upright."""
    format: str
    """As Pillow calls it: JPEG, PNG, ...; "array" where there was no file."""
    mode: str
    """Pillow's mode in the file: RGB, L, P, CMYK, I;16, ..."""
    stored: StoredValues | None = None
    """What a grey file of more than eight bits holds, not turned upright."""
    has_more: bool = False
    """Whether the file has further pages or frames, which are not read."""


def read_image(
    source: Path | bytes,
    options: DecodeOptions = DEFAULT_OPTIONS,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Image.Image:
    """Reads an image: RGB, upright, without transparency. All errors are BadImage."""
    return decode_image(source, options, limits=limits).image


def decode_image(
    source: Path | bytes,
    options: DecodeOptions = DEFAULT_OPTIONS,
    *,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> DecodedImage:
    """Reads an image as `read_image`, with what its file says of it. All errors are BadImage."""
    data = source if isinstance(source, bytes) else read_bytes(Path(source), limits)
    if not data:
        raise BadImage("empty file")
    if len(data) > limits.max_file_bytes:
        raise BadImage(_too_big(len(data), limits))
    if reason := detect_other_type(data):
        raise BadImage(reason)
    with without_pillow_warnings():
        try:
            return _decode(data, options, limits)
        except BadImage:
            raise
        except Exception as error:  # decoders raise nearly everything on damaged files
            raise BadImage(_decoder_reason(error, data)) from error


def read_bytes(path: Path, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """Reads a regular file. BadImage, at once, for all else: it never waits for a writer."""
    size = regular_size(path)
    if size > limits.max_file_bytes:
        raise BadImage(_too_big(size, limits))
    try:
        with open_at_once(path) as file:
            return file.read(size + 1)
    except OSError as error:
        raise BadImage(_os_reason(path, error)) from error


def regular_size(path: Path) -> int:
    """Returns the bytes of a regular file, links followed. BadImage: it is something else."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise BadImage(_os_reason(path, error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(f"{_KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, not a file")
    return status.st_size


def open_at_once(path: Path) -> io.BufferedReader:
    """Opens for reading; does not wait, should the file have become a pipe since it was seen."""
    return open(path, "rb", opener=_non_blocking)


def _non_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Windows has no such flag


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def _os_reason(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link that leads nowhere" if path.is_symlink() else "does not exist"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, OSError):
        if error.errno == errno.ELOOP:
            return "a link that leads to itself"
        return f"cannot be read: {error.strerror}"
    return f"cannot be read: {error}"  # a NUL in the name


def _too_big(size: int, limits: DecodeLimits) -> str:
    return f"{size / 2**20:,.1f} MiB, over the limit of {limits.max_file_bytes / 2**20:,.4g} MiB"


def _decode(data: bytes, options: DecodeOptions, limits: DecodeLimits) -> DecodedImage:
    check_parts(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        mode, raw_mode = image.mode, _raw_mode(image)
        _check_size(image, raw_mode, limits)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and is_signed_8_bit(image):
            raise BadImage("a TIFF of signed 8-bit integers, which is not read; add 128 to them")
        check_passes(data, image.size, limits.max_pixels)
        check_checksums(data)
        decode_smaller(image)
        image.load()
        check_complete(data, image)
        transpose = _TRANSPOSES.get(_orientation(image))
        upright = to_rgb(image, options, raw_mode=raw_mode)
        upright = upright.copy() if transpose is None else upright.transpose(transpose)
        stored = stored_values(image, raw_mode)
        is_photo = image.format == "MPO"  # beside it lie its depths or a smaller copy
        has_more = not is_photo and _has_more(image)
    upright.info = {}  # nobody downstream reads it, and profiles and comments are heavy
    kind = "JPEG" if is_photo else str(image.format)
    return DecodedImage(upright, kind, mode, stored, has_more)


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a later frame is damaged; the first one was read
        return True


def _check_size(image: Image.Image, raw_mode: str, limits: DecodeLimits) -> None:
    width, height = image.size
    pixel_bytes = _pixel_bytes(image, raw_mode)
    megapixels = width * height * max(3, pixel_bytes) / 3e6
    if megapixels > limits.max_pixels / 1e6:
        depth = f" of {pixel_bytes} bytes" if pixel_bytes > 3 else ""
        most = f"{limits.max_pixels / 1e6:,.4g} megapixels{' of 3' if depth else ''}"
        raise BadImage(
            f"{width:,} x {height:,} pixels{depth}, over the limit of {most}; "
            f"`max_megapixels={math.ceil(megapixels)}` raises it"
        )
    if max(image.size) > limits.max_aspect * min(image.size):
        longest = f"more than {limits.max_aspect:g} times as long as wide"
        raise BadImage(f"{width:,} x {height:,} pixels, {longest}")


def _pixel_bytes(image: Image.Image, raw_mode: str) -> int:
    """Returns the bytes of a decoded pixel as its file has them."""
    depth = 4 if image.mode in ("I", "F") else 2 if "16" in f"{image.mode} {raw_mode}" else 1
    return depth * len(image.getbands())


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Returns the depth in the file; Pillow keeps it with the tiles, which loading drops."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return ""
    arguments = image.tile[0].args
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _orientation(image: Image.Image) -> int:
    """Returns 1 to 8; 1 where the EXIF data are broken, since the image itself is sound."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever the parser stumbles over, no pixel depends on it
        return 1
    return value if isinstance(value, int) else 1


def _decoder_reason(error: Exception, data: bytes) -> str:
    """Returns a decoder's error in plain words."""
    text = re.sub(r"<[^>]* object at 0x[0-9a-f]+>", "it", str(error))
    text = "".join(c if c.isprintable() else " " for c in text)[:120].strip()
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than Pillow's own limit: a decompression bomb"
    if detect_image_format(data) == "TIFF" and (reason := explain_tiff(data)):
        return reason
    if isinstance(error, UnidentifiedImageError):
        kind = detect_image_format(data)
        return f"damaged: {kind} that cannot be read" if kind else "not an image in a known format"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if "runcated" in text or isinstance(error, EOFError):
        return "cut short: the file ends before the image does"
    if "too large" in text:
        return "a text or profile chunk that unpacks to more than Pillow allows"
    return f"damaged: {text or type(error).__name__}"
