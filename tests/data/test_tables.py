"""Image sets whose labels stand in a CSV table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phiscale.data.datasets.evaluated import select_split
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import DataError
from support.trees import split_sizes, tree


def _table(path: Path, header: str, count: int, cell: str = "{:03d}.png") -> Path:
    rows = [f"{cell.format(i)},{'cat' if i % 2 else 'dog'}" for i in range(count)]
    path.write_text("\n".join([header, *rows] if header else rows))
    return path


@pytest.mark.parametrize(
    ("folder", "table", "header", "cell"),
    [
        ("train", "train.csv", "image,label", "{:03d}.png"),
        ("train", "train.csv", "id,category", "{:03d}"),
        ("train", "train/labels.csv", "filename,class", "{:03d}.png"),
        ("train", "labels.csv", "", "train/{:03d}.png"),
        (".", "labels.csv", "Id,Breed", "{:03d}"),
        ("images", "anything.csv", "file,label", "{:03d}.png"),
        ("train_images", "train.csv", "image_id,label", "{:03d}.png"),
    ],
)
def test_a_table_of_files_and_labels_is_an_image_set(
    folder: str, table: str, header: str, cell: str, tmp_path: Path
) -> None:
    _table(tree(tmp_path, {folder: 40}) / table, header, 40, cell)
    images = open_dataset(tmp_path)
    assert images.classes == ("cat", "dog") and split_sizes(images) == (32, 4, 4)
    assert any(note.startswith("labels from ") for note in images.notes)
    for key, label in zip(images.train.keys, images.train.labels, strict=True):
        assert images.classes[label] == ("cat" if int(Path(key).stem) % 2 else "dog")
    assert isinstance(images.train.raw(0), bytes)


def test_a_table_may_be_given_itself_and_an_unlabelled_test_is_noted(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 40, "test": 3})
    table = _table(tmp_path / "train.csv", "image,label", 40)
    (tmp_path / "test.csv").write_text("image\n000.png")
    assert split_sizes(open_dataset(table)) == (32, 4, 4)
    images = open_dataset(tmp_path)
    assert split_sizes(images) == (32, 4, 4)
    assert "'test.csv' has no column of labels: not read" in images.notes


def test_a_labelled_table_of_test_is_the_test_and_can_be_measured_alone(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 40, "test": 4})
    _table(tmp_path / "train.csv", "image,label", 40)
    table = _table(tmp_path / "test.csv", "image,label", 4, "test/{:03d}.png")
    assert split_sizes(open_dataset(tmp_path)) == (36, 4, 4)
    alone = select_split(open_dataset(table, split="test"), "test")
    assert len(alone) == 4 and alone.keys[0] == "test/000.png"
    with pytest.raises(DataError, match=r"has 'test\.csv' but no table of train"):
        open_dataset(table)


def test_whole_numbers_sort_as_numbers(tmp_path: Path) -> None:
    tree(tmp_path, {"images": 33})
    rows = [f"{i:03d}.png,{(2, 10, 1)[i % 3]}" for i in range(33)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    images = open_dataset(tmp_path, split="all")
    assert images.classes == ("1", "2", "10")
    assert np.bincount(images.train.labels).tolist() == [11, 11, 11]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (
            "file,label\n000.png,a\n9.png,b",
            r"row 3: '9\.png' does not exist in .*\(1 such row of 2",
        ),
        ("file,label\n000.png,a\n001.png,", r"row 3: a file or a label is missing"),
        ("file,label\n000.png,a\n000.png,b", r"row 3: '000\.png' is 'b' here and 'a' before"),
        ("file,healthy,rust\n000.png,1,0", r"has columns 'file', 'healthy' and 'rust'\. Name one"),
        ("file,label\n../000.png,a", r"row 2: '\.\./000\.png' does not exist"),
        ("", "is empty"),
        ("file,label", "has a header but no rows"),
        ("file,label\n000.png,a\n001.png,a", "one class only"),
    ],
)
def test_a_table_that_cannot_be_used_names_the_row(
    lines: str, complaint: str, tmp_path: Path
) -> None:
    (tree(tmp_path, {"train": 5}) / "train.csv").write_text(lines)
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_beside_class_folders_is_not_read(tmp_path: Path) -> None:
    tree(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "labels.csv").write_text("nonsense")
    assert open_dataset(tmp_path).classes == ("cat", "dog")


def test_unlabelled_images_beside_train_and_val_are_noted(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 3, "val/b": 3, "test": 4})
    images = open_dataset(tmp_path)
    assert "'test' has images but no class folders: unlabelled, not read" in images.notes
    assert "'val', the only held-out folder, is the test" in images.notes
    assert split_sizes(images) == (18, 2, 6)
