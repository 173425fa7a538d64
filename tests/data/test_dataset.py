"""Image sets: held-out splits by content, fingerprints, unreadable files."""

from __future__ import annotations

import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.data.datasets.held_out import hold_out
from phiscale.data.datasets.open import BadFile, ImageSet, open_dataset
from phiscale.data.reading.decode import read_image
from phiscale.errors import DataError
from support.trees import split_sizes, tree


def contents(images: ImageSet) -> list[set[bytes]]:
    return [{split.raw(i) for i in range(len(split))} for _, split in images.splits()]


hashes = st.lists(
    st.tuples(st.binary(min_size=1, max_size=1), st.integers(0, 3)), min_size=1, max_size=120
)


@given(hashes, st.sampled_from([(0.1,), (0.1, 0.1), (0.3, 0.2)]), st.randoms())
def test_equal_contents_stay_together_and_the_order_of_files_does_not_matter(rows, parts, random):
    digests, labels = [d for d, _ in rows], np.array([c for _, c in rows])
    held = hold_out(digests, labels, parts)
    assert sorted(np.concatenate(held).tolist()) == list(range(len(rows)))
    seen = [{digests[i] for i in part} for part in held]
    assert sum(map(len, seen)) == len(set(digests))
    shuffled = random.sample(range(len(rows)), len(rows))
    again = hold_out([digests[i] for i in shuffled], labels[shuffled], parts)
    assert [{digests[shuffled[i]] for i in part} for part in again] == seen


@given(st.integers(1, 200), st.sampled_from([(0.1,), (0.1, 0.1)]))
def test_each_part_gets_its_share_of_a_class_and_the_rest_never_goes_empty(count, parts):
    digests = [i.to_bytes(2, "big") for i in range(count)]
    rest, *held = hold_out(digests, np.zeros(count, dtype=np.int64), parts)
    assert len(rest) >= 1
    for part in held:
        assert abs(len(part) - 0.1 * count) <= 1
        assert len(part) >= 1 or count <= len(parts)


def test_identical_files_never_fall_into_two_splits(tmp_path: Path):
    tree(tmp_path, {"a": 30, "b": 30})
    for i, path in enumerate(sorted((tmp_path / "a").iterdir())):
        (tmp_path / ("a" if i % 2 else "b") / f"copy-{i}.png").write_bytes(path.read_bytes())
    train, validation, test = contents(open_dataset(tmp_path))
    assert not train & validation and not train & test and not validation & test


def test_large_files_are_split_by_both_ends_and_size(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    for folder, name in (("a", "1"), ("b", "2"), ("b", "3")):
        middle = bytes(200_000) if name != "3" else bytes(200_001)
        (tmp_path / folder / f"{name}.bmp").write_bytes(b"BM" + middle + b"end")
    split = open_dataset(tmp_path).train.subset([])
    assert len(split) == 0
    whole = {
        k: s.digest(i) for _, s in open_dataset(tmp_path).splits() for i, k in enumerate(s.keys)
    }
    assert whole["a/1.bmp"] == whole["b/2.bmp"] != whole["b/3.bmp"]


def test_the_split_does_not_depend_on_names_or_place(tmp_path: Path):
    first = contents(open_dataset(tree(tmp_path / "x", {"a": 20, "b": 20})))
    for i, path in enumerate(sorted((tmp_path / "x").rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"new-{i}.png"))
    (tmp_path / "x").rename(tmp_path / "y")
    assert contents(open_dataset(tmp_path / "y")) == first


def test_the_fingerprint_changes_with_any_change_but_a_move(tmp_path: Path):
    root = tree(tmp_path / "one", {"train/a": 5, "train/b": 5, "val/a": 2, "test/b": 2})
    before = open_dataset(root).fingerprint()
    assert open_dataset(root).fingerprint() == before
    root = root.rename(tmp_path / "two")
    assert open_dataset(root).fingerprint() == before
    seen = {before}
    some = root / "val" / "a" / "000.png"
    for change in (
        lambda: some.write_bytes(some.read_bytes() + b"!"),
        lambda: some.rename(some.with_name("x.png")),
        lambda: (root / "val" / "a" / "001.png").unlink(),
        lambda: (root / "train" / "a" / "000.png").rename(root / "train" / "b" / "new.png"),
    ):
        change()
        seen.add(open_dataset(root).fingerprint())
    assert len(seen) == 5


def test_without_takes_bad_files_out_and_records_them(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train/a": 5, "train/b": 5, "val/a": 2, "test/b": 2}))
    bad = (BadFile("train", "train/a/001.png", "cut short"), BadFile("test", "test/b/000.png", "x"))
    rest = images.without(bad)
    assert split_sizes(rest) == (9, 2, 1) and rest.skipped == bad
    assert "train/a/001.png" not in rest.train.keys
    assert rest.notes[-1] == "2 unreadable files skipped"
    assert rest.fingerprint() != images.fingerprint()
    assert images.without(()) is images


@pytest.mark.parametrize(("split", "folder"), [("train", "train/a"), ("validation", "val/a")])
def test_without_refuses_to_empty_a_class_or_a_split(split: str, folder: str, tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train/a": 2, "train/b": 5, "val/a": 2, "test/b": 2}))
    bad = [BadFile(split, f"{folder}/{i:03d}.png", "x") for i in range(2)]
    with pytest.raises(DataError, match=r"can be read\. Fix or add some"):
        images.without(bad)


def test_splits_survive_pickling_for_worker_processes(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 10, "b": 10}))
    copy = pickle.loads(pickle.dumps(images))
    assert copy.fingerprint() == images.fingerprint()
    assert copy.train.image(3).tobytes() == images.train.image(3).tobytes()


def test_a_file_deleted_later_is_named_when_it_is_read(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 10, "b": 10}))
    images.train.path(0).unlink()
    with pytest.raises(
        DataError, match=f"{re.escape(images.train.keys[0])} .*does not exist.*check"
    ):
        images.train.image(0)


def test_the_same_reader_serves_sets_and_files(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 10, "b": 10}))
    path = images.train.path(2)
    assert images.train.image(2).tobytes() == read_image(path).tobytes()
    assert gzip.decompress(gzip.compress(images.train.raw(2))) == path.read_bytes()
