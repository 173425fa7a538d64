"""The parts of a JPEG file: its segments, its scans, and what the scans have sent.

Nothing is decoded here. A progressive file sends every coefficient in several scans; the decoder
goes through the whole image for each, and paints a coarse image where the last ones are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from PIL import Image

JPEG_MAGIC = b"\xff\xd8\xff"
SOS = 0xDA
_PROGRESSIVE = (0xC2, 0xCA)  # Huffman and arithmetic codes
_END_OF_IMAGE = 0xD9
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # neither a stuffed byte nor a restart
_COEFFICIENTS = 64
WHOLE_PIXELS = 64_000_000
"""Up to these pixels a JPEG is decoded as it is; above, at half its sides or less."""


def header_segments(data: bytes) -> Iterator[int]:
    """Yields where each segment before the image's data starts; the last is the start of scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        yield at
        if marker == SOS:
            return
        standalone = marker == 0x01 or 0xD0 <= marker <= 0xD7
        at += 2 if standalone else _after(data, at)


def end_of_scan(data: bytes, scan: int) -> int:
    """Returns where the marker behind a scan starts, or the file ends. `scan` is its own start."""
    marker = _END_OF_SCAN.search(data, scan + _after(data, scan))
    return marker.start() if marker else len(data)


def scans(data: bytes) -> Iterator[int]:
    """Yields where each scan starts, up to the end of the first image in the file."""
    at = max(header_segments(data), default=len(data))
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == SOS:
            yield at
            at = end_of_scan(data, at)
        elif marker == _END_OF_IMAGE:
            return
        else:
            at += _after(data, at)


def may_have_scans(data: bytes, number: int) -> bool:
    """Tells quickly whether the file may have more than so many scans; thumbnails count too."""
    return data.count(bytes((0xFF, SOS))) > number


def lacks_scans(data: bytes) -> bool:
    """Tells whether a progressive file ends before all bits of all coefficients were sent."""
    frame = next((at for at in header_segments(data) if data[at + 1] in _PROGRESSIVE), None)
    if frame is None:
        return False
    components = data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3]
    missing = set(product(components, range(_COEFFICIENTS)))
    for at in scans(data):
        count = data[at + 4]
        first, last, bits = data[at + 5 + 2 * count : at + 8 + 2 * count].ljust(3, b"\xff")
        if bits & 15 == 0:  # down to the lowest bit
            names = data[at + 5 : at + 5 + 2 * count : 2]
            missing -= set(product(names, range(first, last + 1)))
    return bool(missing)


def decode_smaller(image: Image.Image) -> None:
    """Makes the decoder shrink an enormous JPEG, whose full pixels no network could use."""
    width, height = image.size
    if image.format in ("JPEG", "MPO") and width * height > WHOLE_PIXELS:
        scale = next(n for n in (2, 4, 8) if n == 8 or width * height <= WHOLE_PIXELS * n**2)
        image.draft(None, (width // scale, height // scale))


def _after(data: bytes, at: int) -> int:
    """Returns the bytes of the segment at `at`, its marker included."""
    return 2 + int.from_bytes(data[at + 2 : at + 4], "big")
