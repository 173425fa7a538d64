"""Folders and named sets: what is taken, how it is split, what is refused before any training."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families.paper import TABLE_5
from phiscale.data.datasets import named
from phiscale.data.datasets.dataset import hold_out
from phiscale.data.datasets.named import NAMED
from phiscale.data.datasets.open import BadFile, ImageSet, open_dataset
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.data.datasets.split_names import ROLES
from phiscale.data.reading.decode import read_image
from phiscale.errors import DataError
from support.trees import image_bytes, tree

needs_links = pytest.mark.skipif(os.name != "posix", reason="symbolic links")


def sizes(images: ImageSet) -> tuple[int, int, int]:
    return len(images.train), len(images.validation), len(images.test)


def contents(images: ImageSet) -> list[set[bytes]]:
    return [{split.raw(i) for i in range(len(split))} for _, split in images.splits()]


# --- layouts ----------------------------------------------------------------------------------


def test_class_folders_alone_are_split_80_10_10_within_each_class(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"b": 30, "a": 50}))
    assert images.classes == ("a", "b")
    assert sizes(images) == (64, 8, 8)
    assert np.bincount(images.train.labels).tolist() == [40, 24]
    assert np.bincount(images.test.labels).tolist() == [5, 3]
    assert "80 % train" in images.notes[0]


@pytest.mark.parametrize("held_out", sorted(set(ROLES) - {"train", "training"}))
def test_one_held_out_folder_is_the_test_whatever_its_name(held_out: str, tmp_path: Path):
    tree(tmp_path, {"train/a": 20, "train/b": 20, f"{held_out}/a": 3, f"{held_out}/b": 4})
    images = open_dataset(tmp_path)
    assert sizes(images) == (36, 4, 7)
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
    assert sizes(images) == (8, 2, 3) and images.notes == ()


def test_train_alone_is_split_as_class_folders_are(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train/a": 20, "train/b": 20}))
    assert sizes(images) == (32, 4, 4)


def test_a_class_may_be_called_train(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"train": 10, "bus": 10}))
    assert images.classes == ("bus", "train")


def test_images_below_class_folders_count_for_the_class(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 5, "a/2024/may": 5, "b": 10}))
    assert sum(sizes(images)) == 20


@pytest.mark.parametrize(
    "junk", [".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", "._a.png"]
)
def test_junk_is_passed_over_in_silence(junk: str, tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    for folder in (tmp_path, tmp_path / "a"):
        (folder / junk).write_bytes(b"junk")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "a" / "@eaDir").mkdir()
    images = open_dataset(tmp_path)
    assert sum(sizes(images)) == 20 and len(images.notes) == 1


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
def test_any_name_of_class_and_file_is_kept_as_found(name: str, tmp_path: Path):
    try:
        tree(tmp_path, {name: 10, "other": 10})
        (tmp_path / name / f"{name}.png"[-250:]).write_bytes(image_bytes(99))
    except OSError:
        pytest.skip("this file system takes no such name")
    images = open_dataset(tmp_path)
    assert name in images.classes
    assert sum(sizes(images)) == 21
    for _, split in images.splits():
        for i in range(len(split)):
            split.image(i)


def test_images_without_extension_are_known_by_content(tmp_path: Path):
    tree(tmp_path, {"a": 5, "b": 5})
    for path in list(tmp_path.rglob("*.png")):
        path.rename(path.with_suffix(""))
    assert sum(sizes(open_dataset(tmp_path))) == 10


# --- links ------------------------------------------------------------------------------------


@needs_links
def test_a_link_to_a_parent_is_not_followed_in_a_loop(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    images = open_dataset(tmp_path)
    assert sum(sizes(images)) == 20
    assert any("read already: 'a/self' and 'a/up'" in note for note in images.notes)


@needs_links
def test_a_link_never_takes_a_folder_from_the_class_it_stands_in(tmp_path: Path):
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
    assert sum(sizes(images)) == 26
    assert "2 links lead outside the folder; followed" in images.notes


@needs_links
def test_pipes_and_dead_links_neither_block_nor_vanish(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "dead.png").symlink_to("gone")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    images = open_dataset(tmp_path)
    assert sum(sizes(images)) == 23
    for _, split in images.splits():
        for key, size in zip(split.keys, split.sizes, strict=True):
            assert (size == -1) == key.endswith(("dead.png", "loop.png"))


# --- what is refused --------------------------------------------------------------------------

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
        ("cifar-10", "Did you mean 'cifar10'?"),
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


# --- splitting by content ---------------------------------------------------------------------

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


# --- image sets -------------------------------------------------------------------------------


def test_the_fingerprint_tells_any_change_but_a_move(tmp_path: Path):
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
    assert sizes(rest) == (9, 2, 1) and rest.skipped == bad
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


def test_a_file_deleted_later_is_named_when_it_is_wanted(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 10, "b": 10}))
    images.train.path(0).unlink()
    with pytest.raises(
        DataError, match=f"{re.escape(images.train.keys[0])} .*does not exist.*check"
    ):
        images.train.image(0)


# --- named sets -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return open_dataset("digits")


def test_digits_need_no_network(digits: ImageSet):
    assert digits.classes == tuple("0123456789")
    assert sizes(digits) == (1439, 179, 179)
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

    def offline(root: str, train: bool, download: bool) -> None:
        raise OSError("no route to host") if download else RuntimeError("not found")

    with pytest.raises(
        DataError, match=r"no route to host\. Go online, or put torchvision's files"
    ):
        named._from_arrays("mnist", offline, tmp_path, named.assemble)


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
    said = "98.1 % with efficientnet_b0 and 98.9 % with efficientnet_b7"
    assert said in TRANSFER_DATASETS["cifar10"].summary()


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch):
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


def test_the_same_reader_serves_sets_and_files(tmp_path: Path):
    images = open_dataset(tree(tmp_path, {"a": 10, "b": 10}))
    path = images.train.path(2)
    assert images.train.image(2).tobytes() == read_image(path).tobytes()
    assert gzip.decompress(gzip.compress(images.train.raw(2))) == path.read_bytes()
