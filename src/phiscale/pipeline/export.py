"""`phiscale.export`: a trained network as a deployable file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from phiscale.data.datasets.dataset import ImageSet
from phiscale.deploy.export import export_run
from phiscale.errors import UsageError


def export(
    model: str | os.PathLike[str],
    to: Literal["onnx"] = "onnx",
    *,
    out: str | os.PathLike[str] | None = None,
    data: ImageSet | str | Path | None = None,
) -> Path:
    """Exports a model after verifying its outputs against PyTorch; returns the file's path.

    `model`: a `Run`, its folder, or a weights file. `out`: folder to write into; by default the
    model's. `data`: an image set whose validation images verify it, instead of random ones.
    Raises ExportError where the outputs differ.
    """
    if to != "onnx":
        raise UsageError(f"to={to!r} is an unknown format. Use to='onnx'.")
    path, _ = export_run(model, out, data)
    return path
