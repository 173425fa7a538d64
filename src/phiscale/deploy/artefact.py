"""Reads model.onnx, the one way for all readers: checksum, metadata, shapes, then a session.

The last bytes of the file are an entry of its metadata with the SHA-256 of all bytes before them,
so it needs no second file and no protobuf library to be checked. Other ONNX readers ignore it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from phiscale.deploy.runtime import open_session, run
from phiscale.errors import ExportError, PhiscaleError
from phiscale.files import sha256, verify_checksum
from phiscale.text import join_names, printable
from phiscale.weights.metadata import ModelMetadata

METADATA_KEY = "phiscale"
"""Where a model.onnx keeps its metadata, as JSON."""
CHECKSUM_KEY = b"phiscale_sha256"
FIX = "Export the model again."
# the start of the key of an external file in a tensor: field 1 of a text entry, 8 bytes
EXTERNAL_DATA = b"\x0a\x08location\x12"


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """A model.onnx that was checked."""

    name: str
    """For messages."""
    content: bytes
    threads: int
    session: ort.InferenceSession
    metadata: ModelMetadata

    @cached_property
    def one_thread_session(self) -> ort.InferenceSession:
        """Returns a session that uses one core."""
        return self.session if self.threads == 1 else open_session(self.content, 1)

    def logits(
        self, images: NDArray[np.float32], session: ort.InferenceSession | None = None
    ) -> NDArray[np.float32]:
        """Returns finite logits (n, classes) of images (n, channels, size, size).

        ExportError: the network fails on them, or gives another shape or no finite numbers.
        """
        logits = run(session or self.session, images, self.name)
        expected = (len(images), len(self.metadata.classes))
        if logits.shape != expected:
            raise ExportError(f"{self.name} gives {logits.shape}, not logits {expected}. {FIX}")
        if not np.isfinite(logits).all():
            raise ExportError(f"{self.name} gives logits that are not finite. {FIX}")
        return logits


def with_file_checksum(model: bytes) -> bytes:
    """Appends the checksum to a serialised ONNX model. It must have none yet."""
    return model + _checksum_entry(model)


def read_model(path: Path, threads: int = 0) -> OnnxModel:
    """Reads and checks a model.onnx. `threads`: CPU threads; 0: one per core.

    ExportError: it cannot be read, is damaged, or is not a classifier that phiscale exported.
    """
    name = printable(str(path))
    content = _read(path, name)
    if EXTERNAL_DATA in content:
        raise ExportError(f"{name} keeps weights in other files. {FIX}")
    session = open_session(content, threads, name)
    metadata = _metadata(session, name)
    _check_shapes(session, metadata, name)
    return OnnxModel(
        name=name, content=content, threads=threads, session=session, metadata=metadata
    )


def _read(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise ExportError(f"No model at {name}. Use a model.onnx, or the folder that holds one.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {name}: {error.strerror}. Check the path.") from None
    size = len(_checksum_entry(b""))
    if content[-size:] != _checksum_entry(content[:-size]):
        raise ExportError(
            f"{name} does not match its checksum: it is damaged, "
            f"or not a model.onnx that phiscale exported. {FIX}"
        )
    return content


def _checksum_entry(model: bytes) -> bytes:
    """Returns field 14 of an ONNX model, metadata_props, with one key and its value."""
    value = sha256(model).encode()
    entry = bytes([0x0A, len(CHECKSUM_KEY)]) + CHECKSUM_KEY + bytes([0x12, len(value)]) + value
    return bytes([0x72, len(entry)]) + entry


def _metadata(session: ort.InferenceSession, name: str) -> ModelMetadata:
    try:
        text = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
        payload = verify_checksum(json.loads(text), f"the metadata of {name}", FIX)
        metadata = ModelMetadata.from_dict(payload, name)
    except PhiscaleError as error:
        raise ExportError(str(error)) from None
    except KeyError:
        raise ExportError(
            f"{name} does not say how to prepare its input. "
            "Use a model.onnx that phiscale exported."
        ) from None
    except (ValueError, RecursionError):
        raise ExportError(f"{name} has damaged metadata. {FIX}") from None
    _check_classes(metadata.classes, name)
    return metadata


def _check_classes(classes: tuple[str, ...], name: str) -> None:
    if not classes:
        raise ExportError(f"{name} has no classes. Export a network that has a classifier.")
    repeated = sorted({label for label in classes if classes.count(label) > 1})
    if repeated:
        raise ExportError(f"{name} names classes twice: {join_names(repeated, 3)}. {FIX}")


def _check_shapes(session: ort.InferenceSession, metadata: ModelMetadata, name: str) -> None:
    """Compares the graph with the metadata, so that no image is prepared for another network."""
    size, channels = metadata.preprocessing.size, metadata.spec.in_channels
    for kind, values, shape in (
        ("input", session.get_inputs(), [channels, size, size]),
        ("output", session.get_outputs(), [len(metadata.classes)]),
    ):
        shapes = [value.shape[1:] for value in values]
        if shapes != [shape] or values[0].type != "tensor(float)":
            raise ExportError(
                f"{name} is not the network of its metadata: {kind} {shapes}, not {[shape]} "
                f"of float32. {FIX}"
            )
