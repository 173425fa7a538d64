"""Files that break image readers, made on the spot. Good ones show four coloured quadrants."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, features

from phiscale.data.reading.decode import FORMATS

SIDE = 64
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 40), (30, 40, 210), (230, 220, 40)
COLOURS = (RED, GREEN, BLUE, YELLOW)  # top left, top right, bottom left, bottom right
WHITE = (255, 255, 255)
GREYS = tuple((v, v, v) for v in (40, 100, 160, 220))
AVIF = "AVIF" in FORMATS and features.check("avif")
LEVELS = np.array([40, 100, 160, 220]) / 255
Colours = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Nasty:
    """A file, and what reading it must give: four colours, or a reason that matches."""

    name: str
    data: bytes
    colours: Colours = ()
    reason: str = ""


def quadrants(colours: Colours = COLOURS, side: int = SIDE) -> Image.Image:
    half = side // 2
    image = Image.new("RGB", (side, side))
    for k, colour in enumerate(colours):
        image.paste(
            colour, (k % 2 * half, k // 2 * half, k % 2 * half + half, k // 2 * half + half)
        )
    return image


def colours_of(image: Image.Image) -> list[tuple[int, ...]]:
    """The colour at the middle of each quadrant."""
    w, h = image.size
    spots = ((w // 4, h // 4), (3 * w // 4, h // 4), (w // 4, 3 * h // 4), (3 * w // 4, 3 * h // 4))
    pixels = np.asarray(image)
    return [tuple(int(value) for value in pixels[y, x]) for x, y in spots]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def textured() -> Image.Image:
    """Quadrants with noise, so that cut files differ from whole ones."""
    noise = np.random.default_rng(0).integers(-15, 16, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(np.asarray(quadrants()) + noise, 0, 255).astype(np.uint8))


def tiff_of(
    values: np.ndarray, *, compression: int = 1, photometric: int = 1, planar: bool = False
) -> bytes:
    """A TIFF with one raw strip of any numbers, h w or h w bands."""
    height, width, *bands = values.shape
    count, kind = (bands or [1])[0], {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    photometric = 2 if count == 3 else photometric
    strip = values.tobytes()
    starts = [8 + k * len(strip) // count for k in range(count)] if planar else [8]
    lengths = [len(strip) // len(starts)] * len(starts)
    bits = [8 * values.dtype.itemsize] * count
    tags = [(256, "I", [width]), (257, "I", [height]), (258, "H", bits)]
    tags += [(259, "H", [compression]), (262, "H", [photometric]), (273, "I", starts)]
    tags += [(277, "H", [count]), (278, "I", [height]), (279, "I", lengths)]
    tags += [(284, "H", [1 + planar]), (339, "H", [kind] * count)]
    end = 8 + len(strip) + 2 + 12 * len(tags) + 4
    directory, beyond = struct.pack("<H", len(tags)), b""
    for tag, letter, numbers in tags:
        content = struct.pack(f"<{len(numbers)}{letter}", *numbers)
        if len(content) > 4:
            content, beyond = struct.pack("<I", end + len(beyond)), beyond + content
        directory += struct.pack("<HHI", tag, 3 if letter == "H" else 4, len(numbers))
        directory += content.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory + bytes(4) + beyond


def noisy() -> Image.Image:
    """Noise: all scans of a progressive JPEG are long."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def with_scans(whole: bytes, number: int) -> bytes:
    """A progressive JPEG with further scans behind its own, 14 bytes each, that change nothing."""
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x3f\x3f\x10\x00\x00"  # refines coefficient 63 of Y
    assert whole.endswith(b"\xff\xd9")
    return whole[:-2] + number * scan + whole[-2:]


