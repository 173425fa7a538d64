"""The linear probe: the best linear classifier on the frozen features of pretrained weights.

Fine-tuning starts from it, so that it does not begin by distorting them (Kumar et al.,
arXiv:2202.10054).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phiscale.data.datasets.dataset import Split
from phiscale.data.order import Order
from phiscale.data.preprocessing import Preprocessing
from phiscale.nn.network import Network
from phiscale.training.evaluate import logits_of

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # of the penalty; validation selects one
TOLERANCE = 1e-3  # more exact solutions take four times as long, with the same accuracy

Features = NDArray[np.float64]  # (images, channels)
Labels = NDArray[np.int64]  # (images,)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A linear classifier on pooled features, and what validation says of it."""

    weight: NDArray[np.float64]  # (classes, channels)
    bias: NDArray[np.float64]  # (classes,)
    strength: float  # of its penalty
    validation_top1: float

    def set_classifier(self, network: Network) -> None:
        """Makes this the classifier of the network whose features it was fitted to."""
        with torch.no_grad():
            network.classifier.get_parameter("weight").copy_(torch.from_numpy(self.weight))
            network.classifier.get_parameter("bias").copy_(torch.from_numpy(self.bias))


def pooled_features(
    network: Network, split: Split, preprocessing: Preprocessing, device: torch.device
) -> Features:
    """Returns the pooled features of a split's images: (images, channels)."""
    features = logits_of(_Body(network), split, preprocessing, device=device)
    return features.astype(np.float64)


def fit_probe(
    train: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    *,
    classes: int,
    balanced: bool = False,
) -> LinearProbe:
    """Fits a logistic regression; its penalty is the one with the best validation accuracy.

    `balanced`: all classes count alike. Classes without a training image get a bias that never
    wins.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    (x, labels), (x_validation, labels_validation) = train, validation
    mean, spread = x.mean(0), x.std()  # one scale for all: features that hardly vary stay small
    x, x_validation = (x - mean) / spread, (x_validation - mean) / spread
    model = LogisticRegression(
        max_iter=1000,
        tol=TOLERANCE,
        class_weight="balanced" if balanced else None,
        warm_start=True,  # each fit starts from that of the next stronger penalty
    )
    best: tuple[float, float, Features, Features] | None = None
    with threadpool_limits(1):  # such small matrices: more threads wait for each other
        for strength in STRENGTHS:
            model.set_params(C=1 / (strength * len(x))).fit(x, labels)
            top1 = float(np.mean(model.predict(x_validation) == labels_validation))
            if best is None or top1 > best[0]:  # the stronger penalty where two are equal
                best = (top1, strength, np.array(model.coef_), np.array(model.intercept_))
    assert best is not None
    top1, strength, rows, offset = best
    weight = np.zeros((classes, x.shape[1]))
    bias = np.full(classes, -1e2)
    if len(model.classes_) == 2:  # one row for two classes: half each
        rows, offset = np.stack([-rows[0], rows[0]]) / 2, np.array([-offset[0], offset[0]]) / 2
    weight[model.classes_], bias[model.classes_] = rows / spread, offset - (rows / spread) @ mean
    return LinearProbe(weight=weight, bias=bias, strength=strength, validation_top1=top1)


def drawn(split: Split, most: int) -> Split:
    """Returns at most `most` images of a split, drawn at random, always the same ones."""
    order = Order(len(split), 0).samples(0, len(split))
    return split.subset(np.sort(order[:most]))


class _Body(nn.Module):
    """The pooled features of a network."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)
