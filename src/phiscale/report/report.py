"""The report of a `fit`: a `ReportData` of plain data made into one self-contained HTML page.

The page runs no script and loads nothing. Whatever stands in a name is shown as text.
"""

from __future__ import annotations

import base64
import io
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.files import write_atomic
from phiscale.report.confusion import confusion, worst_pairs
from phiscale.report.numbers import (
    amount,
    duration,
    milliseconds,
    percent,
    quantity,
    size,
    three_digits,
)
from phiscale.report.page import STYLE
from phiscale.report.plots import curves, pareto
from phiscale.report.report_data import ReportData
from phiscale.text import count_of, printable
from phiscale.training.metrics import wilson

_MOST_PIXELS = 256  # of a sample's side


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
        "three": three_digits,
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
        "style": Markup(STYLE),
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
                "overlay": None if s.cam_overlay is None else _data_uri(s.cam_overlay),
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


def _data_uri(pixels: NDArray[np.uint8]) -> str:
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


_LIMITS = {
    "latency_ms": "Latency of one image",
    "macs": "MACs of one image",
    "params": "Parameters",
    "weight_bytes": "Weights, fp32",
    "train_memory_bytes": "Memory in training",
    "train_minutes": "Training time",
}
