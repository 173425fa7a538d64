"""The report of a `fit`: a `ReportData` of plain data made into one self-contained HTML page.

The page runs no script and loads nothing. Whatever stands in a name is shown as text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.layers import Layer
from phiscale.arch.spec import Spec, Stage
from phiscale.files import write_atomic
from phiscale.report.plots import confusion, curves, pareto, worst_pairs
from phiscale.text import count_of, printable
from phiscale.training.metrics import wilson

_MOST_PIXELS = 256  # of a sample's side
_SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """One limit, in the units of `Budget`'s field of that name. None = not asked, or not known."""

    limit: str  # latency_ms, macs, params, weight_bytes, train_memory_bytes, train_minutes
    asked: float | None = None
    predicted: float | None = None
    measured: float | None = None
    met: bool | None = None  # None where nothing was asked


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate. Depth and width are multipliers over the base."""

    name: str
    depth: float
    width: float
    pixels: int
    params: int
    macs: int
    latency_ms: float | None
    images_per_s: float | None  # in training
    epochs: float | None
    predicted_error: float  # a fraction; above 1 it only ranks
    ruled_out: str | None = None  # by which limit, in words
    chosen: bool = False
    pretrained: str | None = None

    @staticmethod
    def of(row: Mapping[str, Any], *, chosen: bool = False) -> CandidateRow:
        """From a row of choice.json, which is `Candidate.to_dict()`."""
        same = (
            "name",
            "depth",
            "width",
            "pixels",
            "params",
            "macs",
            "latency_ms",
            "epochs",
            "ruled_out",
            "pretrained",
        )
        values = {name: row[name] for name in same}
        values |= {"images_per_s": row["train_images_per_s"], "predicted_error": row["error"]}
        return CandidateRow(**values, chosen=chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A test image as the network saw it, with the activation map of its predicted class."""

    image: np.ndarray  # uint8 H W 3
    cam_overlay: np.ndarray  # uint8 H W 3: `cam.overlay` of the predicted class's map
    truth: str
    predicted: str
    probability: float  # of the predicted class
    right: bool
    key: str


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer, or a stage with its layers."""

    path: str
    kind: str
    channels: int
    side: int  # pixels of the output map
    params: int
    macs: int
    layers: tuple[LayerRow, ...] = ()


@dataclass(frozen=True)
class FileRow:
    """A file that the run left."""

    name: str
    size_bytes: int
    purpose: str


@dataclass(frozen=True)
class Snippet:
    """Code to copy."""

    title: str
    code: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything the page shows: fractions in [0, 1], bytes, seconds; plain data but samples."""

    title: str
    source: str  # the data
    model: str  # the chosen network's name
    command: str
    date: str
    seed: int
    metrics: Mapping[str, Any]  # Metrics.to_dict() of the test split
    validation_top1: float | None = None
    latency_ms: float | None = None  # measured, one image
    model_bytes: int | None = None  # of model.onnx
    train_s: float | None = None
    budget: tuple[BudgetRow, ...] = ()
    why: str
    candidates: tuple[CandidateRow, ...] = ()  # of the table
    pareto: tuple[CandidateRow, ...] = ()  # more points of the figure
    law_sd: float | None = None  # of predicted errors, a fraction
    short_runs: tuple[Mapping[str, Any], ...] = ()  # rows of the short runs in choice.json
    log: tuple[Mapping[str, Any], ...] = ()  # records of log.jsonl
    planned_images: int = 0  # of the whole training
    train_images: int | None = None  # in an epoch
    audit: Mapping[str, Any]  # Audit.to_dict()
    samples: tuple[Sample, ...] = ()
    layers: tuple[LayerRow, ...] = ()  # from `layer_rows(spec)`
    parity: Mapping[str, Any] = field(default_factory=dict)  # of model.json
    files: tuple[FileRow, ...] = ()
    usage: tuple[Snippet, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)  # "cpu", "threads", versions, ...
    notes: tuple[str, ...] = ()


def layer_rows(spec: Spec) -> tuple[LayerRow, ...]:
    """The stem, each stage with its layers, the head and the classifier: `ReportData.layers`."""
    rows = []
    for path, group in groupby(cost(spec).layers, key=_part):
        layers = tuple(map(_layer_row, group))
        kind = layers[0].kind
        if path.startswith("stages."):
            kind = _stage_kind(spec.stages[int(path.removeprefix("stages."))])
        last = layers[-1]
        rows.append(
            LayerRow(
                path=path,
                kind=kind,
                channels=last.channels,
                side=last.side,
                params=sum(row.params for row in layers),
                macs=sum(row.macs for row in layers),
                layers=layers,
            )
        )
    return tuple(rows)


def write_report(path: Path, report: ReportData) -> None:
    """Writes the page, whole or not at all."""
    write_atomic(path, render(report))


