"""Weights files of phiscale: safetensors whose header holds all that loading needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from phiscale.errors import WeightsError
from phiscale.files import CHECKSUM, checksum, write_atomic
from phiscale.nn.network import Network
from phiscale.weights.header import HEADER, stored_metadata
from phiscale.weights.metadata import ModelMetadata


def save(path: Path | str, tensors: Mapping[str, Tensor], metadata: ModelMetadata) -> None:
    """Writes tensors and metadata as one safetensors file, whole or not at all."""
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    header = json.loads(json.dumps(metadata.to_dict()))
    header[CHECKSUM] = _digest(header, ready)
    write_atomic(Path(path), to_bytes(ready, metadata={HEADER: json.dumps(header)}))


def is_ours(path: Path) -> bool:
    """Tells whether a file's header is phiscale's. Its tensors are not read."""
    if not path.is_file():  # opening a named pipe would wait for ever
        return False
    try:
        with safe_open(path, "pt") as file:
            return HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read(path: Path) -> tuple[ModelMetadata, dict[str, Tensor]]:
    """Reads metadata and tensors, and checks them against the hash in the header.

    WeightsError: the file is damaged, or phiscale did not write it.
    """
    header, tensors = stored_metadata(path), _tensors(path)
    metadata = ModelMetadata.from_dict(header, str(path))
    if header.get(CHECKSUM) != _digest(header, tensors):
        raise WeightsError(
            f"{path} is damaged: it does not match the hash in its header. Copy or train it again."
        )
    return metadata, tensors


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}). Copy or train it again."
        ) from None


def fill(network: Network, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Fills a network with tensors.

    WeightsError: names, shapes or types differ, or a value is not finite. It names `origin`.
    """
    expected = network.state_dict()
    missing, extra = (
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
    )
    both = expected.keys() & tensors.keys()
    shapes = [k for k in both if expected[k].shape != tensors[k].shape]
    types = [k for k in both if expected[k].dtype != tensors[k].dtype]
    for what, names in (
        ("missing", missing),
        ("unknown", extra),
        ("of another shape", sorted(shapes)),
        ("of another type", sorted(types)),
    ):
        if names:
            raise WeightsError(
                f"{origin}: {len(names)} tensors {what} ({', '.join(names[:3])}, ...). "
                "They belong to another network."
            )
    bad = [k for k, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise WeightsError(
            f"{origin}: {len(bad)} tensors hold NaN or infinity ({bad[0]}, ...). "
            "Use an earlier file."
        )
    network.load_state_dict(dict(tensors), assign=True)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of a header and its tensors.

    It covers the header as stored, and the names, types, shapes and bytes of the tensors, sorted by
    name. A field that a later version adds to the metadata does not change it.
    """
    digest = hashlib.sha256(checksum(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
