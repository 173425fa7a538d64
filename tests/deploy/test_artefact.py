"""A model.onnx answers only as it was exported; anything else is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.artefact import METADATA_KEY, with_file_checksum
from phiscale.deploy.export import export_onnx
from phiscale.deploy.inference import open_backend
from phiscale.deploy.predict import Predictor
from phiscale.errors import ExportError
from phiscale.files import with_checksum
from phiscale.weights.metadata import ModelMetadata
from support.networks import SPEC, random_network

IMAGES = np.zeros((2, 3, 16, 16), np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    metadata = ModelMetadata(
        spec=SPEC,
        preprocessing=Preprocessing(size=16, crop=1.0),
        classes=tuple(map(str, range(10))),
    )
    export_onnx(random_network(), metadata, None, out, latency_s=0.02)
    return out / "model.onnx"


def refused(path: Path, match: str | None = None) -> None:
    """Every reader refuses the file, in one line that names it."""
    with pytest.raises(ExportError, match=match) as caught:
        Predictor(path).logits(IMAGES)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    with pytest.raises(ExportError), open_backend(path) as backend:
        backend.logits(IMAGES)


def test_any_flipped_bit_is_noticed_in_a_copy_without_model_json(
    exported: Path, tmp_path: Path
) -> None:
    content, path = exported.read_bytes(), tmp_path / "copy.onnx"
    path.write_bytes(content)
    assert Predictor(path).logits(IMAGES).shape == (2, 10)
    places = [*range(0, len(content), len(content) // 60), *range(-90, 0, 7)]
    for number, place in enumerate(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << number % 8
        path.write_bytes(damaged)
        refused(path, "does not match its checksum")
    for other in (b"", content[:-1], content[: len(content) // 2], content + b"\0"):
        path.write_bytes(other)
        refused(path, "does not match its checksum")


def edited(exported: Path, path: Path, change: Callable[[Any], object]) -> None:
    """Writes a model with a change, and checksums that are right for it: not damage but intent."""
    model = onnx.load(exported)
    kept = [prop for prop in model.metadata_props if prop.key == METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    change(model)
    path.write_bytes(with_file_checksum(model.SerializeToString()))


def of_metadata(change: Callable[[dict[str, Any]], object]) -> Callable[[Any], None]:
    def apply(model: Any) -> None:
        metadata = json.loads(model.metadata_props[0].value)
        change(metadata)
        model.metadata_props[0].value = json.dumps(with_checksum(metadata))

    return apply


def of_text(text: str) -> Callable[[Any], None]:
    return lambda model: setattr(model.metadata_props[0], "value", text)


CHANGES: dict[str, Callable[[Any], object]] = {
    "no metadata": lambda model: model.metadata_props.pop(),
    "not JSON": of_text("{"),
    "a list": of_text("[]"),
    "null": of_text("null"),
    "nested deeply": of_text("[" * 100_000),
    "no checksum": of_text("{}"),
    "wrong checksum": of_text('{"sha256": "0"}'),
    "empty": of_metadata(lambda m: m.clear()),
    "a class twice": of_metadata(lambda m: m.update(classes=["0"] * 10)),
    "nine classes": of_metadata(lambda m: m.update(classes=m["classes"][:9])),
    "classes as a text": of_metadata(lambda m: m.update(classes="0123456789")),
    "classes as numbers": of_metadata(lambda m: m.update(classes=list(range(10)))),
    "nine classes in the spec too": of_metadata(
        lambda m: (m.update(classes=m["classes"][:9]), m["spec"].update(classes=9))
    ),
    "another input size": of_metadata(lambda m: m["preprocessing"].update(size=16384)),
    "no preprocessing": of_metadata(lambda m: m.pop("preprocessing")),
    "preprocessing as a list": of_metadata(lambda m: m.update(preprocessing=[])),
    "an unknown key": of_metadata(lambda m: m.update(other=1)),
    "a second output": lambda model: model.graph.output.append(
        helper.make_tensor_value_info(model.graph.node[0].output[0], 1, None)
    ),
    "weights of NaN": lambda model: (
        [
            weight.CopyFrom(
                numpy_helper.from_array(
                    np.full(tuple(weight.dims), np.nan, np.float32), weight.name
                )
            )
            for weight in model.graph.initializer
            if weight.data_type == 1
        ]
        and None
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_model_that_was_made_by_others_with_right_checksums_is_refused(
    exported: Path, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    edited(exported, tmp_path / "edited.onnx", change)
    refused(tmp_path / "edited.onnx")


@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_weights_in_other_files_are_never_read(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    def move_out(model: Any) -> None:
        weight = max(model.graph.initializer, key=lambda w: len(w.raw_data))
        (tmp_path / folder / "weights.bin").write_bytes(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = 1
        entry = weight.external_data.add()
        entry.key, entry.value = "location", "weights.bin"

    edited(exported, tmp_path / folder / "external.onnx", move_out)
    refused(tmp_path / folder / "external.onnx", "in other files")
