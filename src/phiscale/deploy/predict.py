"""Answers from an exported model: numpy, Pillow and ONNX Runtime, no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phiscale.data.reading.decode import read_image
from phiscale.errors import ExportError, PhiscaleError
from phiscale.files import verify_checksum
from phiscale.weights.metadata import ModelMetadata

if TYPE_CHECKING:
    from PIL import Image

METADATA_KEY = "phiscale"
ARTEFACT_VERSION = 1


@dataclass(frozen=True)
class Prediction:
    """One picture's answer. `probabilities` stand in the order of the model's classes."""

    label: str
    probability: float
    probabilities: np.ndarray
    classes: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]


class Predictor:
    """`Predictor("model.onnx")(images)`: images are paths, bytes or PIL pictures.

    All it needs (size, crop, interpolation, mean, std, classes) is read from the file itself.
    """

    def __init__(self, artefact: str | Path, *, threads: int = 0):
        from phiscale.deploy.runtime import open_session

        path = Path(artefact)
        path = path / "model.onnx" if path.is_dir() else path
        if not path.is_file():
            raise ExportError(
                f"no model at {path}. Give a model.onnx or the folder that holds one."
            )
        self.session = open_session(path, threads)
        said = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if said is None:
            raise ExportError(
                f"{path} does not say how to prepare its input. "
                "Use a model.onnx that phiscale exported."
            )
        self.metadata = _metadata(said, str(path))
        self.preprocessing = self.metadata.preprocessing
        self.classes = self.metadata.classes

    def __call__(self, images: Sequence[str | Path | bytes | Image.Image]) -> list[Prediction]:
        """One prediction for each image; an unreadable one raises BadImage."""
        return [p for batch in _batches(images, 64) for p in self._predict(batch)]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits of float32 NCHW that is already preprocessed."""
        from phiscale.deploy.runtime import run

        return run(self.session, images)

    def _predict(self, images: Sequence[str | Path | bytes | Image.Image]) -> list[Prediction]:
        pixels = np.stack([self.preprocessing(self._open(image)) for image in images])
        logits = self.logits(pixels).astype(np.float64)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        rows = shifted / shifted.sum(axis=1, keepdims=True)
        best = rows.argmax(axis=1)
        return [
            Prediction(self.classes[b], float(row[b]), row, self.classes)
            for row, b in zip(rows, best, strict=True)
        ]

    def _open(self, image: str | Path | bytes | Image.Image) -> Image.Image:
        if isinstance(image, str):
            image = Path(image)
        if isinstance(image, Path | bytes):
            return read_image(image, background=self.preprocessing.background)
        from PIL import ImageOps

        return ImageOps.exif_transpose(image)  # `preprocessing` makes it RGB, as it does a file's


def _metadata(text: str, where: str) -> ModelMetadata:
    """Raises ExportError where the file's metadata are not what was written."""
    try:
        payload = verify_checksum(
            json.loads(text), f"the metadata of {where}", "Export the model again."
        )
        return ModelMetadata.from_dict(payload, where)
    except (ValueError, RecursionError, PhiscaleError) as error:
        if isinstance(error, PhiscaleError):
            raise ExportError(str(error)) from None
        raise ExportError(f"{where} has damaged metadata. Export the model again.") from None


def _batches(items: Sequence, size: int) -> Iterable[Sequence]:  # type: ignore[type-arg]
    return (items[at : at + size] for at in range(0, len(items), size))
