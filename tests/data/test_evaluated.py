"""Sets that are only measured: a lone split, and every image of a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phiscale.data.datasets.evaluated import select_split
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import DataError
from support.trees import image_bytes, shard, tree


@pytest.mark.parametrize(
    ("folder", "split"), [("test", "test"), ("val", "validation"), ("Testing", "test")]
)
def test_a_folder_with_one_held_out_split_is_that_split(
    folder: str, split: str, tmp_path: Path
) -> None:
    images = open_dataset(tree(tmp_path, {f"{folder}/a": 2, f"{folder}/b": 1}), split=split)
    assert images.classes == ("a", "b")
    assert select_split(images, split).keys == tuple(
        f"{folder}/{name}" for name in ("a/000.png", "a/001.png", "b/000.png")
    )
    assert select_split(images, "all").keys == select_split(images, split).keys
    with pytest.raises(DataError, match=rf"no images of split='train'\. Use one of {split}, all"):
        select_split(images, "train")


def test_a_folder_without_train_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 'test' but no 'train'\..*--split test"):
        open_dataset(tree(tmp_path, {"test/a": 2, "test/b": 1}))


def test_held_out_folders_without_images_or_with_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in any class folder"):
        open_dataset(tree(tmp_path / "empty", {"test/a": 0, "test/b": 0}), split="test")
    with pytest.raises(DataError, match="one class only"):
        open_dataset(tree(tmp_path / "single", {"test/a": 3}), split="test")


def test_all_of_class_folders_alone_is_every_image_of_them(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 1, "b": 1})
    images = open_dataset(root, split="all")
    assert select_split(images, "all").keys == ("a/000.png", "b/000.png") and not images.notes
    with pytest.raises(DataError, match="too few different images"):
        open_dataset(root, split="test")


def test_all_is_the_splits_one_after_the_other(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1, "test/a": 2})
    images = open_dataset(root, split="all")
    every = select_split(images, "all")
    parts = (images.train, images.validation, images.test)
    assert every.keys == sum((part.keys for part in parts), ())
    assert every.labels.tolist() == [0] * 4 + [1] * 4 + [0, 1] + [0, 0]
    contents = [part.raw(i) for part in parts for i in range(len(part))]
    assert [every.raw(i) for i in range(len(every))] == contents
    some = every.subset([9, 0])
    assert some.raw(0) == contents[9] and some.raw(1) == contents[0]


def test_a_set_opened_for_one_split_is_the_set_that_is_trained_on(tmp_path: Path) -> None:
    root = tree(tmp_path, {"a": 20, "b": 20})
    for_training, for_test = open_dataset(root), open_dataset(root, split="test")
    assert for_training.fingerprint() == for_test.fingerprint()
    assert for_training.notes == for_test.notes


def test_all_of_shards_holds_nothing_out(tmp_path: Path) -> None:
    members = [
        (name, data)
        for n in range(4)
        for name, data in ((f"{n}.png", image_bytes(n)), (f"{n}.cls", b"%d" % (n % 2)))
    ]
    images = open_dataset(str(shard(tmp_path / "test-0.tar", members)), split="all")
    assert len(select_split(images, "all")) == 4


def test_a_split_of_another_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"split='tets' is no split\. Use one of test, val"):
        select_split(open_dataset("digits"), "tets")


def test_the_digits_stay_in_their_order() -> None:
    every = select_split(open_dataset("digits", split="all"), "all")
    assert len(every) == 1797 and every.keys[-1] == "digits/01796"
    assert isinstance(every.raw(0), np.ndarray)
