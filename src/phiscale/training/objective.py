"""The loss: cross-entropy with label smoothing, mixed labels and optional class weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from phiscale.data.augment.mixing import mix_images
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.loader import Batch, normalise_batch
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.recipes.recipe import Recipe

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}


Objective = Callable[[Batch, nn.Module, slice], torch.Tensor]
"""objective(batch, network, rows) returns what these rows of a micro-batch add to the step's loss.

The loss of a step is the mean over all its images.
"""


def class_weights(recipe: Recipe, images: ImageSet) -> np.ndarray | None:
    """Returns the weight of each class in the loss, 1 on average; None if all weigh the same."""
    if recipe.class_weights == "none":
        return None
    counts = np.bincount(images.train.labels, minlength=len(images.classes))
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    return weights / weights.mean()


def make_objective(
    recipe: Recipe,
    weights: np.ndarray | None,
    preprocessing: Preprocessing,
    device: torch.device,
) -> Objective:
    """Returns the loss function of a recipe. `weights` are class weights, (classes,), or None."""
    dtype = DTYPES[recipe.precision]
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    weight = None if weights is None else torch.tensor(weights, dtype=exact, device=device)

    def objective(batch: Batch, network: nn.Module, rows: slice) -> torch.Tensor:
        x = normalise_batch(batch.pixels[rows], preprocessing, device).to(exact)
        labels = batch.labels[rows].to(device)
        mix = batch.mix.select(rows, device) if batch.mix else None
        if mix is not None:
            x = mix_images(
                x, normalise_batch(batch.pixels[mix.partner], preprocessing, device).to(exact), mix
            )
        with _precision(device, dtype):
            logits = network(x)
        logits = logits.to(exact)

        def cross_entropy(labels: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(
                logits, labels, weight, reduction="none", label_smoothing=recipe.label_smoothing
            )

        loss = cross_entropy(labels)
        if mix is not None:
            loss = loss.lerp(
                cross_entropy(batch.labels[mix.partner].to(device)), mix.share.to(exact)
            )
        return loss.sum() / batch.total

    return objective


def _precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    if dtype in (torch.float32, torch.float64):
        return nullcontext()
    return torch.autocast(device.type, dtype)
