"""Tar shards: indexed, not unpacked; split by name or by content; refused if labels do not hold."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from phiscale.data.datasets import shards as module
from phiscale.data.datasets.open import open_dataset
from phiscale.data.datasets.shard_patterns import expand
from phiscale.data.datasets.shard_scan import scan_shard
from phiscale.data.order import WINDOW, Order
from phiscale.errors import DataError
from support.trees import image_bytes, samples, shard, split_sizes, tree


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of 20 samples, classes 0 and 1 by turns."""
    for number in range(3):
        labels = [i % 2 for i in range(20)]
        shard(tmp_path / f"shards-{number:03d}.tar", samples(labels, start=20 * number))
    return tmp_path


@pytest.mark.parametrize(
    "pattern", ["shards-{000..002}.tar", "shards-*.tar", "shards-00[0-2].tar", ""]
)
def test_ranges_wildcards_and_folders_mean_the_same_shards(pattern: str, shards: Path):
    images = open_dataset(str(shards / pattern))
    assert images.classes == ("0", "1")
    assert split_sizes(images) == (48, 6, 6)
    assert sorted(k for _, s in images.splits() for k in s.keys)[0] == "shards-000.tar:00000"


def test_every_image_is_the_one_that_its_key_names(shards: Path):
    for _, split in open_dataset(shards).splits():
        for i, key in enumerate(split.keys):
            number = int(key.rpartition(":")[2])
            assert split.raw(i) == image_bytes(number)
            assert split.labels[i] == number % 2


def test_shards_with_split_names_are_split_by_them(tmp_path: Path):
    for name, start in (("train-0", 0), ("train-1", 50), ("val-0", 100), ("test-0", 150)):
        shard(tmp_path / f"{name}.tar", samples("ab" * 5, start=start))
    images = open_dataset(tmp_path)
    assert split_sizes(images) == (20, 10, 10) and images.classes == ("a", "b")
    assert images.validation.keys[0] == "val-0.tar:00100"


def test_shards_in_split_folders_are_split_by_them(tmp_path: Path):
    for folder, start in (("train", 0), ("validation", 100)):
        shard(tmp_path / folder / "00.tar", samples("ab" * 10, start=start))
    assert split_sizes(open_dataset(tmp_path)) == (18, 2, 20)


def test_shards_of_one_split_alone_are_split_again(tmp_path: Path):
    shard(tmp_path / "train-0.tar", samples("ab" * 10))
    shard(tmp_path / "test-0.tar", samples("ab" * 10, start=50))
    assert split_sizes(open_dataset(str(tmp_path / "train-{0..0}.tar"))) == (16, 2, 2)


@pytest.mark.parametrize("form", ["cls", "json"])
def test_labels_stand_in_cls_or_json(form: str, tmp_path: Path):
    path = shard(tmp_path / "x.tar", samples(["cat", "dog"] * 10, label=form))
    assert open_dataset(path).classes == ("cat", "dog")


def test_numbers_sort_as_numbers(tmp_path: Path):
    path = shard(tmp_path / "x.tar", samples([10, 9, 2] * 5))
    assert open_dataset(path).classes == ("2", "9", "10")


def test_classes_txt_names_the_numbers(shards: Path):
    (shards / "classes.txt").write_text("tabby cat\r\nétoile\n\n", encoding="utf-8")
    images = open_dataset(shards)
    assert images.classes == ("tabby cat", "étoile")
    assert images.train.labels[0] == int(images.train.keys[0][-1]) % 2


def test_the_key_is_the_name_up_to_the_first_dot_of_its_last_part(tmp_path: Path):
    members = []
    for i in range(20):
        folder = f"v1.0/part{i % 2}"
        members += [
            (f"{folder}/{i:03d}.seg.png", b"a mask, not the image"),
            (f"{folder}/{i:03d}.jpg", image_bytes(i, "JPEG")),
            (f"{folder}/{i:03d}.cls", str(i % 2).encode()),
            (f"{folder}/{i:03d}.txt", b"a caption"),
        ]
    images = open_dataset(shard(tmp_path / "x.tar", members))
    assert sum(split_sizes(images)) == 20
    assert all(":v1.0/part" in key and "." not in key.split("/")[-1] for key in images.train.keys)
    images.train.image(0)


def test_tars_of_class_folders_need_no_labels(tmp_path: Path):
    for name, start in (("train", 0), ("test", 50)):
        members = [(f"./{'ab'[i % 2]}/img.{i}.png", image_bytes(start + i)) for i in range(20)]
        shard(tmp_path / f"{name}.tar", members)
    images = open_dataset(tmp_path)
    assert images.classes == ("a", "b") and split_sizes(images) == (18, 2, 20)
    assert "an image's folder is its class" in images.notes[0]


