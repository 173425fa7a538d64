"""Exports a run to files that need no torch: model.onnx, and model.json with how to feed it."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phiscale.data.batches import read_batches, split_reader
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.open import open_dataset
from phiscale.data.loader import channels_first, normalise_batch
from phiscale.deploy.artefact import METADATA_KEY, with_file_checksum
from phiscale.deploy.inference import class_columns
from phiscale.deploy.runtime import latency_ms, open_session, run
from phiscale.errors import ExportError
from phiscale.files import check_no_file, sha256, with_checksum, write_atomic, write_checked
from phiscale.files.run_files import MODEL, ONNX
from phiscale.nn.network import Network
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.sources import load, weights_file

ARTEFACT_VERSION = 1
PARITY_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far the logits of the exported file are from those of the network."""

    images: int
    largest_difference: float
    """Of a logit."""
    relative_difference: float
    """Norm of the difference over the norm of the logits."""
    same_top1: float
    """Share of the images with the same most probable class, in [0, 1]."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data as model.json has it."""
        return asdict(self)


def export_onnx(
    network: Network,
    metadata: ModelMetadata,
    split: Split | None,
    out: Path,
    latency_s: float = 2.0,
) -> dict[str, Any]:
    """Writes `out/model.onnx` and `out/model.json`; returns the content of model.json.

    `latency_s`: seconds for which the exported network is timed.

    The batch size is free, the image size is fixed. Logits on up to 256 images of `split`, or on
    random ones without it, are compared first. Above a relative difference of 1e-3, or with other
    classes for more than 1 % of the images, nothing is written.

    ExportError: they differ by more, or the network cannot be exported.
    """
    model = _onnx(network, metadata)
    session = open_session(model)
    parity = _parity(network, metadata, split, session)
    if not parity.relative_difference < 1e-3 or parity.same_top1 < 0.99:
        raise ExportError(
            f"The exported network differs from the trained one: relative difference "
            f"{parity.relative_difference:.2g}, same top-1 {parity.same_top1:.3f} "
            f"on {parity.images} images. Nothing was written; please report this with the "
            "spec.json."
        )
    size = metadata.spec.resolution
    shape = (1, metadata.spec.in_channels, size, size)
    content = {
        "phiscale_artefact": ARTEFACT_VERSION,
        **metadata.to_dict(),
        "input": {
            "name": "images",
            "type": "float32",
            "layout": "NCHW",
            "shape": ["batch", metadata.spec.in_channels, size, size],
            "made_by": "preprocessing below: centre crop, resize, / 255, - mean, / std",
        },
        "output": {"name": "logits", "type": "float32", "shape": ["batch", metadata.spec.classes]},
        "parity": parity.to_dict(),
        "latency_ms": round(latency_ms(session, shape, latency_s), 4),
        "file": {"name": ONNX, "bytes": len(model), "sha256": sha256(model)},
    }
    write_atomic(out / ONNX, model)
    write_checked(out / MODEL, content)
    return content


def _onnx(network: Network, metadata: ModelMetadata) -> bytes:
    import onnx

    network = network.to("cpu").eval()
    size = metadata.spec.resolution
    example = torch.zeros(2, metadata.spec.in_channels, size, size)
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65536)},),
            )
    except Exception as error:  # the exporter raises anything
        raise ExportError(f"this network cannot be exported to ONNX: {error}") from error
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(with_checksum(metadata.to_dict()))
    onnx.checker.check_model(model)
    return with_file_checksum(model.SerializeToString())


def _parity(network: Network, metadata: ModelMetadata, split: Split | None, session: Any) -> Parity:
    size, channels = metadata.spec.resolution, metadata.spec.in_channels
    if split is None or len(split) == 0:
        generator = torch.Generator().manual_seed(0)
        batches = [torch.randn(64, channels, size, size, generator=generator)]
    else:
        some = split.subset(np.arange(min(PARITY_IMAGES, len(split))))
        reader, cpu = split_reader(some, metadata.preprocessing), torch.device("cpu")
        batches = [
            normalise_batch(channels_first(batch.pixels), reader.preprocessing, cpu)
            for batch in read_batches(range(len(some)), reader, size=64)
        ]
    with torch.inference_mode():
        ours = np.concatenate([network(b).numpy() for b in batches])
    theirs = np.concatenate([run(session, b.contiguous().numpy()) for b in batches])
    difference = ours - theirs
    return Parity(
        images=len(ours),
        largest_difference=float(np.abs(difference).max()),
        relative_difference=float(np.linalg.norm(difference) / max(1e-12, np.linalg.norm(ours))),
        same_top1=float((ours.argmax(1) == theirs.argmax(1)).mean()),
    )


def export_run(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    data: ImageSet | str | Path | None,
) -> tuple[Path, dict[str, Any]]:
    """Exports the best weights of a run; returns the path of model.onnx and what model.json holds.

    `out`: the folder, by default that of the weights. `data`: its validation images are compared.
    """
    weights = weights_file(os.fspath(run))
    folder = weights.parent if out is None else Path(out)
    check_no_file(folder)
    network = load(weights)
    split = None
    if data is not None:
        images = data if isinstance(data, ImageSet) else open_dataset(data)
        class_columns(os.fspath(run), network.metadata.classes, images)
        split = images.validation
    return folder / ONNX, export_onnx(network, network.metadata, split, folder)
