"""Prepares pretrained weights for a training: batch-norm statistics and the new classifier."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from phiscale.data.batches import read_batches, split_reader
from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.loader import channels_first, normalise_batch
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.files import read_checked, write_checked
from phiscale.files.run_files import TRANSFER
from phiscale.nn.network import Network
from phiscale.nn.norm import BatchNorm2d
from phiscale.training.optim import lr_scales
from phiscale.training.parallel.replicas import MIN_LANE_IMAGES
from phiscale.training.probe import LinearProbe, drawn, fit_probe, pooled_features
from phiscale.training.recipes.recipe import Recipe

Norms = Literal["train", "frozen", "reestimated"]

ENOUGH_LANE_IMAGES = 2 * MIN_LANE_IMAGES  # batch statistics of these are as good as the old ones
FAR = 0.3  # standard deviations: running means so far off no longer fit the images
STATISTICS_FROM, BATCH = 1024, 32  # images
PROBED_AT_LEAST, PROBED_OF_CLASS = 6_000, 100  # training images: more hardly change a probe
PROBED_AT_MOST = 20_000  # their features fit in memory


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
    elif plan.norms == "reestimated":
        _reestimate(network, _for_statistics(images.train), preprocessing, device)
    write_checked(path, asdict(plan))
    return plan


def _norms(
    network: Network,
    recipe: Recipe,
    split: Split,
    preprocessing: Preprocessing,
    device: torch.device,
) -> TransferPlan:
    """Selects the norm policy.

    `auto` decides by batch size and shift. Statistics of enough images in a step are good as they
    are. Those of few images are noise: the old ones stay where they still fit, else they are
    reestimated once.
    """
    if recipe.norms in ("train", "frozen"):
        return TransferPlan(norms=recipe.norms)
    shift = _shift(network, _for_statistics(split), preprocessing, device)
    norms: Norms = "reestimated" if recipe.norms == "reestimated" or shift > FAR else "frozen"
    if recipe.norms == "auto" and recipe.batch // recipe.lanes >= ENOUGH_LANE_IMAGES:
        norms = "train"
    return TransferPlan(norms=norms, shift=round(shift, 4), share=recipe.batch // recipe.lanes)


def _for_statistics(split: Split) -> Split:
    """Returns whole batches of images, enough for statistics."""
    return drawn(split, min(STATISTICS_FROM, max(1, len(split) // BATCH) * BATCH))


def _probed(
    network: Network,
    plan: TransferPlan,
    recipe: Recipe,
    images: ImageSet,
    preprocessing: Preprocessing,
    device: torch.device,
) -> TransferPlan:
    """Sets the classifier to a linear probe, and reestimates statistics where the plan says so.

    Where that was only presumed (`auto`), the validation split decides: reestimated statistics
    must have the better probe, else the old ones stay.
    """
    probe = None
    if plan.norms != "reestimated" or recipe.norms == "auto":
        probe = _probe(network, recipe, images, preprocessing, device)
    if plan.norms == "reestimated":
        old = {name: buffer.clone() for name, buffer in network.named_buffers()}
        _reestimate(network, _for_statistics(images.train), preprocessing, device)
        again = _probe(network, recipe, images, preprocessing, device)
        if probe is None or again.validation_top1 > probe.validation_top1:
            probe = again
        else:
            plan = replace(plan, norms="frozen")
            for name, buffer in network.named_buffers():
                buffer.copy_(old[name])
    assert probe is not None
    probe.set_classifier(network)
    return replace(plan, strength=probe.strength, validation_top1=round(probe.validation_top1, 6))


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


def _probe(
    network: Network,
    recipe: Recipe,
    images: ImageSet,
    preprocessing: Preprocessing,
    device: torch.device,
) -> LinearProbe:
    """Fits a linear probe to at most so many training images that it takes seconds."""
    train, validation = drawn(images.train, _probed_at_most(images)), images.validation
    return fit_probe(
        (pooled_features(network, train, preprocessing, device), train.labels),
        (pooled_features(network, validation, preprocessing, device), validation.labels),
        classes=len(images.classes),
        balanced=recipe.class_weights == "balanced",
    )


def _probed_at_most(images: ImageSet) -> int:
    return min(PROBED_AT_MOST, max(PROBED_AT_LEAST, PROBED_OF_CLASS * len(images.classes)))


def check_start(recipe: Recipe, start_from: Path | str | None) -> None:
    """Raises UsageError for a recipe that needs pretrained weights, where there are none."""
    if start_from is None and (recipe.head == "probe" or recipe.norms != "train"):
        raise UsageError(
            "This recipe starts from pretrained weights (`head`, `norms`). Add `pretrained`."
        )
