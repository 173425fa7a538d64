"""Reading one image: right pixels or a reason, never anything else, never a wait."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phiscale.data.reading.decode import DecodeLimits, decode_image, read_image
from phiscale.data.reading.pixels import DecodeOptions
from phiscale.errors import BadImage, UsageError
from support.nasty import (
    COLOURS,
    RED,
    SIDE,
    Nasty,
    bad,
    bombs,
    colours_of,
    good,
    jpeg,
    png,
    quadrants,
    saved,
    with_scans,
    without_white,
)

GOOD, BAD = good(), bad()
needs_posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links and devices of POSIX")


def named(file: Nasty) -> str:
    return file.name


def test_the_collection_is_as_large_as_promised():
    names = [file.name for file in GOOD + BAD]
    assert len(names) == len(set(names)) >= 100


@pytest.mark.parametrize("file", GOOD, ids=named)
def test_a_good_file_shows_its_four_colours(file: Nasty, tmp_path: Path):
    path = tmp_path / file.name
    path.write_bytes(file.data)
    image = read_image(path)
    assert image.mode == "RGB"
    assert np.abs(np.array(colours_of(image)) - np.array(file.colours)).max() <= 26
    assert np.array_equal(np.asarray(image), np.asarray(read_image(file.data)))


@pytest.mark.parametrize("file", BAD + without_white(), ids=named)
def test_a_bad_file_is_refused_with_its_reason(file: Nasty, tmp_path: Path):
    path = tmp_path / file.name
    path.write_bytes(file.data)
    with pytest.raises(BadImage, match=file.reason) as caught:
        read_image(path)
    assert caught.value.reason.isprintable() and len(caught.value.reason) < 200
    with pytest.raises(BadImage, match=re.escape(caught.value.reason)):
        read_image(file.data)


def test_transparent_pixels_get_the_requested_background():
    see_through = saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "PNG")
    image = read_image(see_through, DecodeOptions(background=(1, 2, 3)))
    assert image.getpixel((4, 4)) == (1, 2, 3)


def test_half_transparency_mixes_with_the_background():
    half = saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")
    assert read_image(half).getpixel((4, 4)) == pytest.approx((127,) * 3, abs=1)


def test_an_image_carries_how_it_was_stored():
    image = decode_image(saved(quadrants().convert("CMYK"), "JPEG"))
    assert (image.format, image.mode, image.image.mode) == ("JPEG", "CMYK", "RGB")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (DecodeLimits(max_pixels=4095), "64 x 64 pixels, over the limit of 0.004095 megapixels"),
        (DecodeLimits(max_pixels=4095), r"; `max_megapixels=1` raises it$"),
        (DecodeLimits(max_file_bytes=100), "over the limit of"),
        (DecodeLimits(max_aspect=0.5), "as long as wide"),
    ],
)
def test_limits_apply_to_files_and_to_bytes(limits: DecodeLimits, reason: str, tmp_path: Path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    for source in (path, path.read_bytes()):
        with pytest.raises(BadImage, match=reason):
            read_image(source, limits=limits)


def test_pixels_of_many_bytes_count_as_more_pixels():
    deep = png(np.zeros((100, 100, 4), int), 16, 6)
    with pytest.raises(BadImage, match=r"100 x 100 pixels of 8 bytes, over the limit .* of 3;"):
        read_image(deep, limits=DecodeLimits(max_pixels=100 * 100 * 8 // 3))
    assert read_image(deep, limits=DecodeLimits(max_pixels=100 * 100 * 8 // 3 + 1))


def test_scans_of_a_jpeg_are_counted_before_they_are_decoded():
    limits = DecodeLimits(max_pixels=SIDE * SIDE)
    whole = saved(quadrants(), "JPEG", progressive=True)
    assert read_image(with_scans(whole, 5), limits=limits)
    with pytest.raises(BadImage, match=r"^\d+ scans of 64 x 64 pixels: a decompression bomb$"):
        read_image(with_scans(whole, 100), limits=limits)


def test_the_thumbnail_in_a_jpeg_is_no_scan_of_it():
    limits = DecodeLimits(max_pixels=SIDE * SIDE)
    hidden = b"Exif\0\0" + 30 * b"\xff\xda\0\x08"
    assert read_image(saved(quadrants(), "JPEG", exif=hidden), limits=limits)


def test_an_enormous_jpeg_is_decoded_at_half_its_sides_where_the_limit_is_raised():
    enormous = saved(Image.new("L", (9000, 7500), 77), "JPEG")
    with pytest.raises(BadImage, match="max_megapixels=68"):
        read_image(enormous)
    image = read_image(enormous, limits=DecodeLimits.of_megapixels(68))
    assert image.size == (4500, 3750) and image.getpixel((9, 9)) == (77, 77, 77)


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf"), 1e9])
def test_impossible_megapixels_are_refused(number: float):
    with pytest.raises(UsageError, match="max_megapixels="):
        DecodeLimits.of_megapixels(number)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


PLACES = {
    "does not exist": lambda path: None,
    "a folder, not a file": lambda path: path.mkdir(),
    "a named pipe, not a file": _pipe,
    "a device, not a file": lambda path: path.symlink_to("/dev/zero"),
    "a link that leads nowhere": lambda path: path.symlink_to("gone"),
    "a link that leads to itself": lambda path: path.symlink_to(path),
}


@needs_posix
@pytest.mark.parametrize("reason", PLACES)
def test_what_is_no_file_is_reported_at_once(reason: str, tmp_path: Path):
    path = tmp_path / "image.jpg"
    PLACES[reason](path)
    with pytest.raises(BadImage, match=f"^{reason}$"):
        read_image(path)


@needs_posix
def test_a_socket_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("image.jpg")
        with pytest.raises(BadImage, match="a socket, not a file"):
            read_image(Path("image.jpg"))


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300 + ".jpg"])
def test_a_name_that_no_file_can_bear_is_reported(name: str, tmp_path: Path):
    with pytest.raises(BadImage, match=r"cannot be read|does not exist"):
        read_image(tmp_path / name)


@needs_posix
def test_a_file_without_permission_is_reported(tmp_path: Path):
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg())
    path.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(BadImage, match="no permission"):
            read_image(path)
        return
    tmp_path.chmod(0o755)
    code = (  # root reads everything: ask as nobody
        "import os, pathlib, sys; import phiscale.data.reading.decode as d, PIL.JpegImagePlugin\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: d.read_image(pathlib.Path(sys.argv[1]))\n"
        "except d.BadImage as error: print(error.reason)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path.name],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.stdout.strip() == "no permission to read it", run.stderr


MEMORY = """
import pathlib, resource, sys
from PIL import Image
from phiscale.data.reading.decode import BadImage, read_image
Image.init()
def bytes_held():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
limit = bytes_held() + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[1:]:
    try:
        read_image(pathlib.Path(name))
    except BadImage as error:
        assert "memory" not in error.reason, name
    else:
        raise SystemExit(f"{name} was read")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_decompression_bombs_are_refused_before_they_take_memory(tmp_path: Path):
    names = []
    for file in bombs():
        (tmp_path / file.name).write_bytes(file.data)
        names.append(str(tmp_path / file.name))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, *names], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 100  # MB


