"""`evaluate` and `predict`: a model in any form, on an image set or on images."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from phiscale.data.batches import run_batches, split_reader
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.evaluated import select_split
from phiscale.data.datasets.open import as_image_set
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.deploy.backend import Backend, OnnxBackend, onnx_path
from phiscale.deploy.images import ImageLike
from phiscale.deploy.predict import Prediction, Predictor
from phiscale.deploy.training_overlap import warn_of_training_images
from phiscale.errors import DataError, UsageError, full_install
from phiscale.files.run_files import WEIGHTS
from phiscale.files.values import check_at_least, check_range
from phiscale.text import count_of, join_names
from phiscale.training.devices import compute_device, require_rgb
from phiscale.training.metrics import Metrics, measure, softmax
from phiscale.weights.imagenet import class_indices

if TYPE_CHECKING:
    from phiscale.nn.network import Network

logger = logging.getLogger(__name__)

SplitName = Literal["test", "validation", "train", "all"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on a split: its metrics and all logits."""

    metrics: Metrics
    logits: NDArray[np.float32]
    """Shape (images, classes of the data)."""
    split: Split
    classes: tuple[str, ...]
    """Those of the data."""

    def per_image_csv(self) -> bytes:
        """Returns CSV in UTF-8 with key, truth, predicted and probability of every image."""
        return per_image_csv(self.split, self.logits, self.classes)


