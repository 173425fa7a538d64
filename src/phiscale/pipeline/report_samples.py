"""Chooses the test images that the report of a `fit` shows, and draws them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.datasets.dataset import Split
from phiscale.nn.cam import class_activation_maps, overlay
from phiscale.nn.network import Network
from phiscale.report.report_data import LEAST_CAM_CELLS, Sample, layer_rows

SAMPLES_A_KIND = 12  # right ones, and wrong ones
SAMPLES_A_CONFUSION = 2  # wrong ones of the same true and predicted class
SHOWN_PIXELS = 192


def sample_predictions(network: Network, test: Split, table: Path) -> tuple[Sample, ...]:
    """Returns the surest right predictions of different classes, and the surest wrong ones."""
    preprocessing, classes = network.preprocessing, network.metadata.classes
    predicted, probabilities = _predictions(table, classes)
    truth = test.labels
    order = np.argsort(-probabilities, kind="stable")
    wrong = _few_a_confusion([int(i) for i in order if predicted[i] != truth[i]], truth, predicted)
    right = _in_rounds([int(i) for i in order if predicted[i] == truth[i]], truth)
    has_map = layer_rows(network.spec)[-2].side >= LEAST_CAM_CELLS
    samples = []
    for i in [*right[:SAMPLES_A_KIND], *wrong[:SAMPLES_A_KIND]]:
        image = test.image(i, preprocessing.decode_options)
        # drawn with the pixels it has, up to what a page shows, not with the network's few
        side = max(preprocessing.size, int(preprocessing.crop * min(image.size)))
        shown = replace(preprocessing, size=min(SHOWN_PIXELS, side))
        pixels = np.asarray(shown.crop_and_resize(image))
        heat = _heat(network, image, int(predicted[i])) if has_map else None
        samples.append(
            Sample(
                image=pixels,
                cam_overlay=None if heat is None else overlay(pixels, heat),
                truth=classes[int(truth[i])],
                predicted=classes[int(predicted[i])],
                probability=float(probabilities[i]),
                right=bool(predicted[i] == truth[i]),
                key=test.keys[i],
            )
        )
    return tuple(samples)


def _heat(network: Network, image: Image.Image, label: int) -> NDArray[np.float32]:
    x = torch.from_numpy(network.preprocessing(image))[None]
    return class_activation_maps(network, x, torch.tensor([label]))[0].numpy()


def _few_a_confusion(
    indices: Sequence[int], truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> list[int]:
    """Returns the first indices of each pair of true and predicted class, in their order."""
    seen: Counter[tuple[int, int]] = Counter()
    kept = []
    for i in indices:
        pair = int(truth[i]), int(predicted[i])
        seen[pair] += 1
        if seen[pair] <= SAMPLES_A_CONFUSION:
            kept.append(i)
    return kept


def _predictions(
    table: Path, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns each test image's predicted class and its probability, in the split's order."""
    numbers = {name.encode(errors="backslashreplace").decode(): i for i, name in enumerate(classes)}
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(numbers[row["predicted"]], row["probability"]) for row in csv.DictReader(file)]
    predicted, probabilities = zip(*rows, strict=True)
    return np.array(predicted, dtype=np.int64), np.array(probabilities, dtype=np.float64)


def _in_rounds(indices: Sequence[int], labels: NDArray[np.int64]) -> list[int]:
    """Yields the indices in rounds, each with one of every class."""
    by_class: dict[int, list[int]] = {}
    for i in indices:
        by_class.setdefault(int(labels[i]), []).append(i)
    longest = max(map(len, by_class.values()), default=0)
    return [
        group[n] for n in range(longest) for _, group in sorted(by_class.items()) if n < len(group)
    ]
