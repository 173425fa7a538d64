"""Metrics of an evaluation, computed from logits: numpy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics as fractions in [0, 1]. `interval` is Wilson's for top-1 at 95 %."""

    images: int
    top1: float
    top5: float
    interval: tuple[float, float]
    macro_f1: float
    cross_entropy: float
    calibration_error: float  # expected, 15 bins of confidence
    majority: float  # top-1 of always predicting the most frequent class
    per_class: tuple[dict[str, Any], ...]  # name, images, precision, recall, f1
    confusion: tuple[tuple[int, ...], ...]  # rows: truth, columns: predicted

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def measure(
    logits: NDArray[np.floating], labels: NDArray[np.integer], classes: tuple[str, ...]
) -> Metrics:
    """Returns the metrics of logits, shape (images, classes), against integer labels."""
    images, count = logits.shape
    probabilities = softmax(logits.astype(np.float64))
    predicted = logits.argmax(axis=1)
    correct = predicted == labels
    # rank of the true class; ties count against us, so that constant logits score nothing
    rank = (logits >= logits[np.arange(images), labels][:, None]).sum(axis=1)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    truths, predictions, hits = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    recall = np.divide(hits, truths, out=np.zeros(count), where=truths > 0)
    precision = np.divide(hits, predictions, out=np.zeros(count), where=predictions > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros(count), where=both > 0)
    true_probability = np.clip(probabilities[np.arange(images), labels], 1e-12, 1)
    return Metrics(
        images=images,
        top1=float(correct.mean()),
        top5=float((rank <= 5).mean()),
        interval=wilson(int(correct.sum()), images),
        macro_f1=float(f1[truths > 0].mean()),
        cross_entropy=float(-np.log(true_probability).mean()),
        calibration_error=_calibration_error(probabilities.max(axis=1), correct),
        majority=float(truths.max() / images),
        per_class=tuple(
            {
                "name": name,
                "images": int(truths[i]),
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
            }
            for i, name in enumerate(classes)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a share (1927): sane at 0, 1 and for few trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z * z / trials
    middle = (share + z2 / 2) / (1 + z2)
    half = z * sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def _calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """Returns the mean gap of confidence and accuracy over bins (Guo et al., arXiv:1706.04599)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[which == b].mean() - correct[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))
