"""The smaller jobs behind the verbs: train one network, evaluate a model, predict files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from phiscale.data.preprocessing import Preprocessing
from phiscale.data.splits import ImageSet, Split
from phiscale.errors import BadImage, DataError, UsageError
from phiscale.spec import Spec
from phiscale.train.metrics import Metrics, measure, softmax
from phiscale.train.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from phiscale.train.loop import Progress

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def checked_images(data: str, on_bad: str, tell: Callable[[str], None]) -> ImageSet:
    """The set, every picture of it read once: bad ones stop the run or are left out."""
    from phiscale.data.audit import audit, bad_files_error
    from phiscale.data.sources import open_images

    images = open_images(data)
    found = audit(images)
    if found.bad and on_bad == "stop":
        raise bad_files_error(found)
    if found.bad:
        tell(f"{len(found.bad)} unreadable pictures are skipped (data.json lists them)")
    return images.without(found.bad)


def train_run(
    spec: Spec, data: str, out: Path, recipe: Recipe, *, resolution: int | None = None,
    start_from: Path | None = None, device: str = "auto", on_bad: Literal["stop", "skip"] = "stop",
    report: Callable[[Progress], None], tell: Callable[[str], None],
) -> Path:  # fmt: skip
    """Trains `spec` on `data`; returns the best weights' path."""
    from phiscale.train.loop import train

    images = checked_images(data, on_bad, tell)
    spec = replace(spec, classes=len(images.classes), resolution=resolution or spec.resolution)
    crop = 1.0 if recipe.augment.frame == "shift" else 0.875
    return train(out, spec, images, recipe, Preprocessing(size=spec.resolution, crop=crop),
                 device=compute_device(device), start_from=start_from, report=report, warn=tell)  # fmt: skip


def compute_device(name: str) -> torch.device:
    """cpu, cuda or mps; auto takes an accelerator where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here. Use --device cpu.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch finds no Apple GPU here. Use --device cpu.")
    return torch.device(name)


def evaluate_model(
    model: Path, data: str, split: str
) -> tuple[Metrics, np.ndarray, Split, tuple[str, ...]]:
    """Metrics and logits of a run, a weights file or a model.onnx on a split of `data`."""
    from phiscale.data.sources import open_images

    images = open_images(data)
    part = dict(images.splits())[split]
    if model.suffix == ".onnx":
        classes, logits = _onnx_logits(model, part)
    else:
        from phiscale.train.evaluate import logits_of
        from phiscale.weights.store import load

        network = load(model)
        classes = network.card.classes
        logits = (
            logits_of(network, part, network.preprocessing) if classes == images.classes else None
        )
    if classes != images.classes:
        raise DataError(
            f"{model} knows {len(classes)} classes ({', '.join(classes[:3])}, ...), the data has "
            f"{len(images.classes)} ({', '.join(images.classes[:3])}, ...). "
            "Evaluate on data with the classes it was trained for."
        )
    assert logits is not None
    return measure(logits, part.labels, classes), logits, part, classes


def _onnx_logits(model: Path, part: Split) -> tuple[tuple[str, ...], np.ndarray | None]:
    from phiscale.deploy.predict import Predictor

    predictor = Predictor(model)
    take = predictor.preprocessing
    rows = [
        predictor.logits(
            np.stack(
                [
                    take(part.image(i, background=take.background))
                    for i in range(at, min(at + 64, len(part)))
                ]
            )
        )
        for at in range(0, len(part), 64)
    ]
    return predictor.classes, np.concatenate(rows)


def per_image_csv(split: Split, logits: np.ndarray, classes: Sequence[str]) -> str:
    """key, truth, predicted, probability of each picture."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["key", "truth", "predicted", "probability"])
    probabilities = softmax(logits)
    for i, key in enumerate(split.keys):
        best = int(probabilities[i].argmax())
        rows.writerow([key, classes[int(split.labels[i])], classes[best],
                       f"{probabilities[i, best]:.6f}"])  # fmt: skip
    return text.getvalue()


def metrics_lines(metrics: Metrics) -> list[str]:
    """For a terminal."""
    low, high = metrics.interval
    width = max([5, *(len(row["name"]) for row in metrics.per_class)])
    return [
        f"top-1 {100 * metrics.top1:.2f} % [{100 * low:.2f}, {100 * high:.2f}] at 95 % on "
        f"{metrics.images} images (always the commonest class: {100 * metrics.majority:.1f} %)",
        f"top-5 {100 * metrics.top5:.2f} %, macro-F1 {metrics.macro_f1:.4f}, "
        f"cross-entropy {metrics.cross_entropy:.4f}, calibration error {metrics.calibration_error:.4f}",
        "",
        f"{'class':<{width}}  images  precision  recall     F1",
        *(
            f"{row['name']:<{width}}  {row['images']:6d}  {row['precision']:9.3f}  "
            f"{row['recall']:6.3f}  {row['f1']:5.3f}"
            for row in metrics.per_class
        ),
    ]


@dataclass(frozen=True)
class Answer:
    """One file's prediction, or why it has none."""

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict_files(model: Path, paths: Sequence[Path]) -> Iterator[Answer]:
    """An answer for each picture, in order; a folder stands for the pictures in it."""
    files = [file for path in paths for file in _pictures(path)]
    if not files:
        raise UsageError("no pictures to predict. Name image files, or folders that hold some.")
    answer = _predictor(model)
    for file in files:
        try:
            yield Answer(file, tuple(answer(file)))
        except BadImage as error:
            yield Answer(file, error=error.reason)


def _pictures(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not path.exists():
        raise UsageError(f"{path} does not exist. Name image files, or folders that hold some.")
    return [path]


def _predictor(model: Path) -> Callable[[Path], list[tuple[str, float]]]:
    """From a model.onnx without torch; from a run's weights where there is no export."""
    onnx = model / "model.onnx" if model.is_dir() else model
    if onnx.suffix == ".onnx" and onnx.exists():
        from phiscale.deploy.predict import Predictor

        predictor = Predictor(onnx)
        return lambda file: predictor([file])[0].top(len(predictor.classes))
    import torch

    from phiscale.data.decode import read_image
    from phiscale.weights.store import load

    network = load(model)
    take, classes = network.preprocessing, network.card.classes

    def answer(file: Path) -> list[tuple[str, float]]:
        pixels = torch.from_numpy(take(read_image(file, background=take.background)))[None]
        with torch.inference_mode():
            row = softmax(network(pixels).numpy().astype(np.float64))[0]
        return [(classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")]

    return answer