def render(report: ReportData) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "amount": amount,
        "bytes": size,
        "ms": milliseconds,
        "percent": percent,
        "time": duration,
        "three": _three,
        "quantity": quantity,
        "counted": count_of,
        "shown": lambda text: printable(str(text)),
    }
    template = (files("phiscale.report") / "report.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(report=report, **_view(report))
    return page.encode(errors="backslashreplace").decode()  # undecodable bytes of a path


def _view(report: ReportData) -> dict[str, Any]:
    """Values of the template that follow from the report's data. The SVGs are our own markup."""
    from markupsafe import Markup

    metrics = report.metrics
    names = [row["name"] for row in metrics["per_class"]]
    table = sorted(report.candidates, key=lambda row: (not row.chosen, row.predicted_error))
    points = [{**asdict(row), "no": number} for number, row in enumerate(table, 1)]
    known = {row.name for row in table}
    points += [asdict(row) for row in report.pareto if row.name not in known]
    chosen = next((row for row in table if row.chosen), None)
    asked = {row.limit: row.asked for row in report.budget}
    matrix = confusion(metrics["confusion"], names)
    macs, params = (sum(getattr(row, what) for row in report.layers) for what in ("macs", "params"))
    train = report.train_images or sum(report.audit["counts"].get("train", ())) or None
    return {
        "asked": {row.limit: row for row in report.budget if row.asked},
        "broken": [row for row in report.budget if row.met is False],
        "candidates": table,
        "chosen": chosen,
        "curves": [Markup(svg) for svg in curves(report.log, report.planned_images, train)]
        if report.planned_images
        else [],
        "pareto": Markup(pareto(points, chosen and chosen.name, asked, sd=report.law_sd))
        if len(points) > 1
        else None,
        "confusion": Markup(matrix) if matrix else None,
        "worst": worst_pairs(metrics["confusion"], names, 12 if matrix is None else 6),
        "per_class": [
            {**row, "interval": wilson(round(row["recall"] * row["images"]), row["images"])}
            for row in metrics["per_class"]
        ],
        "samples": [
            {
                "image": _data_uri(s.image),
                "overlay": _data_uri(s.cam_overlay),
                "sample": s,
                "small": max(s.image.shape[:2]) <= 64,
            }
            for s in report.samples
        ],
        "macs": macs,
        "params": params,
        "cells": report.layers[-2].side if len(report.layers) > 1 else None,
        "limits": _LIMITS,
    }


def _part(layer: Layer) -> str:
    return ".".join(layer.path.split(".")[: 2 if layer.path.startswith("stages.") else 1])


def _layer_row(layer: Layer) -> LayerRow:
    kind = {"dense": "convolution", "pointwise": "convolution", "se": "squeeze-excite"}.get(
        layer.kind, layer.kind
    )
    if "convolution" in kind or layer.kernel > 1:
        kind = f"{kind} {layer.kernel}×{layer.kernel}"
    return LayerRow(
        path=layer.path,
        kind=kind,
        channels=int(layer.channels),
        side=int(layer.side),
        params=int(layer.params),
        macs=int(layer.macs),
    )


def _stage_kind(stage: Stage) -> str:
    block = stage.block.replace("_", " ").replace("mbconv", "MBConv")
    extras = [f"expand {stage.expand:g}"] if stage.expand != 1 else []
    extras += ["squeeze-excite"] if stage.se_ratio else []
    extras += ["stride 2"] if stage.stride == 2 else []
    kernel = f"{stage.kernel}×{stage.kernel}"
    return ", ".join([f"{stage.repeats} {block} {kernel}", *extras])


def _data_uri(pixels: np.ndarray) -> str:
    """Small images losslessly, photographs as JPEG."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    exact = max(image.size) <= 128
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    file = io.BytesIO()
    if exact:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=82, optimize=True)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


# Numbers for people: three significant digits and a unit.


def amount(number: float) -> str:
    """5.29 M, 386 M, 812."""
    return _scaled(number, ("", "k", "M", "G", "T"))


def size(number: float) -> str:
    """21.2 MB, in powers of 1000."""
    return _scaled(number, ("bytes", "kB", "MB", "GB", "TB"))


def _scaled(number: float, units: Sequence[str]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    return f"{_three(number)}{_SPACE}{units[power]}".rstrip(_SPACE)


def _three(number: float) -> str:
    if not isfinite(number) or number == 0:
        return f"{number:g}"
    return f"{number:,.0f}" if abs(number) >= 99.95 or number == int(number) else f"{number:#.3g}"


def milliseconds(number: float) -> str:
    """0.41 ms."""
    return f"{_three(number)}{_SPACE}ms"


def percent(fraction: float, digits: int = 1) -> str:
    """86.1 %; 0 % and 100 % only where it is exact, else < 0.1 % and > 99.9 %."""
    text = f"{100 * fraction:.{digits}f}"
    if fraction in (0, 1):
        text = f"{100 * fraction:.0f}"
    elif float(text) == 0:
        text = f"<{_SPACE}{10**-digits:.{digits}f}"
    elif float(text) == 100:
        text = f">{_SPACE}{100 - 10**-digits:.{digits}f}"
    return f"{text}{_SPACE}%"


def duration(seconds: float) -> str:
    """45 s, 14.3 min, 3 h 05 min."""
    if seconds < 59.5:
        return f"{_three(seconds) if seconds < 9.95 else round(seconds)}{_SPACE}s"
    minutes = seconds / 60
    if minutes < 59.95:
        return f"{minutes:.3g}{_SPACE}min"
    hours, minutes = divmod(round(minutes), 60)
    return f"{hours}{_SPACE}h" + (f" {minutes:02}{_SPACE}min" if minutes else "")


_LIMITS = {
    "latency_ms": "Latency of one image",
    "macs": "MACs of one image",
    "params": "Parameters",
    "weight_bytes": "Weights, fp32",
    "train_memory_bytes": "Memory in training",
    "train_minutes": "Training time",
}


def quantity(number: float | None, limit: str) -> str:
    """A value of the limit's kind; a dash where it is not known."""
    if number is None:
        return "–"
    if limit == "train_minutes":
        return duration(60 * number)
    return {"latency_ms": milliseconds}.get(limit, size if limit.endswith("_bytes") else amount)(
        number
    )