def evaluate(
    model: Network | str | os.PathLike[str],
    data: ImageSet | str | Path,
    *,
    split: SplitName = "test",
    device: str = "auto",
    batch_size: int | None = None,
    max_megapixels: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Metrics:
    """Measures a model on a split of an image set.

    Args:
        model: a network with metadata, a Run or its folder, a model.onnx, a weights file, or
            any other source of weights (`hf-hub:NAME`, `torchvision:NAME`, a model's name).
        data: an image set, or what `open_dataset` opens. The model must know its classes; the
            metrics are then over the data's classes alone.
        split: `"all"` is every image of the data.
        device: `"auto"`, `"cpu"`, `"cuda"` or `"mps"`. `"auto"` leaves a network where it is, any
            other value moves it. A model.onnx runs on the CPU.
        batch_size: images computed at once; None: what suits the network and the device.
        max_megapixels: size above which an image counts as unreadable; None: that of the image
            set, 64 unless it was opened with another.
        value_range: values of black and white in grey images of more than eight bits; None: those
            that the model was trained with.

    DataError: the data lack this split or have unknown classes. WeightsError, ExportError: the
    model cannot be read. UsageError: an argument is out of range.
    """
    return evaluate_model(
        model,
        data,
        split=split,
        device=device,
        batch_size=batch_size,
        max_megapixels=max_megapixels,
        value_range=value_range,
    ).metrics


def evaluate_model(
    model: Network | str | os.PathLike[str],
    data: ImageSet | str | Path,
    *,
    split: SplitName = "test",
    device: str = "auto",
    batch_size: int | None = None,
    max_megapixels: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Evaluation:
    """Evaluates as `evaluate`, with the logits of every image."""
    check_at_least(1, batch_size=batch_size)
    check_range(value_range=value_range)
    images = as_image_set(data, split=split, max_megapixels=max_megapixels)
    part = select_split(images, split)
    with open_backend(model, device) as backend:
        columns = class_columns(_name(model), backend.classes, images)
        logits = compute_logits(backend, part, batch_size, value_range)[:, columns]
    for note in images.notes:  # on how they were split, above all
        logger.info(note)
    total = sum(len(each) for _, each in images.splits())
    if split == "test" and len(part) < total:
        logger.info(f"measured {len(part):,} of {total:,} images; split 'all' has every image")
    warn_of_training_images(model, images, part)
    if split == "test" and images.source in TRANSFER_DATASETS:
        logger.info(TRANSFER_DATASETS[images.source].summary())
    return Evaluation(measure(logits, part.labels, images.classes), logits, part, images.classes)


def predict(
    model: Network | str | os.PathLike[str],
    images: ImageLike | Iterable[ImageLike],
    *,
    top: int = 5,
    device: str = "auto",
    batch_size: int | None = None,
    max_megapixels: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Prediction | list[Prediction]:
    """Predicts classes with probabilities: one prediction for one image, a list for many.

    Args:
        model: as for `evaluate`. Of a run that was exported, its model.onnx answers.
        images: a path, folder, PIL image, uint8 array (height, width, 3) or encoded bytes; or
            an iterable of these.
        top: how many classes `Prediction.top` gives and a notebook shows.
        device: as for `evaluate`.
        batch_size: images computed at once; None: what suits the network and the device.
        max_megapixels: size above which an image counts as unreadable; None: 64.
        value_range: as for `evaluate`.

    BadImage: the one image cannot be read; among many it is a prediction with `error`.
    DataError: a path does not exist, or something is no image. For a model or an argument out of
    range the errors are those of `evaluate`.
    """
    with open_backend(model, device, prefer_export=True) as backend:
        predictor = Predictor(
            backend, batch_size=batch_size, max_megapixels=max_megapixels, value_range=value_range
        )
        return predictor(images, top=top)


@contextmanager
def open_backend(
    model: Network | str | os.PathLike[str], device: str = "auto", *, prefer_export: bool = False
) -> Iterator[Backend]:
    """Opens what runs a model, for the time of a `with`; a network is in eval mode within it.

    `prefer_export`: of a run that was exported, take the model.onnx instead of the weights.
    """
    if isinstance(model, str | os.PathLike) and (onnx := _exported(model, prefer_export)):
        yield OnnxBackend(onnx)
        return
    with full_install(f"running {_name(model)}"):
        from phiscale.deploy.torch_backend import TorchBackend, eval_mode

    network = _load_network(model)
    require_rgb(network.spec, _name(model))
    if not network.spec.classes:
        raise UsageError(
            f"{_name(model)} has no classifier: it gives features, not classes. Train one on it: "
            f"phiscale fit DATA --pretrained {_name(model)} --out run."
        )
    if device != "auto" or network is not model:
        network = network.to(compute_device(device))
    with eval_mode(network):
        yield TorchBackend(network)


def compute_logits(
    backend: Backend,
    split: Split,
    batch_size: int | None = None,
    value_range: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Logits (images, classes) of a split, in its order. An unreadable image raises DataError.

    `value_range` replaces that of the preprocessing.
    """
    preprocessing = backend.preprocessing.with_range(value_range)
    reader, plan = split_reader(split, preprocessing), backend.plan(batch_size)
    batches = run_batches(backend.logits_of_pixels, range(len(split)), reader, plan)
    return np.concatenate([logits for _, logits in batches if logits is not None])


def class_columns(model: str, classes: Sequence[str], images: ImageSet) -> list[int]:
    """Returns where the data's classes stand among the model's. DataError: one is unknown."""
    columns = class_indices(classes, images.classes)
    if columns is None:
        raise DataError(
            f"{model} knows {count_of(len(classes), 'class', 'classes')} "
            f"({join_names(classes, 3)}), the data has {len(images.classes)} "
            f"({join_names(images.classes, 3)}). "
            "Use data with the classes that it was trained for."
        )
    if len(columns) < len(classes):
        logger.info(
            f"answers among the data's {count_of(len(columns), 'class', 'classes')} alone: "
            f"{model} knows {len(classes)}"
        )
    return columns


def per_image_csv(split: Split, logits: NDArray[np.float32], classes: Sequence[str]) -> bytes:
    """Returns CSV in UTF-8 with key, truth, predicted and probability of every image."""
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


def _load_network(model: Network | str | os.PathLike[str]) -> Network:
    from phiscale.nn.network import Network
    from phiscale.weights.sources import load, weights_file

    if isinstance(model, Network):
        return model
    if isinstance(model, str | os.PathLike):
        return load(weights_file(os.fspath(model)))
    raise UsageError(
        f"model is of type {type(model).__name__}. "
        "Use a Network of phiscale's, a Run, a path, or a model's name."
    )


def _exported(model: str | os.PathLike[str], prefer_export: bool) -> Path | None:
    """Returns the exported file that a path means; of a run, only if `prefer_export`."""
    onnx = onnx_path(model)
    if onnx.suffix != ".onnx" or not onnx.exists():
        return None
    return onnx if prefer_export or not (Path(model) / WEIGHTS).exists() else None


def _name(model: object) -> str:
    return (
        os.fspath(model) if isinstance(model, str | os.PathLike) else f"the {type(model).__name__}"
    )
