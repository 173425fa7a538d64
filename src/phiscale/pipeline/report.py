"""Collects the files that `fit` left into the data of its report."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phiscale.arch.costs import cost
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.published import TRANSFER_DATASETS
from phiscale.files.run_files import (
    AUDIT,
    CHOICE,
    DEVICE,
    EVALUATION,
    LOG,
    MODEL,
    ONNX,
    PREDICTIONS,
    RECIPE,
    SPEC,
    WEIGHTS,
)
from phiscale.nn.cam import class_activation_maps, overlay
from phiscale.nn.network import Network
from phiscale.pipeline.choice import Choice
from phiscale.pipeline.request import Request
from phiscale.pipeline.split_gap import split_gap
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.report_data import (
    BudgetRow,
    CandidateRow,
    FileRow,
    ReportData,
    Sample,
    Snippet,
    layer_rows,
)
from phiscale.training.log import best_evaluation, read_log, seconds_trained
from phiscale.weights.sources import load

SAMPLES_A_KIND = 12  # right ones, and wrong ones
SHOWN_PIXELS = 192

_PURPOSES = {
    ONNX: "the network for ONNX Runtime and others: float32 NCHW in, logits out",
    MODEL: "how to prepare its input, the classes, parity and latency",
    WEIGHTS: "the weights for torch, with spec, preprocessing, classes and metrics",
    SPEC: "the network's architecture, for `phiscale describe` and `phiscale train`",
    RECIPE: "how it was trained",
    CHOICE: "all candidates and the choice",
    DEVICE: "the model of the device that the network was planned for",
    AUDIT: "what is in the images",
    EVALUATION: "the metrics on the test split",
    PREDICTIONS: "the prediction for every test image",
    LOG: "every step of the training",
}

_NOTES = (
    "Labels and predictions of the test split were compared once, after everything had been "
    "selected on the validation split. The audit had read its images before, for damage, "
    "duplicates and sizes; the median size of all images decides on base, recipe and crop.",
    "Latency is that of one image on all cores of this machine: the median of the quietest fifth "
    "of the measurement, since other programs can only add to it.",
    "The interval is Wilson's at 95 %: it covers the sampling of images, not another training.",
)


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What a finished `fit` knows besides its log, its weights and its predictions."""

    request: Request
    images: ImageSet
    audit: Audit
    device_model: DeviceModel
    choice: Choice
    metrics: Mapping[str, Any]  # on the test split
    exported: Mapping[str, Any]  # what `model.json` holds
    command: str = ""


def collect_report(out: Path, inputs: ReportInputs) -> ReportData:
    """Collects all that the report shows. Reads the sample images from the test split."""
    choice, images, exported = inputs.choice, inputs.images, inputs.exported
    network = load(out)
    log = tuple(read_log(out))
    best = best_evaluation(log)
    train_s, planned_images = seconds_trained(log), choice.recipe.images(len(images.train))
    rows = [CandidateRow.of(row, chosen=row["name"] == choice.name) for row in choice.candidates]
    return ReportData(
        title=f"{images.source}: {len(images.classes)} classes",
        source=images.source,
        model=choice.name,
        command=inputs.command,
        date=date.today().isoformat(),
        seed=inputs.request.seed,
        metrics=inputs.metrics,
        validation_top1=best["validation_top1"] if best else None,
        latency_ms=exported["latency_ms"],
        model_bytes=exported["file"]["bytes"],
        train_s=train_s,
        budget=_budget_rows(inputs, train_s, planned_images),
        why=choice.why,
        candidates=tuple(rows),
        pareto=tuple(CandidateRow.of(row) for row in choice.pareto),
        law_sd=choice.law_sd,
        short_runs=tuple(choice.short_runs.get("rows", ())),
        log=log,
        planned_images=planned_images,
        train_images=len(images.train),
        audit=inputs.audit.to_dict(),
        samples=_samples(network, images.test, out / PREDICTIONS),
        layers=layer_rows(choice.spec),
        parity=exported["parity"],
        files=tuple(
            FileRow(name, (out / name).stat().st_size, purpose)
            for name, purpose in _PURPOSES.items()
            if (out / name).exists()
        ),
        usage=_usage(out),
        environment=_environment(inputs.device_model),
        notes=_notes(
            inputs, split_gap(network.metadata.metrics.get("validation", {}), inputs.metrics)
        ),
    )


def _budget_rows(
    inputs: ReportInputs, train_s: float, planned_images: int
) -> tuple[BudgetRow, ...]:
    """Returns each cost's limit, what was predicted and measured, and whether it was met."""
    choice, exported = inputs.choice, inputs.exported
    total = cost(choice.spec)
    planned_minutes = None
    if speed := choice.predicted.get("train_images_per_s"):
        planned_minutes = planned_images / speed / 60
    predicted_measured: dict[str, tuple[float | None, float | None]] = {
        "latency_ms": (choice.predicted["latency_ms"], exported["latency_ms"]),
        "train_minutes": (planned_minutes, train_s / 60),
        "macs": (total.macs, total.macs),
        "params": (total.params, total.params),
        "weight_bytes": (total.weight_bytes, exported["file"]["bytes"]),
        "train_memory_bytes": (total.train_bytes(choice.recipe.batch), None),
    }
    rows = []
    for limit, (predicted, measured) in predicted_measured.items():
        asked = inputs.request.budget.limits.get(limit)
        # exact counts decide by themselves; a file also holds the graph, so weights are counted
        on_other_device = inputs.request.targets_other_device and limit == "latency_ms"
        by_model = limit == "weight_bytes" or on_other_device or measured is None
        value = predicted if by_model else measured
        met = None if asked is None or value is None else value <= asked
        rows.append(
            BudgetRow(limit=limit, asked=asked, predicted=predicted, measured=measured, met=met)
        )
    return tuple(rows)


