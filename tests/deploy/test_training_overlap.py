"""Images that a model was trained on are named when it is measured on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phiscale.data.datasets.evaluated import select_split
from phiscale.data.datasets.open import open_dataset
from phiscale.deploy.training_overlap import count_common, warn_of_training_images
from phiscale.files import write_checked
from phiscale.files.run_files import DATA
from support.trees import tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tree(tmp_path / "data", {"a": 20, "b": 20})


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    (tmp_path / "run").mkdir()
    write_checked(tmp_path / "run" / DATA, {"source": str(data)})
    return tmp_path / "run"


def _warnings(run: Path, data: Path, split: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    images = open_dataset(data, split=split)
    caplog.clear()
    with caplog.at_level("INFO", logger="phiscale"):
        warn_of_training_images(run, images, select_split(images, split))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", ["", "best.safetensors", "model.onnx"])
def test_all_images_of_the_runs_own_data_include_its_training(
    name: str, run: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [message] = _warnings(run / name, data, "all", caplog)
    assert message.startswith("32 of 40 images were in the training of")
    [message] = _warnings(run / name, data, "train", caplog)
    assert message.startswith("32 of 32 images")


def test_the_held_out_split_of_the_runs_own_data_has_none(
    run: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not _warnings(run, data, "test", caplog)


def test_copies_of_training_images_are_found_by_content(
    run: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tree(tmp_path / "other", {"test/a": 3, "test/b": 3}, start=1000)
    assert not _warnings(run, other, "test", caplog)
    for number, key in enumerate(open_dataset(data).train.keys[:4]):
        shutil.copy(data / key, other / "test" / "a" / f"copy{number}.png")
    [message] = _warnings(run, other, "test", caplog)
    assert message.startswith("4 of 10 images were in the training of")


def test_data_of_the_training_that_are_gone_are_said_to_be(
    run: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tree(tmp_path / "other", {"test/a": 3, "test/b": 3}, start=1000)
    shutil.rmtree(data)
    [message] = _warnings(run, other, "test", caplog)
    assert "which is not here: whether these images were in it cannot be told" in message


def test_damaged_data_of_a_run_are_named(
    run: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / DATA).write_text("[]")
    [message] = _warnings(run, data, "all", caplog)
    assert str(run / DATA) in message and message.endswith("are unknown.")


def test_a_model_that_is_no_run_has_no_training_images(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not _warnings(tmp_path / "model.onnx", data, "all", caplog)
    images = open_dataset("digits")
    assert count_common(images.test, images.train, by_key=True) == 0
