"""Class activation maps of the arms (the paper's Figure 7): a column for each arm.

The report holds the maps alone. cams.html shows them over the images and stays with whoever has the
images, since not every image set may be passed on.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.datasets.dataset import Split
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError
from phiscale.files.run_files import WEIGHTS
from phiscale.nn.cam import class_activation_maps, enlarge, overlay
from phiscale.report.page import Drawing, Section
from phiscale.report.svg import STYLE, any_letters
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.text import printable
from phiscale.weights.sources import load

MAX_IMAGES = 6
TITLE = "Class activation maps"
TEXT = (
    "Class activation maps (arXiv:1512.04150) of the true class, first seed; bright areas count "
    "for it. The images were fixed beforehand: the first test image of each class."
)
NOTE = "cams.html shows them over the images."


@dataclass(frozen=True)
class Cams:
    """The section of the report, and the page with the images."""

    section: Section
    page: str


def draw_cams(plan: ScalingStudy, outcome: Outcome, runner: RunnerConfig) -> Cams | None:
    """Draws the maps; None where the weights or the images are on another machine."""
    runs = {arm.name: runner.run_of(outcome.of(arm.name)[0].key) for arm in plan.arms}
    trained = {name: run for name, run in runs.items() if run is not None}
    try:
        images = open_dataset(plan.conditions.data)
    except PhiscaleError:  # the statistics can be repeated without them
        return None
    if not trained:
        return None
    numbers = list(_first_of_each_class(images.test))[:MAX_IMAGES]
    classes = [images.classes[int(images.test.labels[number])] for number in numbers]
    pairs = {name: _maps(run, images.test, numbers) for name, run in trained.items()}
    maps, overlays = (
        _draw_grid({name: [pair[index] for pair in arm] for name, arm in pairs.items()}, classes)
        for index in (0, 1)
    )
    section = Section(title=TITLE, text=[TEXT], figures=[maps], note=NOTE)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{TITLE}</title>'
        f"<h1>{TITLE}</h1><p>{html.escape(TEXT)}</p>{overlays.markup}</html>\n"
    )
    return Cams(section, page)


def _first_of_each_class(split: Split) -> Iterator[int]:
    for label in np.unique(split.labels):
        yield int(np.flatnonzero(split.labels == label)[0])


def _maps(
    run: Path, split: Split, numbers: Sequence[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """For each image, uint8 of shape (H, W, 3): the map over grey, and over the image."""
    network = load(run / WEIGHTS)
    preprocessing = network.preprocessing
    size = preprocessing.size
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number in numbers:
        image = split.image(number, preprocessing.decode_options)
        x = torch.from_numpy(preprocessing(image))[None]
        label = torch.tensor([int(split.labels[number])])
        cam = class_activation_maps(network, x, label)[0].numpy()
        grey = np.full((size, size, 3), 90, np.uint8)
        cropped = np.asarray(preprocessing.crop_and_resize(image))
        pairs.append((overlay(enlarge(grey), cam), overlay(enlarge(cropped), cam)))
    return pairs


def _draw_grid(
    columns: Mapping[str, Sequence[NDArray[np.uint8]]], classes: Sequence[str]
) -> Drawing:
    """A grid as PNG: a column for each arm, a row for each image."""
    with rc_context(STYLE):
        figure = Figure(figsize=(0.4 + len(columns), 0.3 + len(classes)), layout="compressed")
        grid = figure.subplots(len(classes), len(columns), squeeze=False)
        for column, (arm, images) in enumerate(columns.items()):
            grid[0, column].set_title(arm, loc="center", weight="normal", size=8)
            for row, pixels in enumerate(images):
                _draw_cell(grid[row, column], pixels)
        for row, name in enumerate(classes):
            grid[row, 0].set_ylabel(printable(name), size=8)
        whole, small = io.BytesIO(), io.BytesIO()
        with any_letters():
            figure.savefig(whole, format="png", dpi=110, metadata={"Software": None})
    Image.open(whole).convert("RGB").quantize(96).save(small, "PNG", optimize=True)
    return Drawing("maps", "Class activation maps, a column for each arm", small.getvalue())


def _draw_cell(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(pixels)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