def _notes(inputs: ReportInputs, gap: str) -> tuple[str, ...]:
    notes = [f"Warning: {gap}", *_NOTES] if gap else [*_NOTES]
    if published := TRANSFER_DATASETS.get(inputs.images.source):
        notes.append(f"To compare with: {published.summary()}.")
    notes.append(
        f"Predicted errors come from a law fitted to {inputs.choice.law_source}: a prior that "
        "ranks networks, not a promise for these images. A law of your own trainings can "
        "replace it."
    )
    if inputs.choice.coefficients is not None:
        coefficients = Coefficients.from_dict(inputs.choice.coefficients)
        notes.append(
            "Of the scalings only those by the named coefficients competed: "
            f"{coefficients.summary()}."
        )
    return (*notes, *_latency_note(inputs))


def _latency_note(inputs: ReportInputs) -> tuple[str, ...]:
    limit, measured = inputs.request.budget.latency_ms, inputs.exported["latency_ms"]
    if inputs.request.targets_other_device:
        return (
            "The limit on latency is checked by the model of the other device; the measured "
            "latency is that of this machine.",
        )
    if limit is not None and measured > limit:
        return (
            f"The exported file takes {measured:.3g} ms here, over the limit of {limit:g} ms: the "
            "machine may have been busy. Measure again when it is idle, or lower the limit.",
        )
    return ()


def _samples(network: Network, test: Split, table: Path) -> tuple[Sample, ...]:
    """Returns the surest right predictions of different classes, and the surest wrong ones."""
    preprocessing, classes = network.preprocessing, network.metadata.classes
    predicted, probabilities = _predictions(table, classes)
    truth = test.labels
    order = np.argsort(-probabilities, kind="stable")
    wrong = [int(i) for i in order if predicted[i] != truth[i]][:SAMPLES_A_KIND]
    right = _in_rounds([int(i) for i in order if predicted[i] == truth[i]], truth)
    samples = []
    for i in [*right[:SAMPLES_A_KIND], *wrong]:
        image = test.image(i, background=preprocessing.background)
        x = torch.from_numpy(preprocessing(image))[None]
        # drawn with the pixels it has, up to what a page shows, not with the network's few
        side = max(preprocessing.size, int(preprocessing.crop * min(image.size)))
        shown = replace(preprocessing, size=min(SHOWN_PIXELS, side))
        pixels = np.asarray(shown.crop_and_resize(image))
        heat = class_activation_maps(network, x, torch.tensor([int(predicted[i])]))[0].numpy()
        samples.append(
            Sample(
                image=pixels,
                cam_overlay=overlay(pixels, heat),
                truth=classes[int(truth[i])],
                predicted=classes[int(predicted[i])],
                probability=float(probabilities[i]),
                right=bool(predicted[i] == truth[i]),
                key=test.keys[i],
            )
        )
    return tuple(samples)


def _predictions(
    table: Path, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns each test image's predicted class and its probability, in the split's order."""
    numbers = {name.encode(errors="backslashreplace").decode(): i for i, name in enumerate(classes)}
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(numbers[row["predicted"]], row["probability"]) for row in csv.DictReader(file)]
    predicted, probabilities = zip(*rows, strict=True)
    return np.array(predicted, dtype=np.int64), np.array(probabilities, dtype=np.float64)


def _in_rounds(indices: Sequence[int], labels: NDArray[np.int64]) -> list[int]:
    """Yields the indices in rounds, each with one of every class."""
    by_class: dict[int, list[int]] = {}
    for i in indices:
        by_class.setdefault(int(labels[i]), []).append(i)
    longest = max(map(len, by_class.values()), default=0)
    return [
        group[n] for n in range(longest) for _, group in sorted(by_class.items()) if n < len(group)
    ]


def _usage(out: Path) -> tuple[Snippet, ...]:
    return (
        Snippet(
            "Command line",
            f"phiscale predict {out} photo.jpg\nphiscale evaluate {out}/model.onnx DATA",
        ),
        Snippet(
            "Python, without torch",
            f'from phiscale import Predictor\n\npredict = Predictor("{out}/model.onnx")\n'
            'print(predict(["photo.jpg"])[0].top(3))',
        ),
        Snippet(
            "Python, with torch",
            f'import phiscale\n\nrun = phiscale.Run("{out}")  # has .spec, .metrics, .predict()',
        ),
    )


def _environment(device: DeviceModel) -> dict[str, Any]:
    planned = device.fingerprint
    libraries = ("torch", "torchvision", "onnxruntime", "numpy", "pillow", "phiscale")
    return {
        "planned for": f"{planned.device}, {planned.cores} cores, {planned.runtime}, "
        f"measured {planned.date}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in libraries},
    }
