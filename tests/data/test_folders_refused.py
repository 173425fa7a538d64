"""Paths and folders that cannot be used as a data set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phiscale.data.datasets.open import open_dataset
from phiscale.errors import DataError
from support.trees import image_bytes, tree

needs_links = pytest.mark.skipif(os.name != "posix", reason="symbolic links")


TREES = {
    "is empty. Put a folder of images": {},
    "no image in any class folder": {"a": 0, "b": 0},
    "one class only, 'a'": {"a": 5},
    "one folder only. Did you mean .*/inner": {"inner/a": 5, "inner/b": 5},
    "no image in class folder 'b'. Fill or remove": {"a": 5, "b": 0},
    "no image in class folders 'b' and 'c'": {"a": 5, "b": 0, "c": 0},
    "'val' has class 'c', which train lacks": {"train/a": 5, "train/b": 5, "val/a": 2, "val/c": 2},
    "'Hat' and 'hat', which differ only by case": {"Hat": 5, "hat": 5, "shoe": 5},
    "differ only by case or Unicode form": {"\u00e9": 5, "e\u0301": 5},
    "has 'val' but no 'train'": {"val/a": 3, "val/b": 3},
    "folder 'val' has no images": {"train/a": 5, "train/b": 5, "val": 0},
    "'dev' and 'val', which both mean validation": {"train/a": 5, "dev/a": 5, "val/a": 5},
    "class folders and split folder 'test' side by side": {"a": 5, "b": 5, "test/a": 5},
    "train has no class folders": {"train": 5, "val": 5},
    "too few different images": {"a": 1, "b": 1},
}


@pytest.mark.parametrize("complaint", TREES)
def test_a_tree_that_cannot_be_trained_on_is_refused(complaint: str, tmp_path: Path):
    try:
        tree(tmp_path, TREES[complaint])
    except FileExistsError:
        pytest.skip("this file system cannot hold the tree")
    if len(list(tmp_path.iterdir())) < len({name.split("/")[0] for name in TREES[complaint]}):
        pytest.skip("this file system cannot hold the tree")
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outer", "complaint"),
    [
        (("training_set", "test_set"), "Rename 'test_set' to 'test', 'training_set' to 'train'"),
        (("train2017", "val2017"), "Rename 'train2017' to 'train', 'val2017' to 'validation'"),
        (("seg_train", "seg_test"), "'seg_train' to 'train'"),
        (("train_images", "val_images"), "'val_images' to 'validation'"),
        (("trainset", "holdout"), "Rename 'holdout' to 'test', 'trainset' to 'train'"),
        (("train_set", "eval"), "'eval' to 'validation'"),
        (("fold_1", "fold_2"), "Name the outer folders train, validation and test"),
        (("2023", "2024"), "move the images up"),
        (("train_set", "test"), "Rename 'train_set' to 'train'"),
    ],
)
def test_split_folders_are_never_read_as_classes(
    outer: tuple[str, ...], complaint: str, tmp_path: Path
):
    tree(tmp_path, {f"{split}/{name}": 5 for split in outer for name in ("cat", "dog")})
    with pytest.raises(DataError, match=complaint):
        open_dataset(tmp_path)


def test_class_folders_that_hold_only_folders_are_refused_with_both_readings(tmp_path: Path):
    tree(tmp_path, {"pets/cat": 5, "pets/dog": 5, "cars/bus": 5})
    with pytest.raises(DataError, match=r"If these are the classes.* if not, move the images up"):
        open_dataset(tmp_path)


def test_one_class_folder_of_several_folders_beside_images_is_no_class(tmp_path: Path):
    tree(tmp_path, {"images/cat": 5, "images/dog": 5, "extra": 5})
    with pytest.raises(
        DataError, match="'images' holds no images of its own but folders 'cat' and"
    ):
        open_dataset(tmp_path)


def test_splits_that_are_nested_twice_are_named_as_splits(tmp_path: Path):
    folders = {f"seg_{split}/seg_{split}/{c}": 5 for split in ("train", "test") for c in "ab"}
    with pytest.raises(DataError, match="'seg_train' to 'train', and put a folder of images per"):
        open_dataset(tree(tmp_path, folders))


def test_splits_below_classes_are_refused_with_the_right_order(tmp_path: Path):
    tree(tmp_path, {f"{name}/{split}": 5 for name in "ab" for split in ("train", "test")})
    with pytest.raises(DataError, match="Put the splits above the classes: test/a"):
        open_dataset(tmp_path)


def test_one_folder_of_classes_beside_folders_without_images_is_proposed(tmp_path: Path):
    tree(tmp_path, {"images/cat": 5, "images/dog": 5, "attributes": 0})
    (tmp_path / "attributes" / "a.txt").write_text("fur")
    with pytest.raises(DataError, match=r"Did you mean .*/images\?"):
        open_dataset(tmp_path)


def test_images_without_class_folders_are_refused(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(image_bytes(1))
    with pytest.raises(DataError, match=r"no class folders\. Put the images of each class"):
        open_dataset(tmp_path)


def test_a_class_of_text_files_only_has_no_image(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5, "c": 0})
    (tmp_path / "c" / "notes.txt").write_text("milk")
    with pytest.raises(DataError, match="no image in class folder 'c'"):
        open_dataset(tmp_path)


@needs_links
def test_a_split_that_is_a_link_to_train_is_refused(tmp_path: Path):
    tree(tmp_path, {"train/a": 5, "train/b": 5})
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(DataError, match="are the same folder"):
        open_dataset(tmp_path)


@needs_links
def test_a_class_that_is_a_link_to_another_class_is_refused(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").symlink_to("a")
    with pytest.raises(DataError, match="a link to a folder that is read already"):
        open_dataset(tmp_path)


@needs_links
@pytest.mark.skipif(os.geteuid() == 0 if os.name == "posix" else True, reason="root reads all")
def test_a_folder_without_permission_is_refused(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            open_dataset(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o755)


def test_a_class_that_validation_lacks_is_a_note(tmp_path: Path):
    tree(tmp_path, {"train/a": 5, "train/hat": 5, "val/a": 2, "test/a": 1, "test/hat": 1})
    assert "split 'validation' lacks class 'hat'" in open_dataset(tmp_path).notes


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("no/such/folder", "does not exist. Sets known by name: digits, "),
        ("cifar-10", "Did you mean cifar10?"),
        ("", "empty"),
        ("a\0b", "NUL"),
    ],
)
def test_a_path_that_is_none_is_refused(data: str, complaint: str):
    with pytest.raises(DataError, match=complaint):
        open_dataset(data)


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path):
    path = tmp_path / "data.zip"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"is a file\. Give a folder"):
        open_dataset(path)
