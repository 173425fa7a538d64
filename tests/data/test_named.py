"""Image sets known by name."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phiscale.arch.families.paper import TABLE_5
from phiscale.data.datasets import named
from phiscale.data.datasets.named import NAMED
from phiscale.data.datasets.open import ImageSet, open_dataset
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.errors import DataError
from support.trees import image_bytes, split_sizes, tree


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return open_dataset("digits")


def test_digits_need_no_network(digits: ImageSet):
    assert digits.classes == tuple("0123456789")
    assert split_sizes(digits) == (1439, 179, 179)
    image = digits.train.image(0)
    assert image.mode == "RGB" and image.size == (8, 8)
    pixels = np.concatenate([split.pixels for _, split in digits.splits()])
    assert pixels.min() == 0 and pixels.max() == 255
    assert digits.fingerprint() == open_dataset("Digits").fingerprint()


def test_a_folder_comes_before_a_set_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree(tmp_path, {"digits/a": 5, "digits/b": 5})
    monkeypatch.chdir(tmp_path)
    images = open_dataset("digits")
    assert images.classes == ("a", "b") and "is a folder here" in images.notes[-1]


def test_a_set_that_cannot_be_fetched_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path))

    import torchvision

    def offline(root: str, train: bool, download: bool) -> None:
        raise OSError("no route to host") if download else RuntimeError("not found")

    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    with pytest.raises(
        DataError, match=r"no route to host\. Go online, or put torchvision's files"
    ):
        open_dataset("mnist")


def test_a_set_without_a_download_is_made_by_hand(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"'birdsnap' has no download any more.*47386 and 2443"):
        open_dataset("birdsnap")
    tree(
        tmp_path / "datasets",
        {"birdsnap/train/a": 9, "birdsnap/train/b": 9, "birdsnap/test/a": 2, "birdsnap/test/b": 2},
    )
    images = open_dataset("birdsnap")
    assert (images.source, len(images.test)) == ("birdsnap", 4)


def test_every_set_that_the_paper_transferred_to_is_known_with_its_figures():
    assert len(TRANSFER_DATASETS) == 8 and TRANSFER_DATASETS.keys() <= NAMED.keys()
    assert {row.paper_name for row in TRANSFER_DATASETS.values()} == {row.data for row in TABLE_5}
    accuracies = "98.1 % with efficientnet_b0 and 98.9 % with efficientnet_b7"
    assert accuracies in TRANSFER_DATASETS["cifar10"].summary()


def test_the_cache_is_where_the_user_sets_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.delenv("PHISCALE_CACHE", raising=False)
    assert named.cache_folder() == Path("/shared/phiscale/datasets")
    monkeypatch.setenv("PHISCALE_CACHE", "/own")
    assert named.cache_folder() == Path("/own/datasets")


TORCHVISION = """
import sys
from phiscale.data.datasets.open import open_dataset
mnist, food = open_dataset("mnist"), open_dataset("Food101")
assert [len(s) for _, s in mnist.splits()] == [30, 10, 10], mnist
assert mnist.classes[0] == "0 - zero" and mnist.train.image(0).size == (28, 28)
assert food.classes == ("cake", "pie") and [len(s) for _, s in food.splits()] == [18, 2, 4]
assert food.test.keys[0] == "food-101/images/cake/10.jpg" and food.train.image(0).mode == "RGB"
"""


def test_sets_in_torchvisions_layout_are_read_from_the_cache(tmp_path: Path):
    """In a child, since importing torch takes seconds and warns as it likes."""
    raw = tmp_path / "datasets" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )
    food = tmp_path / "datasets" / "food101" / "food-101"
    for part, numbers in (("train", range(10)), ("test", range(10, 12))):
        listing = {name: [f"{name}/{i}" for i in numbers] for name in ("cake", "pie")}
        (food / "meta").mkdir(parents=True, exist_ok=True)
        (food / "meta" / f"{part}.json").write_text(json.dumps(listing))
        for k, (name, keys) in enumerate(listing.items()):
            (food / "images" / name).mkdir(parents=True, exist_ok=True)
            for i, key in enumerate(keys):
                data = image_bytes(100 * k + i + 50 * (part == "test"), "JPEG")
                (food / "images" / f"{key}.jpg").write_bytes(data)
    environment = os.environ | {"PHISCALE_CACHE": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", TORCHVISION],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
