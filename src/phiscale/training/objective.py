"""What is minimised: cross-entropy with smoothed labels, of classes that may weigh more or less."""

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
from phiscale.training.parallel.lanes import LossOf
from phiscale.training.recipes.recipe import Recipe

KINDS = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}


def class_weights(recipe: Recipe, images: ImageSet) -> np.ndarray | None:
    """Of mean 1; None where all classes weigh alike."""
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
) -> Callable[[Batch], LossOf]:
    """For a batch: what rows of it add to the mean loss of the whole step."""
    kind = KINDS[recipe.precision]
    given = torch.float64 if kind == torch.float64 else torch.float32
    weight = None if weights is None else torch.tensor(weights, dtype=given, device=device)

    def loss_of(batch: Batch, network: nn.Module, part: slice) -> torch.Tensor:
        x = normalise_batch(batch.pixels[part], preprocessing, device).to(given)
        labels = batch.labels[part].to(device)
        mix = batch.mix.select(part, device) if batch.mix else None
        if mix is not None:
            x = mix_images(
                x, normalise_batch(batch.pixels[mix.partner], preprocessing, device).to(given), mix
            )
        with _precision(device, kind):
            logits = network(x)
        logits = logits.to(given)

        def against(labels: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(
                logits, labels, weight, reduction="none", label_smoothing=recipe.label_smoothing
            )

        loss = against(labels)
        if mix is not None:
            loss = loss.lerp(against(batch.labels[mix.partner].to(device)), mix.share.to(given))
        return loss.sum() / batch.total

    return lambda batch: lambda network, part: loss_of(batch, network, part)


def _precision(device: torch.device, kind: torch.dtype) -> AbstractContextManager[object]:
    if kind in (torch.float32, torch.float64):
        return nullcontext()
    return torch.autocast(device.type, kind)
