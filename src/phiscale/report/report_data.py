"""The data of the report of a `fit`, and the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.costs import cost
from phiscale.arch.layers import Layer
from phiscale.arch.spec import Spec, Stage

LEAST_CAM_CELLS = 4  # a side: what lies between fewer is interpolation, not evidence


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
    excluded_by: str | None = None  # by which limit, in words
    chosen: bool = False
    pretrained: str | None = None

    @staticmethod
    def of(row: Mapping[str, Any], *, chosen: bool = False) -> CandidateRow:
        """From a row of choice.json, which is `Candidate.to_dict()`."""
        same = (
            "name",
            "pixels",
            "params",
            "macs",
            "latency_ms",
            "epochs",
            "predicted_error",
            "excluded_by",
            "pretrained",
        )
        values = {name: row[name] for name in same}
        values |= {"depth": row["depth_x"], "width": row["width_x"]}
        values |= {"images_per_s": row["train_images_per_s"]}
        return CandidateRow(**values, chosen=chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A test image as the network saw it, with the activation map of its predicted class.

    There is no map where it would have fewer than `LEAST_CAM_CELLS` cells a side.
    """

    image: NDArray[np.uint8]  # uint8 H W 3
    cam_overlay: NDArray[np.uint8] | None  # uint8 H W 3: `cam.overlay` of the predicted class
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
