"""Collects the files that `fit` left into the data of its report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from phiscale.arch.costs import cost
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet
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
from phiscale.pipeline.choice import Choice
from phiscale.pipeline.evidence import bases_for
from phiscale.pipeline.report_samples import sample_predictions
from phiscale.pipeline.request import Request
from phiscale.pipeline.split_gap import split_gap
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.names import speakable
from phiscale.report.report_data import (
    BudgetRow,
    CandidateRow,
    FileRow,
    ReportData,
    Snippet,
    layer_rows,
)
from phiscale.training.length import images_in_all
from phiscale.training.log import best_evaluation, read_log, seconds_trained
from phiscale.weights.sources import load

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
    train_s = seconds_trained(log)
    planned_images = images_in_all(out, choice.recipe.images(len(images.train)))
    base = inputs.request.base or bases_for(inputs.audit)[0]
    rows = [
        CandidateRow.of(_named(row, base), chosen=row["name"] == choice.name)
        for row in choice.candidates
    ]
    return ReportData(
        title=f"{images.source}: {len(images.classes)} classes",
        source=images.source,
        model=speakable(choice.name, base),
        command=inputs.command,
        date=date.today().isoformat(),
        seed=inputs.request.seed,
        metrics=inputs.metrics,
        validation_top1=best["validation_top1"] if best else None,
        latency_ms=exported["latency_ms"],
        model_bytes=exported["file"]["bytes"],
        train_s=train_s,
        budget=_budget_rows(inputs, train_s, planned_images),
        why=speakable(choice.why, base),
        candidates=tuple(rows),
        pareto=tuple(CandidateRow.of(_named(row, base)) for row in choice.pareto),
        law_sd=choice.law_sd,
        short_runs=tuple(_named(row, base) for row in choice.short_runs.get("rows", ())),
        log=log,
        planned_images=planned_images,
        train_images=len(images.train),
        audit=inputs.audit.to_dict(),
        samples=sample_predictions(network, images.test, out / PREDICTIONS),
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


def _named(row: Mapping[str, Any], base: str) -> Mapping[str, Any]:
    return {**row, "name": speakable(row["name"], base)}


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
        Snippet("Python, with ONNX Runtime alone: no phiscale, no torch", _onnx_lines(out)),
        Snippet(
            "Python, with torch",
            f'import phiscale\n\nrun = phiscale.Run("{out}")  # has .spec, .metrics, .predict()',
        ),
    )


def _onnx_lines(out: Path) -> str:
    """Returns a program that answers as `predict` does, with numpy, Pillow and onnxruntime."""
    return f"""import json
from pathlib import Path
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path({str(out)!r})
model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
p, classes = model["preprocessing"], model["classes"]
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
side = p["crop"] * min(image.size)
left, top = (image.width - side) / 2, (image.height - side) / 2
box = None if p["squash"] else (left, top, left + side, top + side)
image = image.resize((p["size"],) * 2, Image.Resampling[p["interpolation"].upper()], box=box)
x = (np.float32(image) / 255 - np.float32(p["mean"])) / np.float32(p["std"])
session = onnxruntime.InferenceSession(folder / "model.onnx")
logits = session.run(None, {{session.get_inputs()[0].name: x.transpose(2, 0, 1)[None]}})[0][0]
probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for i in probabilities.argsort()[::-1][:3]:
    print(classes[i], round(100 * float(probabilities[i]), 1), "%")"""


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
