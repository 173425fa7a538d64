"""Deep grey images in training: the range of the set travels with the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import phiscale
from phiscale.deploy.predict import Predictor
from phiscale.errors import PhiscaleError, UsageError
from support.networks import SPEC

RECIPE = replace(phiscale.RECIPES["characters"], epochs=1, batch=8, evaluations=1)


def grey_set(root: Path, kind: str = "int32") -> Path:
    """Dim and bright images with values up to about 400; each of its own noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for name, level in (("dim", 80), ("bright", 320)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                values = level + random.uniform(-60, 60, (16, 16))
                Image.fromarray(values.astype(kind)).save(folder / f"{i}.tif")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_set(tmp_path_factory.mktemp("set") / "data")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> phiscale.Run:
    return phiscale.train(SPEC, data, tmp_path_factory.mktemp("run") / "out", RECIPE)


def probability_of_dim(run: phiscale.Run, image: Path, **arguments: Any) -> float:
    prediction = run.predict(image, top=2, **arguments)
    assert isinstance(prediction, phiscale.Prediction)
    return dict(prediction.top())["dim"]


def test_weights_keep_the_range_and_evaluation_and_prediction_use_it(data: Path, run: phiscale.Run):
    low, high = run.metadata.preprocessing.value_range or (0, 0)
    assert (low, high) == phiscale.audit(phiscale.open_dataset(data)).value_range
    assert run.evaluate(data).images == 8
    image = data / "test" / "dim" / "0.tif"
    usual = probability_of_dim(run, image)
    assert probability_of_dim(run, image, value_range=(low, high)) == usual
    assert probability_of_dim(run, image, value_range=(0, 1e9)) != usual


def test_model_onnx_carries_the_range(data: Path, run: phiscale.Run):
    run.export("onnx")
    predictor = Predictor(Path(run) / "model.onnx")
    assert predictor.preprocessing == run.metadata.preprocessing
    image = data / "test" / "bright" / "0.tif"
    assert str(predictor(image)) == str(run.predict(image))


def test_the_same_training_again_keeps_its_range(data: Path, run: phiscale.Run):
    before = run.metadata.preprocessing
    again = phiscale.train(SPEC, data, Path(run), RECIPE)
    assert again.metadata.preprocessing == before


def test_another_range_is_no_resumption(data: Path, run: phiscale.Run):
    with pytest.raises(PhiscaleError, match="value_range"):
        phiscale.train(SPEC, data, Path(run), RECIPE, value_range=(0, 1000))


def test_a_range_that_is_given_takes_the_place_of_the_sets(data: Path, tmp_path: Path):
    run = phiscale.train(SPEC, data, tmp_path / "out", RECIPE, value_range=(0, 1000))
    assert run.metadata.preprocessing.value_range == (0, 1000)
    with pytest.raises(UsageError, match=r"value_range=.* is no range"):
        phiscale.train(SPEC, data, tmp_path / "other", RECIPE, value_range=(5, 5))
