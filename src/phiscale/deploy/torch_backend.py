"""A network in torch as a backend, with the arithmetic of an evaluation during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from phiscale.data.batches import BatchPlan, core_count
from phiscale.data.loader import channels_first, normalise_batch
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.nn.network import Network
from phiscale.training.evaluate import batch_plan, forward


class TorchBackend:
    """A network in eval mode on the device of its weights."""

    def __init__(self, network: Network):
        """Wraps a network. UsageError: it has no preprocessing or class names."""
        if network.metadata is None:
            raise UsageError(
                "The network has no preprocessing and class names, as `phiscale.load` sets them. "
                "Save it with `phiscale.save` and use the file, or set its `metadata` and "
                "`preprocessing`."
            )
        self.network = network
        self.device = next(network.parameters()).device

    @property
    def preprocessing(self) -> Preprocessing:
        return self.network.preprocessing

    @property
    def classes(self) -> tuple[str, ...]:
        return self.network.metadata.classes

    def plan(self, batch_size: int | None = None) -> BatchPlan:
        plan = batch_plan(self.preprocessing.size, self.device, batch_size)
        return replace(plan, readers=max(2, core_count()))

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return forward(self.network, x.contiguous(memory_format=torch.channels_last))

    def logits_of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = normalise_batch(channels_first(pixels), self.preprocessing, self.device)
        return forward(self.network, x)


@contextmanager
def eval_mode(network: Network) -> Iterator[None]:
    """Puts a network into eval mode, and back into what it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
