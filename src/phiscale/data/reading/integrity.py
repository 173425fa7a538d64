"""Damage that Pillow decodes without a word: wrong PNG checksums, images whose data end early.

Pillow reports most damage itself. What it lets pass is checked here on the file's bytes, so that an
image that is only half there is never taken for a whole one. Known gaps: a JPEG whose middle was
overwritten with bytes that happen to be valid codes; a progressive one that ends within its last
scan, whose lower part is a little coarser.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from phiscale.data.reading.jpeg import (
    JPEG_MAGIC,
    SOS,
    decode_smaller,
    end_of_scan,
    header_segments,
    lacks_scans,
    may_have_scans,
    scans,
)
from phiscale.errors import BadImage

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_PARTS = 20_000
"""Chunks of a PNG, or segments before a JPEG's data. Honest files have tens; each costs Pillow
about a microsecond and a hundred bytes, so millions of empty ones are an attack."""
MAX_PASSES = 16
"""Scans of the largest image that may be read. Honest progressive files have about ten; a scan
takes 14 bytes of the file, and the decoder a second for a thousand megapixels."""

_PADDING = bytes(range(1, 129))
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def check_parts(data: bytes) -> None:
    """Checks the number of parts before Pillow walks them. BadImage: there are absurdly many."""
    if len(data) < 4 * MAX_PARTS:  # a part has four bytes at least
        return
    if data.startswith(PNG_MAGIC):
        parts = _png_chunks(data)
    elif data.startswith(JPEG_MAGIC):
        parts = header_segments(data)
    else:
        return
    for count, _ in enumerate(parts):
        if count >= MAX_PARTS:
            raise BadImage(f"more than {MAX_PARTS:,} parts in one file")


def check_passes(data: bytes, size: tuple[int, int], max_pixels: int) -> None:
    """Checks how often a JPEG's decoder goes through the image. BadImage: absurdly often."""
    if not data.startswith(JPEG_MAGIC):
        return
    width, height = size
    most = MAX_PASSES * max_pixels // (width * height)
    if may_have_scans(data, most) and (count := sum(1 for _ in scans(data))) > most:
        raise BadImage(f"{count:,} scans of {width:,} x {height:,} pixels: a decompression bomb")


def check_checksums(data: bytes) -> None:
    """Checks the checksums of a PNG and its end. Pillow skips those of later IDATs.

    BadImage: a checksum is wrong, or the end is missing.
    """
    if not data.startswith(PNG_MAGIC):
        return
    last = b""
    view = memoryview(data)
    for kind, start, end in _png_chunks(data):
        if end + 4 > len(data):
            raise BadImage("cut short: the file ends before the image does")
        if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise BadImage(f"damaged: PNG chunk {ascii(kind)[2:-1]} has a wrong checksum")
        last = kind
    if last != b"IEND":
        raise BadImage("cut short: the file ends before the image does")


def check_complete(data: bytes, image: Image.Image) -> None:
    """Checks that the data did not end early, so that the decoder painted over the rest.

    `image` is `data` as Pillow decoded it, before any conversion. What the decoder paints is known
    (grey in JPEG, zeros in PNG); only where it stands is the costlier proof made.
    BadImage: the data ended early.
    """
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    painted = set(last if isinstance(last, tuple) else (last,))
    if data.startswith(JPEG_MAGIC):
        if lacks_scans(data):
            raise BadImage("cut short: its JPEG data end before the image does")
        if not painted <= {127, 128}:
            return
        corner = image.crop((max(0, width - 8), max(0, height - 8), width, height)).tobytes()
        if set(corner) <= {127, 128} and _jpeg_ends_early(data, image):
            raise BadImage("cut short: its JPEG data end before the image does")
    elif data.startswith(PNG_MAGIC):
        interlaced = data[28] != 0
        if not interlaced and painted != {0}:
            return
        last_row = image.crop((0, height - 1, width, height)).tobytes()
        if (interlaced or not any(last_row)) and _png_ends_early(data):
            raise BadImage("cut short: its PNG data end before the image does")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields each chunk's kind, and where its content starts and ends, maybe behind the file."""
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, at + 8 + length
        if kind == b"IEND":
            return
        at += 12 + length


def _png_ends_early(data: bytes) -> bool:
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits *= _PNG_CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    missing_bytes = 0
    for x, y, across, down in passes:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            missing_bytes += rows * (1 + -(-columns * bits // 8))
    inflate = zlib.decompressobj()
    for kind, start, end in _png_chunks(data):
        if kind != b"IDAT":
            continue
        compressed = data[start:end]
        while compressed and missing_bytes > 0 and not inflate.eof:
            missing_bytes -= len(inflate.decompress(compressed, 1 << 20))
            compressed = inflate.unconsumed_tail
    return missing_bytes - len(inflate.flush()) > 0


def _jpeg_ends_early(data: bytes, image: Image.Image) -> bool:
    """Tells whether bytes added at the end of the first scan change the image.

    A decoder that has all it needs skips them; one that ran out of data decodes them.
    """
    scan = list(header_segments(data))[-1]
    if data[scan + 1] != SOS:
        return False
    end = end_of_scan(data, scan)
    try:
        again = Image.open(io.BytesIO(data[:end] + _PADDING + data[end:]), formats=("JPEG",))
        decode_smaller(again)
        again.load()
    except (OSError, SyntaxError):
        return True
    return again.tobytes() != image.tobytes()