def test_a_tar_may_stay_beside_the_folders_it_was(tmp_path: Path):
    tree(tmp_path, {"train/a": 5, "train/b": 5, "test/a": 1, "test/b": 1})
    shard(tmp_path / "train.tar", [("a/0.png", image_bytes(0))])
    assert open_dataset(tmp_path).test.keys == ("test/a/000.png", "test/b/000.png")


def test_links_inside_a_tar(tmp_path: Path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(10):
            data = image_bytes(i)
            info = tarfile.TarInfo(f"{'ab'[i % 2]}/{i}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        hard, soft = tarfile.TarInfo("a/hard.png"), tarfile.TarInfo("a/soft.png")
        hard.type, hard.linkname = tarfile.LNKTYPE, "a/0.png"
        soft.type, soft.linkname = tarfile.SYMTYPE, "0.png"
        tar.addfile(hard)
        tar.addfile(soft)
    images = open_dataset(path)
    assert sum(split_sizes(images)) == 11
    assert "1 link or device in the shards not read" in images.notes


def test_long_and_unicode_member_names_are_kept(tmp_path: Path):
    long = "日本" * 60
    members = [(f"{'ab'[i % 2]}/{long}{i}.png", image_bytes(i)) for i in range(10)]
    images = open_dataset(shard(tmp_path / "x.tar", members))
    assert all(long in key for key in images.train.keys)


def test_splits_survive_pickling_for_worker_processes(shards: Path):
    split = open_dataset(shards).train
    copy = pickle.loads(pickle.dumps(split))
    assert copy.raw(5) == split.raw(5) and np.array_equal(copy.labels, split.labels)


def test_a_shard_cut_after_it_was_indexed_gives_bad_images(shards: Path):
    split = open_dataset(shards).train
    for path in shards.iterdir():
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="ends before the image does"):
        split.image(len(split) - 1)
    for path in shards.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        split.image(0)
    assert split.digest(0) != split.digest(1)


REFUSED = {
    "is no whole, uncompressed tar": lambda p: p.write_bytes(b"\x01" * 5000),
    "no whole, uncompressed tar .empty file": lambda p: p.write_bytes(b""),
    "Unpack it if it is compressed": lambda p: p.write_bytes(
        gzip.compress(shard(p, samples("ab" * 9)).read_bytes())
    ),
    "fetch it again if it was cut short": lambda p: p.write_bytes(
        shard(p, samples("ab" * 9)).read_bytes()[:5000]
    ),
    "hold no image": lambda p: shard(p, []),
    "one class only": lambda p: shard(p, samples("aaaa")),
    "differ only by case": lambda p: shard(p, samples(["cat", "Cat", "dog"] * 5)),
    "1 sample without a label: 'x.tar:lonely'": lambda p: shard(
        p, [*samples("ab" * 9), ("lonely.png", image_bytes(99))]
    ),
    "stands in no folder": lambda p: shard(
        p, [("0.png", image_bytes(0)), ("1.png", image_bytes(1))]
    ),
    "two members '00000.png'": lambda p: shard(
        p, [*samples("ab" * 9), ("00000.png", image_bytes(7))]
    ),
    "neither a whole number nor a class name": lambda p: shard(
        p, [*samples("ab" * 9), ("y.png", image_bytes(99)), ("y.json", b'{"label": [1]}')]
    ),
    "'shop_2.17.png' is '17.png' of sample 'shop_2'.*Name it 'shop_2_17.png'": lambda p: shard(
        p, [*samples("ab" * 9), ("shop_2.17.png", image_bytes(99)), ("shop_2.17.cls", b"a")]
    ),
    "Sample 'x.tar:00000' has 2 images: '00000.jpg' and '00000.png'": lambda p: shard(
        p, [*samples("ab" * 9), ("00000.jpg", image_bytes(99, "JPEG"))]
    ),
    "label of 'x.tar:z' is neither": lambda p: shard(
        p, [*samples("ab" * 9), ("z.png", image_bytes(99)), ("z.json", b"[" * 100_000)]
    ),
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_a_shard_that_cannot_be_used_is_refused(complaint: str, tmp_path: Path):
    path = tmp_path / "x.tar"
    REFUSED[complaint](path)
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("listing", "complaint"),
    [
        ("one\n", "one class only"),
        ("one\ntwo\nthree\n", "classes.txt lists 'three', of which train has no image"),
        ("one\nONE\n", "differ only by case"),
        ("a\nb\n\xff", "lists|read"),
    ],
)
def test_an_invalid_class_list_is_refused(listing: str, complaint: str, shards: Path):
    (shards / "classes.txt").write_bytes(listing.encode("latin-1"))
    with pytest.raises(DataError, match=complaint):
        open_dataset(shards)


def test_a_label_beyond_the_class_list_is_refused(tmp_path: Path):
    shard(tmp_path / "x.tar", samples([0, 1, 2] * 5))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"label 2 is not among the 2 of classes\.txt"):
        open_dataset(tmp_path)


