"""What a TIFF holds that Pillow cannot read: a sound file, and its name says what to do.

Asked only after Pillow has failed, since files of these kinds are rare.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import TiffImagePlugin

_BITS, _COMPRESSION, _PHOTOMETRIC, _BANDS, _PLANAR, _SAMPLE = 258, 259, 262, 277, 284, 339
_INTEGER, _SIGNED, _FLOAT, _COMPLEX = 1, 2, 3, (5, 6)
_RAW_PHOTOMETRIC = (32803, 34892)
_COMPRESSIONS = {
    7: "JPEG",
    9: "JBIG",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    34927: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    34933: "PNG",
}
_MAYBE_READ = (7, 34925, 50000)
"""Read by most builds of Pillow: a file that fails is damaged rather."""


def explain_tiff(data: bytes) -> str | None:
    """Returns which kind of TIFF this is that is not read, and what to do; None: a usual one."""
    tags = _tags(data)
    if tags is None:
        return None
    if _first(tags, _PHOTOMETRIC, 1) in _RAW_PHOTOMETRIC:
        return "a camera's raw image, which is not read; develop it to JPEG or PNG"
    compression = _first(tags, _COMPRESSION, 1)
    if compression in _COMPRESSIONS and compression not in _MAYBE_READ:
        name = _COMPRESSIONS[compression]
        return f"a TIFF compressed as {name}, which is not read; save it as PNG, or with deflate"
    bits, sample = _first(tags, _BITS, 1), _first(tags, _SAMPLE, _INTEGER)
    bands, planar = _first(tags, _BANDS, 1), _first(tags, _PLANAR, 1) == 2
    numbers = {_SIGNED: "signed integers", _FLOAT: "floats"}.get(sample, "integers")
    if sample in _COMPLEX:
        return "a TIFF of complex numbers, which is not read; save their magnitude"
    if bands == 1 and bits not in _known_bits(sample):
        fix = "32-bit floats" if sample == _FLOAT or bits > 16 else "16-bit integers"
        return f"a TIFF of {bits}-bit {numbers}, which is not read; save it as {fix}"
    if bands == 1:
        return _of_byte_order(data, bits, sample)
    what = f"{bands} bands of {bits}-bit {numbers}{', band after band' if planar else ''}"
    fix = "save one as grey or three as RGB" if bands not in (3, 4) else "save it as RGB of 8 bits"
    usual = bands in (3, 4) and bits in (8, 16) and sample == _INTEGER and not planar
    return None if usual else f"a TIFF of {what}, which is not read; {fix}"


def is_signed_8_bit(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Tells whether the pixels are signed bytes, which Pillow takes for unsigned ones."""
    tags = image.tag_v2
    return _first(tags, _SAMPLE, _INTEGER) == _SIGNED and _first(tags, _BITS, 1) == 8


def _known_bits(sample: int) -> tuple[int, ...]:
    """Returns the depths of grey that are read."""
    return {_SIGNED: (16, 32), _FLOAT: (32,)}.get(sample, (1, 2, 4, 8, 12, 16, 32))


def _of_byte_order(data: bytes, bits: int, sample: int) -> str | None:
    if data[:2] == b"MM" and bits == 32 and sample == _INTEGER:
        return "a TIFF of big-endian unsigned 32-bit integers, which is not read; save it anew"
    return None


def _tags(data: bytes) -> Any:
    """Returns the tags of the first page; None where they are damaged."""
    big = data[2:3] == b"+" or data[3:4] == b"+"
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return tags if _BITS in tags or _BANDS in tags else None
    except Exception:  # whatever the parser stumbles over
        return None


def _first(tags: Any, tag: int, default: int) -> int:
    """Returns a tag's value, the first one where it has one for each band."""
    value = tags.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default
