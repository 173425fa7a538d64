"""One value turns an image into a network's input, the same everywhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phiscale.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from phiscale.errors import DataError
from support.nasty import RED, quadrants

PLAIN = Preprocessing(size=32)


def test_neither_torch_nor_torchvision_is_imported():
    code = (
        "import sys, phiscale.data.preprocessing, phiscale.data.reading.decode\n"
        "import phiscale.data.datasets.open, phiscale.data.audit\n"
        "assert not {'torch', 'torchvision', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_image_becomes_float32_channels_first():
    pixels = PLAIN(quadrants())
    assert pixels.shape == (3, 32, 32) and pixels.dtype == np.float32
    assert pixels.flags.c_contiguous


def test_normalising_is_pixels_over_255_minus_mean_over_std():
    pixels = PLAIN(quadrants())[:, 8, 8]
    expected = (np.array(RED) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert pixels == pytest.approx(expected, abs=1e-6)


def test_a_batch_is_normalised_as_its_images_are():
    batch = np.stack([np.asarray(quadrants()), np.asarray(quadrants().rotate(90))])
    together = PLAIN.normalise(batch)
    assert together.shape == (2, 3, 64, 64)
    assert np.array_equal(together[1], PLAIN.normalise(batch[1]))


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros(3)]
)
def test_normalising_refuses_what_is_not_uint8_with_channels_last(pixels: np.ndarray):
    with pytest.raises(DataError, match="Give uint8 with three channels last"):
        PLAIN.normalise(pixels)


@pytest.mark.parametrize(
    ("width", "height", "crop", "edge"),
    #          the first column of the crop, in source pixels
    [(100, 50, 1.0, 25), (100, 50, 0.5, 37.5), (50, 100, 1.0, 0), (64, 64, 0.875, 4)],
)
def test_the_crop_is_the_central_square_of_the_shorter_side(
    width: int, height: int, crop: float, edge: float
):
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8), (height, width))
    image = Image.fromarray(np.ascontiguousarray(columns)).convert("RGB")
    side = crop * min(width, height)
    size = int(side) if side == int(side) else 25
    cut = replace(PLAIN, size=size, crop=crop, interpolation="nearest").crop_and_resize(image)
    assert cut.size == (size, size)
    assert cut.getpixel((0, size // 2))[0] == pytest.approx(edge + side / size / 2, abs=0.51)


def test_a_whole_square_of_the_right_size_keeps_its_pixels():
    image = quadrants()
    kept = Preprocessing(size=64, crop=1.0).crop_and_resize(image)
    assert np.array_equal(np.asarray(kept), np.asarray(image))


def test_transparent_images_get_the_background():
    see_through = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    cut = replace(PLAIN, background=(10, 20, 30)).crop_and_resize(see_through)
    assert cut.getpixel((3, 3)) == (10, 20, 30)


def test_the_pixels_are_the_same_on_every_machine():
    """Training, exported model and server rely on it. A change here is a change for every model."""
    ramp = np.add.outer(np.arange(61) * 3, np.arange(97) * 2)[..., None] + [0, 40, 80]
    image = Image.fromarray((ramp % 256).astype(np.uint8))
    found = {
        how: hashlib.sha256(
            np.asarray(replace(PLAIN, interpolation=how).crop_and_resize(image)).tobytes()
        ).hexdigest()[:16]
        for how in ("nearest", "bilinear", "bicubic")
    }
    assert found == {
        "nearest": "33d0a5c895aa2e5a",
        "bilinear": "78e259472311a057",
        "bicubic": "75efbc78a98177ef",
    }


@pytest.mark.parametrize(
    ("field", "value", "fix"),
    [
        ("size", 0, "Give whole pixels"),
        ("size", 32.0, "Give whole pixels"),
        ("size", True, "Give whole pixels"),
        ("crop", 0, "above 0 and at most 1"),
        ("crop", 1.1, "above 0 and at most 1"),
        ("crop", float("nan"), "above 0 and at most 1"),
        ("interpolation", "lanczos", "one of nearest, bilinear, bicubic"),
        ("mean", (0.5, 0.5), "Give three numbers"),
        ("mean", 0.5, "Give three numbers"),
        ("std", (0.2, 0.2, 0.0), "three numbers above 0"),
        ("std", (0.2, 0.2, float("inf")), "three numbers above 0"),
        ("background", (0, 0, 256), "from 0 to 255"),
        ("background", (0.5, 0, 0), "from 0 to 255"),
    ],
)
def test_impossible_values_are_refused_with_the_fix(field: str, value: object, fix: str):
    with pytest.raises(DataError, match=fix):
        Preprocessing(**{"size": 32, field: value})


fraction = st.floats(0.01, 1)
three = st.tuples(fraction, fraction, fraction)


@given(
    st.builds(
        Preprocessing,
        size=st.integers(1, 1024),
        crop=fraction,
        interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
        mean=three,
        std=three,
        background=st.tuples(*[st.integers(0, 255)] * 3),
    )
)
def test_json_gives_the_same_value_back(value: Preprocessing):
    assert Preprocessing.from_dict(json.loads(json.dumps(value.to_dict()))) == value


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"phiscale_preprocessing": 2}, '"phiscale_preprocessing" is 2, not 1.*update phiscale'),
        ({"phiscale_preprocessing": None}, '"phiscale_preprocessing" is None, not 1'),
        ({"resize": 256}, "it has unknown fields 'resize'"),
        ({"mean": None}, "mean is None"),
        ({"std": [0.2, 0.2]}, "std is"),
        ({"size": "32"}, "size is '32'"),
    ],
)
def test_reading_a_dictionary_is_strict(change: dict, complaint: str):
    with pytest.raises(DataError, match=complaint):
        Preprocessing.from_dict(PLAIN.to_dict() | change)


def test_a_missing_key_is_refused():
    values = PLAIN.to_dict()
    del values["crop"]
    with pytest.raises(DataError, match="it lacks 'crop'"):
        Preprocessing.from_dict(values)


@pytest.mark.parametrize("junk", [[], None, "x", 1])
def test_what_is_no_dictionary_is_refused(junk: object):
    with pytest.raises(DataError, match="is no JSON object"):
        Preprocessing.from_dict(junk)
