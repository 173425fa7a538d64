"""What runs a classifier: numpy in, logits out. ONNX Runtime here, torch in `torch_backend`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phiscale.data.batches import BatchPlan, core_count, cpu_batch_size
from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.artefact import read_model
from phiscale.files.run_files import ONNX


class Backend(Protocol):
    """A classifier that can be run on batches. Its methods may be called from several threads."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Returns how an image becomes the network's input."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes, in the order of the logits."""
        ...

    def plan(self, batch_size: int | None = None) -> BatchPlan:
        """Returns the batches and threads that suit this backend.

        `batch_size`: images; None: its own.
        """
        ...

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns logits (n, classes) of preprocessed images (n, 3, size, size)."""
        ...

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns logits (n, classes) of cropped and resized pixels (n, size, size, 3)."""
        ...


def onnx_path(model: str | os.PathLike[str]) -> Path:
    """Returns the exported file that a path means: itself, or the model.onnx in a folder."""
    path = Path(model)
    return path / ONNX if path.is_dir() else path


class OnnxBackend:
    """A model.onnx that phiscale exported, in ONNX Runtime on the CPU. It needs no torch."""

    def __init__(self, artefact: str | os.PathLike[str], *, threads: int = 0):
        """Opens a model.onnx, or the one in a folder. `threads`: CPU threads; 0: one per core.

        ExportError: there is none, it is damaged, or it is not a classifier of phiscale's.
        """
        self.path = onnx_path(artefact)
        self.threads = threads or core_count()
        self.model = read_model(self.path, threads)
        self.metadata = self.model.metadata

    @property
    def preprocessing(self) -> Preprocessing:
        return self.metadata.preprocessing

    @property
    def classes(self) -> tuple[str, ...]:
        return self.metadata.classes

    def plan(self, batch_size: int | None = None) -> BatchPlan:
        """Gives a core to each batch: with all cores in one, threads wait for each other."""
        size = batch_size or cpu_batch_size(self.preprocessing.size)
        streams = self.threads if size > 1 else 1
        return BatchPlan(size=size, streams=streams, readers=max(2, self.threads))

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.model.logits(images)

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns logits (n, classes) of uint8 pixels (n, size, size, 3), normalised here.

        A single image uses all cores, a batch one.
        """
        session = None if len(pixels) == 1 else self.model.one_thread_session
        return self.model.logits(self.preprocessing.normalise(pixels), session)
