"""The files that `fit` left, told as the `Story` of its report."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phiscale.arch.costs import cost
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.published import TRANSFERRED
from phiscale.nn.cam import class_activation_maps, overlay
from phiscale.nn.network import Network
from phiscale.pipeline.choice import Choice, seconds_trained
from phiscale.planning.budget import Budget
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.report.report import (
    BudgetRow,
    CandidateRow,
    FileRow,
    Sample,
    Snippet,
    Story,
    layer_rows,
)
from phiscale.training.log import read_log
from phiscale.weights.sources import load

ANSWERS = "test-predictions.csv"

PICTURES_A_KIND = 12  # right ones, and wrong ones
SHOWN_PIXELS = 192

_PURPOSES = {
    "model.onnx": "the network for ONNX Runtime and others: float32 NCHW in, logits out",
    "model.json": "how to prepare its input, the classes, parity and latency",
    "best.safetensors": "the weights for torch, with spec, preprocessing, classes and metrics",
    "spec.json": "the network's architecture, for `phiscale describe` and `train --model`",
    "recipe.json": "how it was trained",
    "choice.json": "all candidates and the choice",
    "device.json": "the device that was planned for, as --device-model takes it",
    "audit.json": "what is in the images",
    "evaluation.json": "the test's metrics",
    ANSWERS: "the answer on every test picture",
    "log.jsonl": "every step of the training",
}

_NOTES = (
    "The test split was read once, after everything had been chosen on the validation split.",
    "Latency is that of one picture on all cores of this machine: the median of the quietest fifth "
    "of the measurement, since other programs can only add to it.",
    "The interval is Wilson's at 95 %: it covers the choice of pictures, not another training.",
)


def tell_story(
    out: Path,
    images: ImageSet,
    audited: Audit,
    device: DeviceModel,
    chosen: Choice,
    metrics: Mapping[str, Any],
    described: Mapping[str, Any],
    budget: Budget,
    *,
    command: str,
    seed: int,
    elsewhere: bool = False,
) -> Story:
    """Everything the report shows. Draws the sample pictures from the test split."""
    network = load(out)
    log = tuple(read_log(out))
    tops = [record["validation_top1"] for record in log if "validation_top1" in record]
    trained_s, planned_images = seconds_trained(out), chosen.recipe.images(len(images.train))
    rows = [CandidateRow.of(row, chosen=row["name"] == chosen.name) for row in chosen.candidates]
    return Story(
        title=f"{images.source}: {len(images.classes)} classes",
        source=images.source,
        model=chosen.name,
        command=command,
        date=date.today().isoformat(),
        seed=seed,
        metrics=metrics,
        validation_top1=max(tops, default=None),
        latency_ms=described["latency_ms"],
        model_bytes=described["file"]["bytes"],
        train_s=trained_s,
        budget=_budget_rows(budget, chosen, described, trained_s, planned_images, elsewhere),
        why=chosen.why,
        candidates=tuple(rows),
        pareto=tuple(CandidateRow.of(row) for row in chosen.pareto),
        law_sd=chosen.law_sd,
        race=tuple(chosen.race.get("rows", ())),
        log=log,
        planned_images=planned_images,
        train_images=len(images.train),
        audit=audited.to_dict(),
        samples=_samples(network, images.test, out / ANSWERS),
        layers=layer_rows(chosen.spec),
        parity=described["parity"],
        files=tuple(
            FileRow(name, (out / name).stat().st_size, purpose)
            for name, purpose in _PURPOSES.items()
            if (out / name).exists()
        ),
        usage=_usage(out),
        environment=_environment(device),
        notes=(
            *_NOTES,
            *_paper_note(images.source),
            _law_note(chosen),
            *_ray_note(chosen),
            *_latency_note(budget, described, elsewhere),
        ),
    )


def _budget_rows(
    budget: Budget,
    chosen: Choice,
    described: Mapping[str, Any],
    trained_s: float,
    planned_images: int,
    elsewhere: bool,
) -> tuple[BudgetRow, ...]:
    whole = cost(chosen.spec)
    train_bytes = whole.train_bytes(chosen.recipe.batch)
    planned = None
    if speed := chosen.predicted.get("train_images_per_s"):
        planned = planned_images / speed / 60
    # predicted, measured
    known: dict[str, tuple[float | None, float | None]] = {
        "latency_ms": (chosen.predicted["latency_ms"], described["latency_ms"]),
        "train_minutes": (planned, trained_s / 60),
        "macs": (whole.macs, whole.macs),
        "params": (whole.params, whole.params),
        "weight_bytes": (whole.weight_bytes, described["file"]["bytes"]),
        "train_memory_bytes": (train_bytes, None),
    }
    rows = []
    for limit, (predicted, measured) in known.items():
        asked = budget.limits.get(limit)
        # exact counts decide by themselves; a file also holds the graph, so weights are counted
        modelled = limit == "weight_bytes" or (elsewhere and limit == "latency_ms")
        judged = predicted if modelled or measured is None else measured
        met = None if asked is None or judged is None else judged <= asked
        rows.append(
            BudgetRow(limit=limit, asked=asked, predicted=predicted, measured=measured, met=met)
        )
    return tuple(rows)


def _paper_note(source: str) -> tuple[str, ...]:
    row = TRANSFERRED.get(source)
    return (f"To compare with: {row.words()}.",) if row else ()


def _law_note(chosen: Choice) -> str:
    return (
        f"Predicted errors come from a law fitted to {chosen.law_source}: a prior that ranks "
        "networks, not a promise for these pictures. --law FILE replaces it."
    )


def _ray_note(chosen: Choice) -> tuple[str, ...]:
    if chosen.coefficients is None:
        return ()
    words = Coefficients.from_dict(chosen.coefficients).words()
    return (f"Of the scalings only those by given coefficients competed: {words}.",)


def _latency_note(budget: Budget, described: Mapping[str, Any], elsewhere: bool) -> tuple[str, ...]:
    if elsewhere:
        return (
            "The limit on latency is judged by the model of the other device; what was "
            "measured is this machine.",
        )
    if budget.latency_ms is not None and described["latency_ms"] > budget.latency_ms:
        return (
            f"The exported file takes {described['latency_ms']:.3g} ms here, over the "
            f"{budget.latency_ms:g} ms asked: the machine may have been busy; "
            "measure again when it is idle, or ask for less.",
        )
    return ()


def _samples(network: Network, test: Split, answers: Path) -> tuple[Sample, ...]:
    """The surest right answers of different classes, and the surest wrong ones."""
    take, classes = network.preprocessing, network.metadata.classes
    predicted, sure = _answers(answers, classes)
    truth = test.labels
    order = np.argsort(-sure, kind="stable")
    wrong = [int(i) for i in order if predicted[i] != truth[i]][:PICTURES_A_KIND]
    right = _spread([int(i) for i in order if predicted[i] == truth[i]], truth)[:PICTURES_A_KIND]
    found = []
    for i in [*right, *wrong]:
        picture = test.image(i, background=take.background)
        x = torch.from_numpy(take(picture))[None]
        # drawn with the pixels it has, up to what a page shows, not with the network's few
        side = min(SHOWN_PIXELS, max(take.size, int(take.crop * min(picture.size))))
        pixels = np.asarray(replace(take, size=side).crop_and_resize(picture))
        heat = class_activation_maps(network, x, torch.tensor([int(predicted[i])]))[0].numpy()
        found.append(
            Sample(
                image=pixels,
                cam_overlay=overlay(pixels, heat),
                truth=classes[int(truth[i])],
                predicted=classes[int(predicted[i])],
                probability=float(sure[i]),
                right=bool(predicted[i] == truth[i]),
                key=test.keys[i],
            )
        )
    return tuple(found)


def _answers(table: Path, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each test picture, in the split's order: the predicted class, and how sure it was."""
    numbers = {name.encode(errors="backslashreplace").decode(): i for i, name in enumerate(classes)}
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(numbers[row["predicted"]], row["probability"]) for row in csv.DictReader(file)]
    predicted, sure = zip(*rows, strict=True)
    return np.array(predicted), np.array(sure, dtype=float)


def _spread(indices: Sequence[int], labels: np.ndarray) -> list[int]:
    """In rounds, one of every class."""
    rounds: dict[int, list[int]] = {}
    for i in indices:
        rounds.setdefault(int(labels[i]), []).append(i)
    longest = max(map(len, rounds.values()), default=0)
    return [
        group[n] for n in range(longest) for _, group in sorted(rounds.items()) if n < len(group)
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
            f'import phiscale\n\nnetwork = phiscale.load("{out}")  # has .spec, .metadata',
        ),
    )


def _environment(device: DeviceModel) -> dict[str, Any]:
    made = device.fingerprint
    libraries = ("torch", "torchvision", "onnxruntime", "numpy", "pillow", "phiscale")
    return {
        "planned for": f"{made.device}, {made.cores} cores, {made.runtime}, measured {made.date}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in libraries},
    }