CORRUPT_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\x7f\xff\xff\xff\x7f"


def test_pillows_warnings_stay_inside_whatever_the_threads():
    """A corrupt TIFF tag and a large image make Pillow warn; the filters stay untouched."""
    files = [
        saved(quadrants(), "JPEG", exif=CORRUPT_EXIF),
        saved(Image.new("L", (9600, 9600)), "PNG"),
    ]
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")

        def read() -> None:
            for _ in range(3):
                read_image(files[0])
                with pytest.raises(BadImage, match="megapixels"):
                    read_image(files[1])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not seen
    assert warnings.filters == before


def test_reading_never_touches_the_filters_and_the_host_keeps_pillows_warnings(
    monkeypatch: pytest.MonkeyPatch,
):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the filters of the process are the host's")

    with monkeypatch.context() as patch:
        for name in ("catch_warnings", "filterwarnings", "simplefilter"):
            patch.setattr(warnings, name, refuse)
        read_image(saved(quadrants(), "JPEG", exif=CORRUPT_EXIF))
    with pytest.warns(Image.DecompressionBombWarning) as seen:
        Image.open(io.BytesIO(saved(Image.new("L", (9600, 9600)), "PNG")))
    assert Path(seen[0].filename).name == "Image.py"


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_image_or_a_bad_image(data: bytes):
    try:
        assert read_image(data).mode == "RGB"
    except BadImage as error:
        assert error.reason


WHOLE = [file.data for file in GOOD if len(file.data) < 20_000]


@given(st.sampled_from(WHOLE), st.data())
@settings(max_examples=250, deadline=None)
def test_a_mutated_image_gives_an_image_or_a_bad_image(whole: bytes, data: st.DataObject):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(st.binary(max_size=4))
        changed[at : at + data.draw(st.integers(0, 4))] = piece
        if not changed:
            break
    try:
        assert read_image(bytes(changed), limits=DecodeLimits(max_pixels=10**6)).mode == "RGB"
    except BadImage as error:
        assert error.reason


def test_a_read_image_owns_its_pixels_and_carries_no_metadata():
    data = saved(quadrants(), "JPEG", exif=b"Exif\0\0" + bytes(50), icc_profile=b"x" * 99)
    image = read_image(data)
    assert image.info == {} and type(image) is Image.Image
    assert colours_of(image)[0] == pytest.approx(RED, abs=26)
    again = io.BytesIO()
    image.save(again, "PNG")
    assert np.abs(np.array(colours_of(read_image(again.getvalue()))) - COLOURS).max() <= 26