def test_a_class_that_train_lacks_is_refused(tmp_path: Path):
    shard(tmp_path / "train.tar", samples("ab" * 9))
    shard(tmp_path / "val.tar", samples("abc", start=50))
    with pytest.raises(DataError, match="'validation' has class 'c', which train lacks"):
        open_dataset(tmp_path)


def test_shards_of_unclear_split_are_refused(tmp_path: Path):
    shard(tmp_path / "train-0.tar", samples("ab" * 9))
    shard(tmp_path / "extra-0.tar", samples("ab" * 9, start=50))
    with pytest.raises(DataError, match=r"the split of 'extra-0\.tar' cannot be told"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s-{8..11}.tar", ["s-8.tar", "s-9.tar", "s-10.tar", "s-11.tar"]),
        ("s-{008..010}.tar", ["s-008.tar", "s-009.tar", "s-010.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        (
            "{train-{0..1},val-{00..01}}.tar",
            ["train-0.tar", "train-1.tar", "val-00.tar", "val-01.tar"],
        ),
        ("{x-{a}{b,c}", ["{x-{a}b", "{x-{a}c"]),
    ],
)
def test_brace_ranges_expand_as_in_a_shell(
    pattern: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).touch()
    assert [path.name for path in expand(pattern)] == names


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("s-{000..003}.tar", "2 shards missing: 's-002.tar' and 's-003.tar'"),
        ("t-*.tar", "No shard matches"),
        ("s-{3..1}.tar", "Count upwards"),
        ("s-{0..999999999}.tar", "Count upwards, over at most"),
        ("{0..9999}-{0..9999}.tar", "means over 100,000 shards"),
    ],
)
def test_a_pattern_that_means_no_shards_is_refused(
    pattern: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("s-000.tar", "s-001.tar"):
        Path(name).touch()
    with pytest.raises(DataError, match=complaint):
        open_dataset(pattern)


def test_braces_in_a_real_name_are_a_name(tmp_path: Path):
    path = shard(tmp_path / "x{1..2}.tar", samples("ab" * 9))
    assert sum(split_sizes(open_dataset(str(path)))) == 18


def test_shards_behind_a_url_are_the_same_images(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fsspec

    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path / "cache"))
    far = fsspec.filesystem("memory")
    for path in shards.glob("*.tar"):
        far.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    here = open_dataset(shards)
    for pattern in ("shards-{000..002}.tar", "shards-*.tar"):
        there = open_dataset(f"memory://bucket/{pattern}")
        assert there.classes == here.classes
        for (_, a), (_, b) in zip(there.splits(), here.splits(), strict=True):
            assert a.keys == b.keys and a.labels.tolist() == b.labels.tolist()
            assert all(a.raw(i) == b.raw(i) for i in range(len(a)))


def test_an_index_is_made_once_and_again_when_the_shard_changes(
    shards: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
    keys = open_dataset(shards).train.keys
    read: list[str] = []
    monkeypatch.setattr(
        module, "scan_shard", lambda path, name: read.append(name) or scan_shard(path, name)
    )
    assert open_dataset(shards).train.keys == keys and read == []
    shard(shards / "shards-001.tar", samples([0, 1] * 5, start=70))
    assert sum(split_sizes(open_dataset(shards))) == 50
    assert read == ["shards-001.tar"]


def test_fetched_shards_stay_within_the_bytes_of_the_cache(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fsspec

    size = (shards / "shards-000.tar").stat().st_size
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHISCALE_SHARD_CACHE_BYTES", str(2 * size))
    far = fsspec.filesystem("memory")
    for path in shards.glob("*.tar"):
        far.pipe_file(f"/few/{path.name}", path.read_bytes())
    images = open_dataset("memory://few/shards-{000..002}.tar")
    for _, split in images.splits():
        for i in range(len(split)):
            assert split.raw(i)
    kept = list((tmp_path / "cache" / "shards").glob("*.tar"))
    assert 1 <= len(kept) <= 2


@pytest.mark.parametrize(
    "url", ["memory://nowhere/a-{0..1}.tar", "memory://nowhere/*.tar", "nosuch://bucket/a.tar"]
)
def test_a_url_that_leads_nowhere_is_one_line(url: str):
    with pytest.raises(DataError) as caught:
        open_dataset(url)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_training_on_shards_reads_a_few_at_a_time_and_all_in_an_epoch():
    groups = np.repeat(np.arange(64), 10)
    order = Order(640, 0, groups)
    epochs = order.samples(0, 1280).reshape(2, 640)
    assert all(sorted(epoch) == list(range(640)) for epoch in epochs)
    assert not np.array_equal(*epochs)
    for at in range(0, 640, WINDOW * 10):
        window = groups[epochs[0][at : at + WINDOW * 10]]
        assert len(set(window)) == WINDOW and (np.diff(window) != 0).mean() > 0.8  # well mixed
    start = Order(640, 0, groups).samples(333, 777)
    assert np.array_equal(start, epochs.ravel()[333:777])