def levels(top: float) -> np.ndarray:
    """The four greys as numbers up to `top`, float64."""
    return np.repeat(np.repeat((LEVELS * top).reshape(2, 2), SIDE // 2, 0), SIDE // 2, 1)


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(
    rows: np.ndarray,
    bits: int,
    colour: int,
    *,
    extra: bytes = b"",
    size: tuple[int, int] = (0, 0),
    interlaced: bool = False,
    part: float = 1.0,
) -> bytes:
    """A PNG of whole bytes per row (bits 8 or 16: h w or h w c; fewer bits: packed rows).

    `part` of the pixel data are there, in a sound stream.
    """
    height, width = rows.shape[:2]
    width, height = size if size != (0, 0) else (width, height)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    content = rows.astype(">u2") if bits == 16 else rows.astype(np.uint8)
    passes = [content]
    if interlaced:
        starts = (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
        )
        passes = [content[y::down, x::across] for x, y, across, down in (*starts, (0, 1, 1, 2))]
    raw = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for part in passes for row in part)
    idat = chunk(b"IDAT", zlib.compress(raw[: int(part * len(raw))]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + idat + chunk(b"IEND", b"")


def tiff(strip: bytes, bits: int, *, white_is_zero: bool = False, side: int = SIDE) -> bytes:
    """A grey TIFF with one raw strip."""
    entries = [(256, 4, side), (257, 4, side), (258, 3, bits), (259, 3, 1)]
    entries += [(262, 3, 0 if white_is_zero else 1), (273, 4, 8), (277, 3, 1), (278, 4, side)]
    entries += [(279, 4, len(strip))]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory + bytes(4)


def jpeg() -> bytes:
    return saved(textured(), "JPEG", quality=90)


def good() -> list[Nasty]:
    """Files that must be read, and the colours of their quadrants."""
    plain, rough = quadrants(), textured()
    files = [
        Nasty("baseline.jpg", saved(plain, "JPEG")),
        Nasty("progressive.jpg", saved(plain, "JPEG", progressive=True)),
        Nasty("full-colour-sampling.jpg", saved(plain, "JPEG", subsampling=0)),
        Nasty("cmyk.jpg", saved(plain.convert("CMYK"), "JPEG")),
        Nasty("ycck.jpg", _ycck()),
        Nasty("bytes-after-its-end.jpg", saved(plain, "JPEG") + b"\0" * 999),
        Nasty(
            "broken-exif.jpg", saved(plain, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01\x02")
        ),
        Nasty("exif-of-noise.jpg", saved(plain, "JPEG", exif=b"Exif\0\0" + bytes(range(255)))),
        Nasty("broken-icc.jpg", saved(plain, "JPEG", icc_profile=b"nonsense" * 9)),
        Nasty("mpo.jpg", saved(plain, "MPO", save_all=True, append_images=[quadrants(GREYS)])),
        Nasty("rgb.png", saved(plain, "PNG")),
        Nasty("png-in-truth.jpg", saved(plain, "PNG")),
        Nasty("jpeg-in-truth.png", saved(plain, "JPEG")),
        Nasty("no-extension", saved(plain, "PNG")),
        Nasty("16-bit-rgb.png", png(np.asarray(plain).astype(int) * 257, 16, 2)),
        Nasty("interlaced.png", png(np.asarray(plain), 8, 2, interlaced=True)),
        Nasty("broken-icc.png", png(np.asarray(plain), 8, 2, extra=chunk(b"iCCP", b"k\0\0junk"))),
        Nasty("palette.png", saved(plain.quantize(8), "PNG")),
        Nasty("still.gif", saved(plain, "GIF")),
        Nasty("rgb.bmp", saved(plain, "BMP")),
        Nasty("palette.bmp", saved(plain.quantize(8), "BMP")),
        Nasty("lzw.tif", saved(plain, "TIFF", compression="tiff_lzw")),
        Nasty("cmyk.tif", saved(plain.convert("CMYK"), "TIFF")),
        Nasty("rgb.ppm", saved(plain, "PPM")),
        Nasty("noisy.jpg", saved(rough, "JPEG")),
    ]
    files += _animations(plain) + _turned(plain)
    if features.check("webp"):
        files += [
            Nasty("lossy.webp", saved(plain, "WEBP")),
            Nasty("lossless.webp", saved(plain, "WEBP", lossless=True)),
        ]
    if AVIF:
        files.append(Nasty("image.avif", saved(plain, "AVIF")))
    if features.check("jpg_2000"):
        files.append(Nasty("image.jp2", saved(plain, "JPEG2000")))
    coloured = [Nasty(file.name, file.data, COLOURS) for file in files]
    return coloured + _greys() + _transparent(plain) + _easily_mistaken()


def _ycck() -> bytes:
    """Pillow writes no YCCK: store YCbCr of the inks where it writes inks, and say so in Adobe's
    segment. Inks are stored upside down, hence the 255 minus."""
    inks = 255 - np.asarray(quadrants())
    ycc = np.asarray(Image.fromarray(inks).convert("YCbCr"))
    stored = np.dstack([255 - ycc, np.zeros((SIDE, SIDE), np.uint8)])
    data = bytearray(saved(Image.fromarray(stored, "CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def _animations(first: Image.Image) -> list[Nasty]:
    others = [quadrants(GREYS), quadrants(GREYS[::-1])]
    files = [
        Nasty("animated.gif", saved(first, "GIF", save_all=True, append_images=others)),
        Nasty("animated.png", saved(first, "PNG", save_all=True, append_images=others)),
    ]
    if features.check("webp"):
        animated = saved(first, "WEBP", save_all=True, append_images=others, lossless=True)
        files.append(Nasty("animated.webp", animated))
    frame = saved(first, "GIF")
    start = frame.index(b"\x2c")
    files.append(Nasty("1500-frames.gif", frame[:-1] + frame[start:-1] * 1499 + b";"))
    return files


def _turned(upright: Image.Image) -> list[Nasty]:
    """Stored turned, with the EXIF orientation that turns them back."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    files = []
    for orientation, turn in undo.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        name = f"exif-{orientation}"
        data = exif.tobytes()
        files.append(Nasty(f"{name}.jpg", saved(stored, "JPEG", exif=data)))
        if orientation in (5, 6):
            files.append(Nasty(f"{name}.png", saved(stored, "PNG", exif=data)))
            files.append(Nasty(f"{name}.tif", saved(stored, "TIFF", exif=exif)))
            if features.check("webp"):
                files.append(Nasty(f"{name}.webp", saved(stored, "WEBP", exif=data)))
    return files


def _greys() -> list[Nasty]:
    grey = quadrants(GREYS).convert("L")
    sixteen = np.rint(levels(65535))
    twelve = np.rint(levels(4095)).astype(int).reshape(-1, 2)
    packed = np.stack(
        [twelve[:, 0] >> 4, (twelve[:, 0] & 15) << 4 | twelve[:, 1] >> 8, twelve[:, 1] & 255], 1
    )
    four = np.rint(levels(15)).astype(np.uint8)
    halves = four[:, ::2] << 4 | four[:, 1::2]
    files = [
        Nasty("grey.jpg", saved(grey, "JPEG")),
        Nasty("grey.png", saved(grey, "PNG")),
        Nasty("16-bit-grey.png", png(sixteen, 16, 0)),
        Nasty("4-bit-grey.png", png(halves, 4, 0, size=(SIDE, SIDE))),
        Nasty("opaque-grey-alpha.png", saved(grey.convert("LA"), "PNG")),
        Nasty("16-bit-grey.tif", tiff(sixteen.astype("<u2").tobytes(), 16)),
        Nasty("12-bit-grey.tif", tiff(packed.astype(np.uint8).tobytes(), 12)),
        Nasty(
            "white-is-zero-16-bit.tif",
            tiff((65535 - sixteen).astype("<u2").tobytes(), 16, white_is_zero=True),
        ),
        Nasty("16-bit.pgm", saved(Image.fromarray(sixteen.astype(np.uint16)), "PPM")),
        Nasty("floats-to-1.tif", saved(Image.fromarray(levels(1).astype(np.float32)), "TIFF")),
    ]
    bits = Image.fromarray(levels(255) > 128)
    black_white = ((0, 0, 0), (0, 0, 0), WHITE, WHITE)
    return [Nasty(file.name, file.data, GREYS) for file in files] + [
        Nasty("1-bit.png", saved(bits, "PNG"), black_white),
        Nasty("1-bit.tif", saved(bits, "TIFF", compression="group4"), black_white),
        Nasty("1-bit.pbm", saved(bits, "PPM"), black_white),
    ]


def _transparent(plain: Image.Image) -> list[Nasty]:
    """The red quadrant is transparent and must show the background."""
    alpha = quadrants(((0, 0, 0), WHITE, WHITE, WHITE)).convert("L")
    rgba = plain.copy()
    rgba.putalpha(alpha)
    pixels = np.asarray(plain).astype(int)
    deep = np.dstack([pixels * 257, np.asarray(alpha).astype(int) * 257])
    colour = (WHITE, *COLOURS[1:])
    palette = plain.quantize(8)
    red = palette.getpixel((5, 5))
    files = [
        Nasty("rgba.png", saved(rgba, "PNG"), colour),
        Nasty("16-bit-rgba.png", png(deep, 16, 6), colour),
        Nasty("palette-trns.png", saved(palette, "PNG", transparency=red), colour),
        Nasty("transparent.gif", saved(palette, "GIF", transparency=red), colour),
        Nasty("rgba.tif", saved(rgba, "TIFF"), colour),
        Nasty("rgb-trns.png", saved(plain, "PNG", transparency=RED), colour),
        Nasty(
            "16-bit-rgb-trns.png",
            png(
                pixels * 257,
                16,
                2,
                extra=chunk(b"tRNS", struct.pack(">3H", *(257 * c for c in RED))),
            ),
            colour,
        ),
    ]
    if features.check("webp"):
        files.append(Nasty("rgba.webp", saved(rgba, "WEBP", lossless=True), colour))
    grey = quadrants(GREYS).convert("L")
    both = grey.copy()
    both.putalpha(alpha)
    sixteen, four = np.rint(levels(65535)), np.rint(levels(15)).astype(np.uint8)
    halves = four[:, ::2] << 4 | four[:, 1::2]
    of_depth = {
        "16-bit-grey-trns.png": (sixteen, 16, int(sixteen[0, 0])),
        "4-bit-grey-trns.png": (halves, 4, int(four[0, 0])),
    }
    greys = [
        Nasty("grey-alpha.png", saved(both, "PNG")),
        Nasty("grey-trns.png", saved(grey, "PNG", transparency=40)),
    ]
    for name, (rows, bits, value) in of_depth.items():
        extra = chunk(b"tRNS", struct.pack(">H", value))
        greys.append(Nasty(name, png(rows, bits, 0, size=(SIDE, SIDE), extra=extra)))
    return files + [Nasty(file.name, file.data, (WHITE, *GREYS[1:])) for file in greys]


def _easily_mistaken() -> list[Nasty]:
    """Whole images that look like what a decoder paints where data are missing."""
    middle, black = (128, 128, 128), (0, 0, 0)
    return [
        Nasty("all-middle-grey.jpg", saved(quadrants((middle,) * 4), "JPEG"), (middle,) * 4),
        Nasty(
            "ends-in-middle-grey.jpg",
            saved(quadrants((RED, GREEN, middle, middle)), "JPEG"),
            (RED, GREEN, middle, middle),
        ),
        Nasty(
            "ends-in-middle-grey-progressive.jpg",
            saved(quadrants((RED, GREEN, middle, middle)), "JPEG", progressive=True),
            (RED, GREEN, middle, middle),
        ),
        Nasty("all-black.png", saved(quadrants((black,) * 4), "PNG"), (black,) * 4),
        Nasty(
            "ends-in-black-interlaced.png",
            png(np.asarray(quadrants((RED, GREEN, black, black))), 8, 2, interlaced=True),
            (RED, GREEN, black, black),
        ),
        Nasty("one-pixel.png", saved(Image.new("RGB", (1, 1), RED), "PNG"), (RED,) * 4),
    ]


def bad() -> list[Nasty]:
    """Files that must be refused, with a reason that matches."""
    noise = np.random.default_rng(1).integers(0, 256, 4096, dtype=np.uint8).tobytes()
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    files = [
        Nasty("zero-bytes.jpg", b"", reason="^empty file$"),
        Nasty("noise.jpg", b"\x01" + noise, reason="known format"),
        Nasty("zeros.png", bytes(5000), reason="known format"),
        Nasty("page.jpg", b"\n<!DOCTYPE html><html>404</html>", reason="web page"),
        Nasty("page-with-mark.jpg", b"\xef\xbb\xbf<html></html>", reason="web page"),
        Nasty("pointer.png", lfs, reason="git-LFS"),
        Nasty("notes.txt", b"milk\nbread\n", reason="^text"),
        Nasty("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", reason="SVG"),
        Nasty("paper.pdf", b"%PDF-1.7\n", reason="PDF"),
        Nasty("archive.jpg", b"PK\x03\x04rest", reason="ZIP"),
        Nasty(
            "script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", reason="PostScript"
        ),
        Nasty("phone.heic", b"\0\0\0\x18ftypheic" + bytes(64), reason="HEIC"),
        Nasty("film.jpg", b"\0\0\0\x18ftypisom" + bytes(64), reason="video"),
        Nasty("next.jxl", b"\xff\x0a" + bytes(64), reason="JPEG XL"),
        Nasty("icon.ico", saved(quadrants(), "ICO"), reason="Windows icon"),
        Nasty("scan.dcm", bytes(128) + b"DICM" + bytes(64), reason="DICOM"),
        Nasty("array.npy", b"\x93NUMPY\x01\0" + bytes(64), reason="NumPy array"),
        Nasty("sky.fits", b"SIMPLE  =" + bytes(64), reason="FITS"),
        Nasty("table.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), reason="HDF5"),
        Nasty(
            "shard.tar", b"a.jpg".ljust(257, b"\0") + b"ustar" + bytes(250), reason="tar archive"
        ),
        Nasty("signature-only.jpg", b"\xff\xd8\xff", reason="JPEG|cut short"),
        Nasty("signature-only.png", b"\x89PNG\r\n\x1a\n", reason="PNG|cut short"),
        Nasty(
            "two-lines-wide.png", saved(Image.new("L", (2, 999)), "PNG"), reason="as long as wide"
        ),
        Nasty("of-many-segments.jpg", _many_segments(), reason="parts"),
        Nasty("not-numbers.tif", _not_numbers(), reason="not numbers"),
        Nasty("lab.tif", saved(Image.new("LAB", (9, 9)), "TIFF"), reason="LAB"),
    ]
    return (
        files
        + unusual_tiffs()
        + _cut()
        + _damaged_png()
        + [Nasty(b.name, b.data, reason=b.reason) for b in bombs()]
    )


def without_white() -> list[Nasty]:
    """Sound grey TIFFs whose white nothing states: refused one by one, read in a set."""
    files = []
    for name, top, kind in (
        ("integers", 65535, np.int32),
        ("floats-to-255", 255, np.float32),
        ("floats-to-65535", 65535, np.float32),
    ):
        values = np.rint(levels(top)).astype(kind)
        stored = saved(Image.fromarray(values), "TIFF")
        reason = r"nothing says which of them is white; `value_range=\(LOW, HIGH\)` does$"
        files.append(Nasty(f"{name}.tif", stored, reason=reason))
    return files


def unusual_tiffs() -> list[Nasty]:
    """Sound TIFFs that Pillow cannot read, and what each is."""
    half = tiff_of(np.zeros((SIDE, SIDE), np.float16))
    return [
        Nasty("half.tif", half, reason="^a TIFF of 16-bit floats, .* save it as 32-bit floats$"),
        Nasty("double.tif", tiff_of(np.zeros((SIDE, SIDE))), reason="of 64-bit floats"),
        Nasty("long.tif", tiff_of(np.zeros((SIDE, SIDE), np.uint64)), reason="of 64-bit integers"),
        Nasty("signed.tif", tiff_of(np.zeros((SIDE, SIDE), np.int8)), reason="signed 8-bit"),
        Nasty(
            "five-bands.tif",
            tiff_of(np.zeros((SIDE, SIDE, 5), np.uint16)),
            reason="5 bands of 16-bit integers, .*; save one as grey or three as RGB",
        ),
        Nasty(
            "two-planes.tif",
            tiff_of(np.zeros((SIDE, SIDE, 2), np.uint8), planar=True),
            reason="2 bands of 8-bit integers, band after band",
        ),
        Nasty(
            "float-colours.tif",
            tiff_of(np.zeros((SIDE, SIDE, 3), np.float32)),
            reason="3 bands of 32-bit floats, .*; save it as RGB of 8 bits",
        ),
        Nasty(
            "jpeg-xl.tif",
            tiff_of(np.zeros((SIDE, SIDE, 3), np.uint8), compression=50002),
            reason="compressed as JPEG XL",
        ),
        Nasty(
            "camera.tif",
            tiff_of(np.zeros((SIDE, SIDE), np.uint16), photometric=32803),
            reason="camera's raw image",
        ),
    ]


def _cut() -> list[Nasty]:
    kinds: dict[str, Callable[[], bytes]] = {
        "baseline.jpg": jpeg,
        "progressive.jpg": lambda: saved(textured(), "JPEG", progressive=True),
        "image.png": lambda: saved(textured(), "PNG"),
        "image.gif": lambda: saved(textured(), "GIF"),
        "image.bmp": lambda: saved(textured(), "BMP"),
        "image.tif": lambda: saved(textured(), "TIFF"),
        "image.ppm": lambda: saved(textured(), "PPM"),
    }
    if features.check("webp"):
        kinds["image.webp"] = lambda: saved(textured(), "WEBP")
    if AVIF:
        kinds["image.avif"] = lambda: saved(textured(), "AVIF")
    if features.check("jpg_2000"):
        kinds["image.jp2"] = lambda: saved(textured(), "JPEG2000")
    files = []
    for name, make in kinds.items():
        whole = make()
        for per_cent in (5, 50, 95):
            data = whole[: len(whole) * per_cent // 100]
            files.append(Nasty(f"cut-at-{per_cent}-{name}", data, reason="cut short|damaged"))
    half = saved(noisy(), "JPEG", progressive=True)
    half = half[: half.index(b"\xff\xda") + len(half) // 3].rstrip(b"\xff") + b"\xff\xd9"
    files.append(Nasty("without-its-last-scans.jpg", half, reason="cut short"))
    for name, whole in (
        ("grey", saved(textured().convert("L"), "JPEG")),
        ("colour", jpeg()),
        ("cmyk", saved(textured().convert("CMYK"), "JPEG")),
        ("progressive", saved(textured(), "JPEG", progressive=True)),
    ):
        scan = whole.index(b"\xff\xda")
        end = scan + (len(whole) - scan) // (8 if name == "progressive" else 2)
        data = whole[:end].rstrip(b"\xff") + b"\xff\xd9"
        files.append(Nasty(f"cut-and-closed-{name}.jpg", data, reason="cut short"))
    return files


def _damaged_png() -> list[Nasty]:
    whole = bytearray(saved(textured(), "PNG"))
    at = whole.index(b"IDAT")
    length = int.from_bytes(whole[at - 4 : at], "big")
    flipped, checksum = bytearray(whole), bytearray(whole)
    flipped[at + 400] ^= 1
    checksum[at + 4 + length] ^= 1
    pixels = np.asarray(textured())
    text = bytearray(png(pixels, 8, 2, extra=chunk(b"tEXt", b"a\0b")))
    text[text.index(b"tEXt") + 7] ^= 1
    return [
        Nasty("flipped-bit.png", bytes(flipped), reason="IDAT has a wrong checksum"),
        Nasty("wrong-checksum.png", bytes(checksum), reason="IDAT has a wrong checksum"),
        Nasty("wrong-checksum-of-text.png", bytes(text), reason="damaged: PNG"),
        Nasty("no-end.png", bytes(whole[:-12]), reason="cut short"),
        Nasty("half-its-rows.png", png(pixels, 8, 2, part=0.5), reason="cut short"),
        Nasty(
            "half-its-passes.png",
            png(pixels, 8, 2, interlaced=True, part=0.5),
            reason="cut short",
        ),
    ]


def _many_segments() -> bytes:
    whole = jpeg()
    return whole[:2] + b"\xff\xfe\x00\x02" * 30_000 + whole[2:]


def _not_numbers() -> bytes:
    values = levels(1).astype(np.float32)
    values[3, 3] = np.nan
    return saved(Image.fromarray(values), "TIFF")


def bombs() -> list[Nasty]:
    """Small files that claim to be, or unpack to, something enormous."""
    line = np.zeros((1, 8), np.uint8)
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    gif = bytearray(saved(quadrants(), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    bmp = bytearray(saved(quadrants(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    sof = bytearray(jpeg())
    at = sof.index(b"\xff\xc0")
    sof[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    files = [
        Nasty("60k.png", png(line, 8, 2, size=(60_000, 60_000))),
        Nasty("13k.png", png(line, 8, 2, size=(13_000, 13_000))),
        Nasty("60k.gif", bytes(gif)),
        Nasty("60k.bmp", bytes(bmp)),
        Nasty("60k.jpg", bytes(sof)),
        Nasty("60k.tif", tiff(bytes(100), 8, side=60_000)),
        Nasty("60k.ppm", b"P6\n60000 60000\n255\n" + bytes(100)),
    ]
    if features.check("webp"):
        canvas = struct.pack("<I", 16_382)[:3] * 2
        header = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas
        body = header + saved(quadrants(), "WEBP")[12:]
        files.append(Nasty("16k.webp", b"RIFF" + struct.pack("<I", len(body)) + body))
    claims = [Nasty(file.name, file.data, reason="pixels|damaged") for file in files]
    return [
        *claims,
        Nasty("unpacking-text.png", png(line, 8, 0, extra=text), reason="unpacks to more"),
    ]
