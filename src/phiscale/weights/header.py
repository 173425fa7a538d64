"""Reads what a weights file says of itself: the header of a safetensors file, without torch.

A safetensors file begins with the length of its header in 8 bytes, then the header as JSON: where
each tensor lies, and texts of whoever wrote it. phiscale's text is a model's metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phiscale.errors import WeightsError
from phiscale.weights.metadata import ModelMetadata

HEADER = "phiscale"
_LENGTH_BYTES = 8
_MOST_BYTES = 100_000_000  # of a header, as the safetensors library has it


def read_metadata(path: Path) -> ModelMetadata:
    """Reads the metadata of a weights file. Its tensors are neither read nor checked."""
    return ModelMetadata.from_dict(stored_metadata(path), str(path))


def stored_metadata(path: Path) -> dict[str, Any]:
    """Returns the metadata as stored. WeightsError: there are none, or they are damaged."""
    if not path.is_file():
        raise WeightsError(f"no weights at {path}. Give a .safetensors file or a run folder.")
    try:
        text = _texts(path).get(HEADER)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}). Copy or train it again."
        ) from None
    if text is None:
        raise WeightsError(
            f"{path} has no phiscale header, so its network is unknown. "
            "Use a file that phiscale wrote."
        )
    try:
        stored = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise WeightsError(f"{path}: its header is damaged. Copy or train it again.")
    return stored


def _texts(path: Path) -> dict[str, Any]:
    """Returns the texts of a header. ValueError: the file is none, or not whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > _MOST_BYTES:
            raise ValueError("its header has no end")
        header = json.loads(file.read(length))
    texts = header.pop("__metadata__", {})
    tensor_bytes = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if path.stat().st_size != _LENGTH_BYTES + length + tensor_bytes:
        raise ValueError("its length is not that of its tensors")
    return texts
