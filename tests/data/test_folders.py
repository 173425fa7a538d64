"""Image folders: layouts, names and links."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from phiscale.data.datasets.open import open_dataset
from phiscale.data.datasets.split_names import ROLES
from support.trees import image_bytes, split_sizes, tree

needs_links = pytest.mark.skipif(os.name != "posix", reason="symbolic links")


def test_class_folders_alone_are_split_80_10_10_within_each_class(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"b": 30, "a": 50}))
    assert images.classes == ("a", "b")
    assert split_sizes(images) == (64, 8, 8)
    assert np.bincount(images.train.labels).tolist() == [40, 24]
    assert np.bincount(images.test.labels).tolist() == [5, 3]
    assert "80 % train" in images.notes[0]


@pytest.mark.parametrize("held_out", sorted(set(ROLES) - {"train", "training"}))
def test_one_held_out_folder_is_the_test_whatever_its_name(held_out: str, tmp_path: Path):
    tree(tmp_path, {"train/a": 20, "train/b": 20, f"{held_out}/a": 3, f"{held_out}/b": 4})
    images = open_dataset(tmp_path)
    assert split_sizes(images) == (36, 4, 7)
    assert images.test.keys[0] == f"{held_out}/a/000.png"
    assert "10 % of train, by content hash within each class, validates" in images.notes


def test_a_held_out_folder_of_another_name_with_the_same_classes_is_the_test(tmp_path: Path):
    tree(tmp_path, {"train/a": 20, "train/b": 20, "holdout/a": 3, "holdout/b": 4})
    images = open_dataset(tmp_path)
    assert len(images.test) == 7 and "folder 'holdout' is the test" in images.notes


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "Val"])
def test_two_held_out_folders_are_validation_and_test(validation: str, tmp_path: Path):
    folders = {"Train/a": 4, "Train/b": 4, f"{validation}/a": 1, f"{validation}/b": 1}
    images = open_dataset(tree(tmp_path, folders | {"test/a": 2, "test/b": 1}))
    assert split_sizes(images) == (8, 2, 3) and images.notes == ()


def test_train_alone_is_split_as_class_folders_are(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train/a": 20, "train/b": 20}))
    assert split_sizes(images) == (32, 4, 4)


def test_a_class_may_be_called_train(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train": 10, "bus": 10}))
    assert images.classes == ("bus", "train")


def test_images_below_class_folders_count_for_the_class(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 5, "a/2024/may": 5, "b": 10}))
    assert sum(split_sizes(images)) == 20
    assert "images in folders below a class count for the class: 'a/2024'" in images.notes


def test_classes_match_across_splits_in_whichever_unicode_form(tmp_path: Path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    folders = {f"train/{composed}": 20, "train/tea": 20, f"test/{decomposed}": 3, "test/tea": 2}
    images = open_dataset(tree(tmp_path, folders))
    assert images.classes == (composed, "tea") and np.bincount(images.test.labels).tolist() == [
        3,
        2,
    ]
    assert f"'test' writes '{composed}' in another Unicode form than train; matched" in images.notes
    if not (tmp_path / "test" / composed).exists():  # the file system keeps the forms apart
        assert any(key.startswith(f"test/{decomposed}/") for key in images.test.keys)


def test_one_inner_folder_of_the_same_name_in_each_class_is_merged_with_a_note(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a/images": 10, "b/images": 10}))
    assert images.classes == ("a", "b") and any("'a/images'" in note for note in images.notes)


@pytest.mark.parametrize(
    "junk", [".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", "._a.png"]
)
def test_junk_files_are_ignored_without_a_note(junk: str, tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    for folder in (tmp_path, tmp_path / "a"):
        (folder / junk).write_bytes(b"junk")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "a" / "@eaDir").mkdir()
    images = open_dataset(tmp_path)
    assert sum(split_sizes(images)) == 20 and len(images.notes) == 1


def test_files_that_are_no_images_stay_in_to_be_reported(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "notes.txt").write_text("milk")
    (tmp_path / "a" / "folder.jpg").mkdir()
    images = open_dataset(tmp_path)
    keys = {key for _, split in images.splits() for key in split.keys}
    assert {"a/notes.txt", "a/folder.jpg"} <= keys


def test_files_beside_the_folders_are_noted(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "README.md").write_text("x")
    assert "1 file beside the folders not read: 'README.md'" in open_dataset(tmp_path).notes


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "quo'te\"",
        "new\nline",
        "-dash",
        "étoilé",
        "e\u0301toile\u0301",
        "日本",
        "x" * 240,
    ],
)
def test_names_of_classes_and_files_are_kept_unchanged(name: str, tmp_path: Path):
    try:
        tree(tmp_path, {name: 10, "other": 10})
        (tmp_path / name / f"{name}.png"[-250:]).write_bytes(image_bytes(99))
    except OSError:
        pytest.skip("this file system takes no such name")
    images = open_dataset(tmp_path)
    assert name in images.classes
    assert sum(split_sizes(images)) == 21
    for _, split in images.splits():
        for i in range(len(split)):
            split.image(i)


def test_images_without_extension_are_recognised_by_content(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    for path in list(tmp_path.rglob("*.png")):
        path.rename(path.with_suffix(""))
    assert sum(split_sizes(open_dataset(tmp_path))) == 10


@needs_links
def test_a_link_to_a_parent_is_not_followed_in_a_loop(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    images = open_dataset(tmp_path)
    assert sum(split_sizes(images)) == 20
    assert any("read already: 'a/self' and 'a/up'" in note for note in images.notes)


@needs_links
def test_a_link_never_takes_a_folder_from_its_own_class(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b/inner": 10})
    (tmp_path / "a" / "stolen").symlink_to(tmp_path / "b" / "inner")
    images = open_dataset(tmp_path)
    assert sum(np.bincount(split.labels, minlength=2)[1] for _, split in images.splits()) == 10


@needs_links
def test_links_to_outside_are_followed_and_noted(tmp_path: Path):
    tree(tmp_path / "elsewhere", {"more": 5}, start=500)
    root = tree(tmp_path / "data", {"a": 10, "b": 10})
    (root / "a" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "b" / "one.png").symlink_to(tmp_path / "elsewhere" / "more" / "000.png")
    images = open_dataset(root)
    assert sum(split_sizes(images)) == 26
    assert "2 links lead outside the folder; followed" in images.notes


@needs_links
def test_pipes_and_dead_links_neither_block_nor_vanish(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "dead.png").symlink_to("gone")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    images = open_dataset(tmp_path)
    assert sum(split_sizes(images)) == 23
    for _, split in images.splits():
        for key, size in zip(split.keys, split.sizes, strict=True):
            assert (size == -1) == key.endswith(("dead.png", "loop.png"))
