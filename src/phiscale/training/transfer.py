"""How a training starts from pretrained weights: which batch statistics it uses, and a classifier
that is the best linear one on the frozen features, so that fine-tuning does not begin by spoiling
them (Kumar et al., arXiv:2202.10054)."""

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
from phiscale.nn.network import Network
from phiscale.nn.norm import BatchNorm2d
from phiscale.training.evaluate import logits_of
from phiscale.training.optim import rate_shares
from phiscale.training.parallel.replicas import LEAST_SHARE
from phiscale.training.recipes.recipe import Recipe

Norms = Literal["train", "frozen", "reestimated"]

ENOUGH_SHARE = 2 * LEAST_SHARE  # images a lane whose own statistics serve as well as old ones
FAR = 0.3  # of a standard deviation: means that are so far off no longer fit the images
STATISTICS_FROM, BATCH = 1024, 32  # images
PROBED_AT_MOST = 20_000  # images: their features fit in memory
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the probe's penalty, chosen on validation


@dataclass(frozen=True, kw_only=True)
class TransferPlan:
    """What was decided at the start; `transfer.json` of a run."""

    norms: Norms
    shift: float | None = None  # of batch statistics, in standard deviations
    share: int | None = None  # images that a norm would see at once
    strength: float | None = None  # of the probe's penalty
    validation_top1: float | None = None  # of the probe

    def summary(self) -> str:
        shift = (
            ""
            if self.shift is None
            else (
                f" (those of these images are {self.shift:.2f} standard deviations off; "
                f"a norm sees {self.share} images at once)"
            )
        )
        said = {
            "train": "batch norms learn from the new images",
            "frozen": "batch norms keep their old statistics",
            "reestimated": "batch norms take the new images' statistics and keep them",
        }[self.norms]
        probe = ""
        if self.validation_top1 is not None:
            probe = f"; a linear probe has {100 * self.validation_top1:.1f} % on validation"
        return f"{said}{shift}{probe}"


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
    """Prepares a network on `device` that holds pretrained weights, once: a resumed run has it all
    in its checkpoint but the batch norms' policy, which `transfer.json` keeps and `apply` sets."""
    path = run / "transfer.json"
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
    """The policy that the recipe asks for; `auto` goes by batch size and shift: statistics of
    enough images a step serve anyway; of few they are noise, so the old ones stay where they
    still fit, else new ones are count_of once."""
    if recipe.norms in ("train", "frozen"):
        return TransferPlan(norms=recipe.norms)
    even = min(STATISTICS_FROM, max(1, len(split) // BATCH) * BATCH)
    few = split.subset(_spread(split, even))
    shift = _shift(network, few, preprocessing, device)
    norms: Norms = "reestimated" if recipe.norms == "reestimated" or shift > FAR else "frozen"
    if recipe.norms == "auto" and recipe.batch // recipe.lanes >= ENOUGH_SHARE:
        norms = "train"
    if norms == "reestimated":
        _reestimate(network, few, preprocessing, device)
    return TransferPlan(norms=norms, shift=round(shift, 4), share=recipe.batch // recipe.lanes)


def freeze(network: nn.Module, recipe: Recipe) -> int:
    """Blocks with less than `least_share` of the rate do not learn; returns how many. They are the
    first ones, with the largest maps, so nothing before them needs a gradient either."""
    frozen_blocks = [
        block
        for block, share in rate_shares(network, recipe.layer_decay).items()
        if share < recipe.least_share
    ]
    for block in map(network.get_submodule, frozen_blocks):
        block.requires_grad_(False)
        for module in block.modules():
            if isinstance(module, BatchNorm2d):
                module.frozen = True
    return len(frozen_blocks)


def set_norm_policy(network: nn.Module, norms: Norms) -> None:
    """Which statistics the batch norms of a network use, and whether they learn."""
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.frozen = norms != "train"


def _shift(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> float:
    """How far these images' means are from the running ones, in their standard deviations: the
    root mean square over channels, averaged over the batch norms of the network as it is."""
    sums: dict[BatchNorm2d, Tensor] = {}

    def see(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, BatchNorm2d)
        sums[norm] = sums.get(norm, torch.zeros(())) + given[0].mean((2, 3)).sum(0).cpu()

    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(see) for norm in norms]
    try:
        _pass(network.eval(), split, preprocessing, device)
    finally:
        for hook in hooks:
            hook.remove()
    away = []
    for norm, total in sums.items():
        assert norm.running_mean is not None and norm.running_var is not None
        apart = total / len(split) - norm.running_mean.cpu()
        away.append((apart.square() / (norm.running_var.cpu() + norm.eps)).mean().sqrt())
    return float(torch.stack(away).mean())


def _reestimate(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> None:
    """Means and variances anew: the means over batches of equal size."""
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
    """Sets the classifier to the logistic regression on pooled features whose penalty serves the
    validation split best."""
    from sklearn.linear_model import LogisticRegression

    body = _Body(network)
    train = images.train.subset(_spread(images.train, PROBED_AT_MOST))
    x = logits_of(body, train, preprocessing, device=device).astype(np.float64)
    held = logits_of(body, images.validation, preprocessing, device=device).astype(np.float64)
    mean, spread = x.mean(0), x.std()  # one scale for all: features that hardly vary stay small
    x, held = (x - mean) / spread, (held - mean) / spread
    found: tuple[float, float, LogisticRegression] | None = None
    for strength in STRENGTHS:
        weights = "balanced" if recipe.class_weights == "balanced" else None
        model = LogisticRegression(C=1 / (strength * len(x)), max_iter=1000, class_weight=weights)
        model.fit(x, train.labels)
        top1 = float(np.mean(model.predict(held) == images.validation.labels))
        if found is None or top1 >= found[0]:  # the stronger penalty where two are equal
            found = (top1, strength, model)
    assert found is not None
    top1, strength, model = found
    weight = np.zeros((len(images.classes), x.shape[1]))
    bias = np.full(len(images.classes), -1e2)  # classes that train has no image of
    rows, offset = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # one row for two classes: half each
        rows, offset = np.stack([-rows[0], rows[0]]) / 2, np.array([-offset[0], offset[0]]) / 2
    weight[model.classes_], bias[model.classes_] = rows / spread, offset - (rows / spread) @ mean
    with torch.no_grad():
        network.classifier.get_parameter("weight").copy_(torch.from_numpy(weight))
        network.classifier.get_parameter("bias").copy_(torch.from_numpy(bias))
    return replace(plan, strength=strength, validation_top1=round(top1, 6))


class _Body(nn.Module):
    """Pooled features of a network."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)


def _spread(split: Split, most: int) -> np.ndarray:
    """At most so many of a split's images, in an order that knows no class."""
    order = Order(len(split), 0).samples(0, len(split))
    return np.sort(order[:most])


def check_start(recipe: Recipe, start_from: Path | str | None) -> None:
    """A recipe that builds on weights needs some."""
    if start_from is None and (recipe.head == "probe" or recipe.norms != "train"):
        raise UsageError(
            "this recipe starts from pretrained weights (`head`, `norms`). Add `pretrained`."
        )
