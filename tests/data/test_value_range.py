"""Grey images of more than eight bits: one range for a set, never that of one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.data.audit import Audit, audit
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.data.reading.decode import read_image
from phiscale.data.reading.pixels import DecodeOptions
from phiscale.errors import BadImage, DataError
from support.nasty import GREYS, colours_of, saved, tiff_of, without_white
from support.trees import tree

KINDS = ["uint16", "int32", "float32"]


def grey_set(root: Path, kind: str, tops: Sequence[float] = (200, 1010, 600, 600)) -> Path:
    """Greys of each image from 0 to its top: two of train, one of validation, one of test."""
    for place, top in zip(("train/dim", "train/bright", "val/dim", "test/dim"), tops, strict=True):
        (root / place).mkdir(parents=True)
        values = np.linspace(0, top, 64).reshape(8, 8).astype(kind)
        Image.fromarray(values).save(root / place / "0.tif")
    return root


def audited(root: Path) -> Audit:
    return audit(open_dataset(root))


@pytest.mark.parametrize("kind", KINDS)
def test_the_range_of_a_set_is_that_of_its_training_images(kind: str, tmp_path: Path):
    report = audited(grey_set(tmp_path / "data", kind))
    assert report.bad == ()
    assert report.value_range == (0, 1010)
    assert "grey values 0 to 1,010 become black to white" in str(report)


@pytest.mark.parametrize("kind", KINDS)
def test_dim_images_stay_darker_than_bright_ones(kind: str, tmp_path: Path):
    root = grey_set(tmp_path / "data", kind)
    options = DecodeOptions(value_range=audited(root).value_range)
    tops = {
        name: np.asarray(read_image(root / "train" / name / "0.tif", options)).max()
        for name in ("dim", "bright")
    }
    assert tops == {"dim": round(255 * 200 / 1010), "bright": 255}


def test_the_audit_says_how_few_levels_the_format_would_leave(tmp_path: Path):
    advice = audited(grey_set(tmp_path / "data", "uint16")).advice
    says = "16-bit files use 0 to 1,010 of 65,535: 5 levels would be left."
    assert any(says in each and "`value_range=(LOW, HIGH)`" in each for each in advice)


def test_held_out_images_beyond_the_range_are_counted_and_clipped(tmp_path: Path):
    root = grey_set(tmp_path / "data", "int32", (100, 400, 800, 300))
    report = audited(root)
    assert any(each.startswith("1 held-out image with values beyond") for each in report.advice)
    options = DecodeOptions(value_range=report.value_range)
    assert np.asarray(read_image(root / "val/dim/0.tif", options)).max() == 255


def test_a_few_extreme_pixels_are_reported_with_the_range_that_leaves_them_out(tmp_path: Path):
    root = grey_set(tmp_path / "data", "uint16")
    values = np.linspace(0, 1000, 64 * 64).reshape(64, 64).astype(np.uint16)
    values[0, 0] = 65535
    for name in ("dim", "bright"):
        Image.fromarray(values).save(root / "train" / name / "0.tif")
    report = audited(root)
    assert report.value_range == (0, 65535)
    assert any("`value_range=(1, 999)`" in each for each in report.advice), report.advice


def test_deep_images_that_differ_within_eight_bits_are_not_duplicates(tmp_path: Path):
    assert audited(grey_set(tmp_path / "data", "uint16", (200, 201, 202, 203))).duplicates == ()


def test_images_of_eight_bits_have_no_range_and_the_same_pixels_with_any(tmp_path: Path):
    root = tree(tmp_path / "data", {"train/a": 2, "train/b": 2, "val/a": 1, "test/a": 1})
    assert audited(root).value_range is None
    path = root / "train" / "a" / "000.png"
    ranged = read_image(path, DecodeOptions(value_range=(0, 5)))
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(ranged))


def test_without_a_range_sixteen_bits_are_read_to_their_formats_white():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    grey = np.asarray(read_image(saved(Image.fromarray(values), "PNG")))[..., 0]
    assert np.array_equal(grey, (values.astype(int) * 255 + 32767) // 65535)


@pytest.mark.parametrize("file", without_white(), ids=lambda file: file.name)
def test_integers_and_floats_are_read_with_a_range_and_refused_without(file):
    top = 255 if file.name.endswith("-255.tif") else 65535
    image = read_image(file.data, DecodeOptions(value_range=(0, top)))
    assert np.abs(np.array(colours_of(image)) - np.array(GREYS)).max() <= 1
    with pytest.raises(BadImage, match=file.reason):
        read_image(file.data)


def test_unsigned_integers_of_32_bits_are_not_inverted():
    values = np.full((8, 8), 2**32 - 1, np.uint32)
    values[:4] = 0
    data = tiff_of(values)
    grey = np.asarray(read_image(data, DecodeOptions(value_range=(0, 2**32 - 1))))[..., 0]
    assert grey[0, 0] == 0 and grey[7, 7] == 255


def test_a_preprocessing_keeps_its_range_and_leaves_it_out_where_there_is_none():
    ranged = Preprocessing(size=8, value_range=(0, 1010))
    assert Preprocessing.from_dict(ranged.to_dict()) == ranged
    assert "value_range" not in Preprocessing(size=8).to_dict()
    assert "grey values 0 to 1010" in ranged.summary()


@pytest.mark.parametrize("wrong", [(1, 1), (2, 1), (0, float("nan")), (0, 1, 2), (0, 10**400)])
def test_what_is_no_range_is_refused(wrong: tuple):
    with pytest.raises(DataError, match="Give two numbers, the lower first"):
        Preprocessing(size=8, value_range=wrong)
