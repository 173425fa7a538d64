"""The audit: every image read once, every fault named, advice that follows from the numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from phiscale.data.audit import Audit, audit, check_readable, files_to_skip
from phiscale.data.audit_advice import Facts, advise
from phiscale.data.datasets.open import BadFile, open_dataset
from phiscale.data.reading.decode import DecodeLimits
from phiscale.errors import DataError
from support.nasty import bad, good, saved
from support.trees import image_bytes, tree


@pytest.fixture
def tidy(tmp_path: Path) -> Path:
    folders = {"train/a": 20, "train/b": 10, "val/a": 4, "val/b": 4, "test/a": 4, "test/b": 4}
    return tree(tmp_path / "data", folders)


def audited(root: Path) -> Audit:
    return audit(open_dataset(root))


def test_a_tidy_set_is_counted(tidy: Path):
    report = audited(tidy)
    assert report.bad == () and report.duplicates == ()
    assert report.counts == {"train": (20, 10), "validation": (4, 4), "test": (4, 4)}
    assert report.total == 46 and report.imbalance == 2
    assert report.modes == {"PNG RGB": 46}
    assert report.shorter_side and report.shorter_side.median == 8


def refusal(report: Audit) -> str:
    """What a training says that stops at bad files."""
    with pytest.raises(DataError) as refused:
        files_to_skip(report, "stop")
    return str(refused.value)


def test_all_bad_files_are_listed_and_good_ones_are_not(tidy: Path):
    nasty, fine = bad(), good()
    for file in nasty + fine:
        (tidy / "train" / "a" / file.name).write_bytes(file.data)
    images = open_dataset(tidy)
    report = audit(images)
    assert {file.key for file in report.bad} == {f"train/a/{file.name}" for file in nasty}
    error = refusal(report)
    assert all(file.name in error for file in nasty)
    assert f"{len(nasty)} files of {report.total} cannot be read" in error
    assert error.endswith("on_bad='skip'")
    assert files_to_skip(report, "skip") == report.bad
    with pytest.raises(DataError, match=r"Fix or remove them\.$"):  # of a study: it skips nothing
        check_readable(report)
    rest = images.without(report.bad)
    assert len(rest.train) == 30 + len(fine) and rest.skipped == report.bad
    assert audit(rest).bad == ()


def test_names_cannot_forge_lines_of_a_report(tidy: Path):
    for name in ("new\nline.png", "red\x1b[31m.png", "\u202egnp.png"):
        try:
            (tidy / "train" / "a" / name).write_bytes(b"")
        except OSError:
            pytest.skip("this file system takes no such name")
    report = audited(tidy)
    text = report.summary() + refusal(report)
    assert r"new\nline.png (train): empty file" in text
    assert r"red\x1b[31m.png" in text and r"\u202egnp.png" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert all("\n" not in line for line in report.summary().splitlines())


def test_the_same_pixels_in_two_files_are_duplicates(tidy: Path):
    image = Image.effect_noise((8, 8), 80).convert("RGB")
    (tidy / "train" / "a" / "same.png").write_bytes(saved(image, "PNG"))
    (tidy / "test" / "a" / "same.bmp").write_bytes(saved(image, "BMP"))
    (tidy / "train" / "b" / "copy.png").write_bytes((tidy / "train/b/000.png").read_bytes())
    report = audited(tidy)
    assert {tuple(sorted(p.key for p in group)) for group in report.duplicates} == {
        ("train/b/000.png", "train/b/copy.png"),
        ("test/a/same.bmp", "train/a/same.png"),
    }
    assert any("Remove 'train/a/same.png'" in sentence for sentence in report.advice)


def test_pixels_of_another_shape_are_not_the_same(tidy: Path):
    for i, size in enumerate([(2, 8), (8, 2), (4, 4)]):
        (tidy / "train" / "a" / f"flat-{i}.png").write_bytes(saved(Image.new("RGB", size), "PNG"))
    assert audited(tidy).duplicates == ()


def test_progress_runs_to_the_end(tidy: Path):
    steps: list[tuple[int, int]] = []
    audit(open_dataset(tidy), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (46, 46) and steps == sorted(steps)


def test_the_number_of_threads_changes_nothing(tidy: Path):
    (tidy / "train" / "a" / "empty.png").touch()
    images = open_dataset(tidy)
    assert audit(images, workers=1) == audit(images, workers=4)


def test_limits_apply_in_the_audit(tidy: Path):
    report = audit(open_dataset(tidy).with_limits(DecodeLimits(max_pixels=63)))
    assert len(report.bad) == report.total == 46
    assert report.shorter_side is None
    assert "stored as nothing" in report.summary().splitlines()


def test_files_of_several_pages_are_named(tidy: Path):
    page = Image.new("L", (8, 8), 9)
    for name in ("two.tif", "two.gif", "two.png"):
        page.save(
            tidy / "train" / "a" / name, save_all=True, append_images=[Image.new("L", (8, 8))]
        )
    assert any(sentence.startswith("3 files have more") for sentence in audited(tidy).advice)


def test_an_audit_is_json(tidy: Path):
    (tidy / "train" / "a" / "empty.png").touch()
    report = audited(tidy)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["bad"] == [{"split": "train", "key": "train/a/empty.png", "reason": "empty file"}]
    assert again["counts"]["train"] == [20, 10]


def test_arrays_are_audited_too():
    report = audit(open_dataset("digits"))
    assert report.modes == {"array L": 1797} and report.bad == ()


PLENTY = {"train": (9000, 9000), "validation": (900, 900), "test": (900, 900)}


def facts(**changes: object) -> Facts:
    usual = {
        "classes": ("cat", "dog"),
        "counts": PLENTY,
        "shorter_sides": [256.0],
        "aspects": [1.3],
        "duplicates": [],
    }
    return Facts(**(usual | changes))


def test_a_set_in_order_gets_the_resolution_only():
    assert advise(facts()) == (
        "The median shorter side is 256 px: a resolution above that adds interpolation, "
        "not detail.",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"counts": PLENTY | {"train": (9000, 12)}}, "Fewer than 20 training .* in class 'dog'"),
        ({"counts": PLENTY | {"train": (500, 400)}}, "900 training images: start from"),
        ({"counts": PLENTY | {"train": (9000, 1000)}}, "'cat' has 9.0 times the training images"),
        ({"counts": PLENTY | {"validation": (20, 20)}}, "has 40 images: .* ± 9.3 points"),
        ({"counts": PLENTY | {"test": (0, 0)}}, "'test', which is the result, has 0 images"),
        ({"shorter_sides": [32.0]}, "median shorter side is 32 px"),
        ({"shorter_sides": [3000.0]}, "Shrink them once"),
        ({"shorter_sides": [30.0] + [200.0] * 9}, "10 % of the images have less than half"),
        ({"multi_page": ["a.tif"]}, "^1 file has more than one page .* is read: 'a.tif'"),
        ({"aspects": [1.0, 3.0]}, "50 % of the images are more than twice as long"),
        (
            {"duplicates": [[("train", "t/1", "cat"), ("test", "x/1", "cat")]]},
            "1 image outside 'test' .* Remove 't/1'.",
        ),
        (
            {"duplicates": [[("train", "t/1", "cat"), ("validation", "v/1", "cat")]]},
            "1 image outside 'validation' .* Remove 't/1'.",
        ),
        (
            {"duplicates": [[("train", "t/1", "cat"), ("train", "t/2", "dog")]]},
            "1 image under more than one class. Keep each in one: 't/1 = t/2'.",
        ),
    ],
)
def test_advice_follows_from_the_numbers(changes: dict, sentence: str):
    assert any(re.search(sentence, advice) for advice in advise(facts(**changes))), advise(
        facts(**changes)
    )


def test_thumbnails_get_no_advice_to_start_from_pretrained_weights():
    few = PLENTY | {"train": (500, 500)}
    advice = advise(facts(counts=few, shorter_sides=[8.0]))
    assert not any("pretrained" in sentence for sentence in advice)


def test_bad_files_of_a_small_list_read_well(tmp_path: Path):
    tree(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "b" / "x.jpg").write_bytes(b"<html>")
    (tmp_path / "b" / "ok.jpg").write_bytes(image_bytes(77, "JPEG"))
    report = audited(tmp_path)
    (only,) = report.bad
    assert only == BadFile(only.split, "b/x.jpg", "a web page (HTML), not an image")
    assert refusal(report).splitlines()[:2] == [
        "1 file of 22 cannot be read:",
        f"  b/x.jpg ({only.split}): a web page (HTML), not an image",
    ]
