"""A model on pictures, whatever it is kept as: evaluated on a split, or asked about files."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, join_names
from phiscale.training.devices import compute_device, require_rgb
from phiscale.training.metrics import Metrics, measure, softmax

if TYPE_CHECKING:
    from phiscale.deploy.predict import Predictor

logger = logging.getLogger(__name__)

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def evaluate_model(
    model: str,
    data: str,
    split: str,
    device: str = "auto",
) -> tuple[Metrics, np.ndarray, Split, tuple[str, ...]]:
    """Metrics and logits of a model.onnx or any SOURCE of weights on a split of `data`: of the
    data's classes alone where the model knows others besides, which is logged."""
    from phiscale.data.datasets.open import open_dataset

    images = open_dataset(data)
    part = dict(images.splits())[split]
    logits = _logits(model, images, part, device)
    for note in images.notes:  # on how they were split, above all
        logger.info(note)
    if split == "test" and images.source in TRANSFER_DATASETS:
        logger.info(TRANSFER_DATASETS[images.source].summary())
    return measure(logits, part.labels, images.classes), logits, part, images.classes


def _logits(model: str, images: ImageSet, part: Split, device: str) -> np.ndarray:
    onnx = _exported(model)
    if onnx and not Path(model, "best.safetensors").exists():
        from phiscale.deploy.predict import Predictor

        predictor = Predictor(onnx)
        places = _places(model, predictor.classes, images)
        return _onnx_logits(predictor, part)[:, places]
    from phiscale.training.evaluate import logits_of
    from phiscale.weights.sources import load, weights_file

    network = load(weights_file(model))
    require_rgb(network.spec, model)
    places = _places(model, network.metadata.classes, images)
    compute = compute_device(device)
    logits = logits_of(network.to(compute), part, network.preprocessing, device=compute)
    return logits[:, places]


def _exported(model: str) -> Path | None:
    """The model.onnx that a name means, if it means one."""
    path = Path(model, "model.onnx") if Path(model).is_dir() else Path(model)
    return path if path.suffix == ".onnx" and path.exists() else None


def _places(model: str | Path, classes: tuple[str, ...], images: ImageSet) -> list[int]:
    """Where the data's classes stand among the model's."""
    from phiscale.weights.imagenet import class_indices

    found = class_indices(classes, images.classes)
    if found is None:
        raise DataError(
            f"{model} knows {count_of(len(classes), 'class', 'classes')} "
            f"({join_names(classes, 3)}), the data has {len(images.classes)} "
            f"({join_names(images.classes, 3)}). "
            "Evaluate on data with the classes it was trained for."
        )
    if len(found) < len(classes):
        logger.info(
            f"answers among the data's {count_of(len(found), 'class', 'classes')} alone: "
            f"{model} knows {len(classes)}"
        )
    return found


def _onnx_logits(predictor: Predictor, part: Split) -> np.ndarray:
    take = predictor.preprocessing

    def batch(at: int) -> np.ndarray:
        rows = range(at, min(at + 64, len(part)))
        return np.stack([take(part.image(i, background=take.background)) for i in rows])

    return np.concatenate([predictor.logits(batch(at)) for at in range(0, len(part), 64)])


def per_image_csv(split: Split, logits: np.ndarray, classes: Sequence[str]) -> bytes:
    """key, truth, predicted, probability of each picture, in UTF-8."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["key", "truth", "predicted", "probability"])
    probabilities = softmax(logits)
    for i, key in enumerate(split.keys):
        best = int(probabilities[i].argmax())
        rows.writerow(
            [key, classes[int(split.labels[i])], classes[best], f"{probabilities[i, best]:.6f}"]
        )
    return text.getvalue().encode(errors="backslashreplace")  # undecodable bytes of a name


@dataclass(frozen=True)
class Answer:
    """One file's prediction, or why it has none."""

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict_files(
    model: str,
    paths: Sequence[Path],
    device: str = "auto",
) -> Iterator[Answer]:
    """An answer for each picture, in order; a folder stands for the pictures in it."""
    files = [file for path in paths for file in _pictures(path)]
    return _answers(_predictor(model, device), files)


def _answers(
    answer: Callable[[Path], list[tuple[str, float]]], files: Sequence[Path]
) -> Iterator[Answer]:
    for file in files:
        try:
            yield Answer(file, tuple(answer(file)))
        except BadImage as error:
            yield Answer(file, error=error.reason)


def _pictures(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path} does not exist. Name image files, or folders that hold some.")
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not found:
        raise DataError(f"no picture in {path}. Name image files, or folders that hold some.")
    return found


def _predictor(model: str, device: str) -> Callable[[Path], list[tuple[str, float]]]:
    """From a model.onnx without torch; from a run's weights where there is no export."""
    if onnx := _exported(model):
        from phiscale.deploy.predict import Predictor

        predictor = Predictor(onnx)
        return lambda file: predictor([file])[0].top(len(predictor.classes))
    import torch

    from phiscale.data.reading.decode import read_image
    from phiscale.weights.sources import load, weights_file

    compute = compute_device(device)
    network = load(weights_file(model)).to(compute)
    require_rgb(network.spec, model)
    take, classes = network.preprocessing, network.metadata.classes

    def answer(file: Path) -> list[tuple[str, float]]:
        pixels = torch.from_numpy(take(read_image(file, background=take.background)))[None]
        with torch.inference_mode():
            row = softmax(network(pixels.to(compute)).cpu().numpy().astype(np.float64))[0]
        return [(classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")]

    return answer
