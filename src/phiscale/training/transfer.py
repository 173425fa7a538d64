"""Prepares pretrained weights for a training: batch-norm statistics and the new classifier.

The classifier can start as the best linear one on the frozen features, so that fine-tuning does
not begin by distorting them (Kumar et al., arXiv:2202.10054).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from phiscale.data.batches import read_batches, split_reader
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.loader import channels_first, normalise_batch
from phiscale.data.order import Order
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.files import read_checked, write_checked
from phiscale.files.run_files import TRANSFER
from phiscale.nn.network import Network
from phiscale.nn.norm import BatchNorm2d
from phiscale.training.evaluate import logits_of
from phiscale.training.optim import lr_scales
from phiscale.training.parallel.replicas import MIN_LANE_IMAGES
from phiscale.training.recipes.recipe import Recipe

Norms = Literal["train", "frozen", "reestimated"]

ENOUGH_LANE_IMAGES = 2 * MIN_LANE_IMAGES  # batch statistics of these are as good as the old ones
FAR = 0.3  # standard deviations: running means so far off no longer fit the images
STATISTICS_FROM, BATCH = 1024, 32  # images
PROBED_AT_MOST = 20_000  # images, whose features fit in memory
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the probe's penalty; validation selects one


@dataclass(frozen=True, kw_only=True)
class TransferPlan:
    """How a training starts from weights; `transfer.json` of a run."""

    norms: Norms
    shift: float | None = None  # of batch statistics, in standard deviations
    share: int | None = None  # images that a norm would see at once
    strength: float | None = None  # of the probe's penalty
    validation_top1: float | None = None  # of the probe

    def summary(self) -> str:
        """Returns the plan as a line of the log."""
        shift = (
            ""
            if self.shift is None
            else (
                f" (means of these images are {self.shift:.2f} standard deviations off; "
                f"a norm gets {self.share} images at once)"
            )
        )
        norms = {
            "train": "batch norms train on the new images",
            "frozen": "batch norms keep their statistics",
            "reestimated": "batch norm statistics are reestimated on the new images, then frozen",
        }[self.norms]
        probe = ""
        if self.validation_top1 is not None:
            probe = f"; linear probe: validation top-1 {100 * self.validation_top1:.1f} %"
        return f"{norms}{shift}{probe}"


def prepare(
    network: Network,
    recipe: Recipe,
    images: ImageSet,
    preprocessing: Preprocessing,
    device: torch.device,
    run: Path,
    *,
    resumed: bool,
) -> TransferPlan:
    """Prepares a network on `device` that holds pretrained weights, when a run starts.

    A resumed run has all of it in its checkpoint but the norm policy, which `transfer.json` keeps
    and `set_norm_policy` sets.
    """
    path = run / TRANSFER
    if resumed and path.exists():
        return TransferPlan(**read_checked(path, "Restore it, or use another `out`."))
    plan = _norms(network, recipe, images.train, preprocessing, device)
    if recipe.head == "probe":
        plan = _probed(network, plan, recipe, images, preprocessing, device)
    write_checked(path, asdict(plan))
    return plan


def _norms(
    network: Network,
    recipe: Recipe,
    split: Split,
    preprocessing: Preprocessing,
    device: torch.device,
) -> TransferPlan:
    """Selects the norm policy, and reestimates statistics where it says so.

    `auto` decides by batch size and shift. Statistics of enough images in a step are good as they
    are. Those of few images are noise: the old ones stay where they still fit, else they are
    reestimated once.
    """
    if recipe.norms in ("train", "frozen"):
        return TransferPlan(norms=recipe.norms)
    even = min(STATISTICS_FROM, max(1, len(split) // BATCH) * BATCH)
    few = split.subset(_spread(split, even))
    shift = _shift(network, few, preprocessing, device)
    norms: Norms = "reestimated" if recipe.norms == "reestimated" or shift > FAR else "frozen"
    if recipe.norms == "auto" and recipe.batch // recipe.lanes >= ENOUGH_LANE_IMAGES:
        norms = "train"
    if norms == "reestimated":
        _reestimate(network, few, preprocessing, device)
    return TransferPlan(norms=norms, shift=round(shift, 4), share=recipe.batch // recipe.lanes)


def freeze(network: nn.Module, recipe: Recipe) -> int:
    """Freezes the blocks below `least_share` of the learning rate; returns their number.

    They are the first blocks, with the largest feature maps. No block before them needs a gradient.
    """
    frozen_blocks = [
        block
        for block, lr_scale in lr_scales(network, recipe.layer_decay).items()
        if lr_scale < recipe.least_share
    ]
    for block in map(network.get_submodule, frozen_blocks):
        block.requires_grad_(False)
        for module in block.modules():
            if isinstance(module, BatchNorm2d):
                module.frozen = True
    return len(frozen_blocks)


def set_norm_policy(network: nn.Module, norms: Norms) -> None:
    """Sets whether the batch norms of a network train, or use frozen statistics."""
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.frozen = norms != "train"


def _shift(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> float:
    """Returns how far these images' means are from the running ones, in standard deviations.

    That is the root mean square over channels, averaged over the batch norms.
    """
    sums: dict[BatchNorm2d, Tensor] = {}

    def add_means(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, BatchNorm2d)
        sums[norm] = sums.get(norm, torch.zeros(())) + inputs[0].mean((2, 3)).sum(0).cpu()

    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(add_means) for norm in norms]
    try:
        _pass(network.eval(), split, preprocessing, device)
    finally:
        for hook in hooks:
            hook.remove()
    shifts = []
    for norm, total in sums.items():
        assert norm.running_mean is not None and norm.running_var is not None
        difference = total / len(split) - norm.running_mean.cpu()
        shifts.append((difference.square() / (norm.running_var.cpu() + norm.eps)).mean().sqrt())
    return float(torch.stack(shifts).mean())


def _reestimate(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> None:
    """Sets means and variances of the batch norms to their means over batches of equal size."""
    norms = [module for module in network.eval().modules() if isinstance(module, BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    _pass(network, split, preprocessing, device)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def _pass(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> None:
    reader = split_reader(split, preprocessing)
    for batch in read_batches(range(len(split)), reader, size=BATCH):
        network(normalise_batch(channels_first(batch.pixels), preprocessing, device))


def _probed(
    network: Network,
    plan: TransferPlan,
    recipe: Recipe,
    images: ImageSet,
    preprocessing: Preprocessing,
    device: torch.device,
) -> TransferPlan:
    """Sets the classifier to a logistic regression on pooled features.

    The penalty is the one with the best validation accuracy.
    """
    from sklearn.linear_model import LogisticRegression

    body = _Body(network)
    train = images.train.subset(_spread(images.train, PROBED_AT_MOST))
    x = logits_of(body, train, preprocessing, device=device).astype(np.float64)
    x_validation = logits_of(body, images.validation, preprocessing, device=device).astype(
        np.float64
    )
    mean, spread = x.mean(0), x.std()  # one scale for all: features that hardly vary stay small
    x, x_validation = (x - mean) / spread, (x_validation - mean) / spread
    best: tuple[float, float, LogisticRegression] | None = None
    for strength in STRENGTHS:
        weights = "balanced" if recipe.class_weights == "balanced" else None
        model = LogisticRegression(C=1 / (strength * len(x)), max_iter=1000, class_weight=weights)
        model.fit(x, train.labels)
        top1 = float(np.mean(model.predict(x_validation) == images.validation.labels))
        if best is None or top1 >= best[0]:  # the stronger penalty where two are equal
            best = (top1, strength, model)
    assert best is not None
    top1, strength, model = best
    weight = np.zeros((len(images.classes), x.shape[1]))
    bias = np.full(len(images.classes), -1e2)  # of classes without a training image
    rows, offset = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # one row for two classes: half each
        rows, offset = np.stack([-rows[0], rows[0]]) / 2, np.array([-offset[0], offset[0]]) / 2
    weight[model.classes_], bias[model.classes_] = rows / spread, offset - (rows / spread) @ mean
    with torch.no_grad():
        network.classifier.get_parameter("weight").copy_(torch.from_numpy(weight))
        network.classifier.get_parameter("bias").copy_(torch.from_numpy(bias))
    return replace(plan, strength=strength, validation_top1=round(top1, 6))


class _Body(nn.Module):
    """The pooled features of a network."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)


def _spread(split: Split, most: int) -> np.ndarray:
    """Returns indices of at most `most` images of a split, drawn at random."""
    order = Order(len(split), 0).samples(0, len(split))
    return np.sort(order[:most])


def check_start(recipe: Recipe, start_from: Path | str | None) -> None:
    """Raises UsageError for a recipe that needs pretrained weights, where there are none."""
    if start_from is None and (recipe.head == "probe" or recipe.norms != "train"):
        raise UsageError(
            "This recipe starts from pretrained weights (`head`, `norms`). Add `pretrained`."
        )
