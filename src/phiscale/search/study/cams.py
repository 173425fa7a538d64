"""Where the arms look (the paper's figure 7): maps of the same test pictures, an arm a column.

The report holds the maps alone. cams.html has the pictures under them and stays with whoever has
the pictures: not every set may be passed on.
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
from matplotlib.figure import Figure
from PIL import Image

from phiscale.data.datasets.dataset import Split
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError
from phiscale.nn.cam import class_activation_maps, enlarge, overlay
from phiscale.report.page import Drawing, Section
from phiscale.report.svg import STYLE, any_letters
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.study.plan import Outcome, ScalingStudy
from phiscale.text import printable
from phiscale.weights.sources import load

MOST_PICTURES = 6
WORDS = (
    "Class activation maps (arXiv:1512.04150) of the true class, first seed; bright = speaks for "
    "it. The pictures were fixed beforehand: the first test picture of each class."
)


@dataclass(frozen=True)
class Cams:
    """The section of the report, and the page with the pictures."""

    section: Section
    page: str


def cams(plan: ScalingStudy, outcome: Outcome, runner: RunnerConfig) -> Cams | None:
    """Nothing where the weights or the pictures are elsewhere."""
    runs = {arm.name: runner.run_of(outcome.of(arm.name)[0].key) for arm in plan.arms}
    trained = {name: run for name, run in runs.items() if run is not None}
    try:
        images = open_dataset(plan.conditions.data)
    except PhiscaleError:  # statistics can be done again without them
        return None
    if not trained:
        return None
    chosen = list(_first_of_each_class(images.test))[:MOST_PICTURES]
    classes = [images.classes[int(images.test.labels[number])] for number in chosen]
    columns = {name: _maps(run, images.test, chosen) for name, run in trained.items()}
    bare, over = (
        _drawn(
            {name: [pair[which] for pair in column] for name, column in columns.items()}, classes
        )
        for which in (0, 1)
    )
    note = "cams.html has them over the pictures."
    section = Section(title="Where the arms look", text=[WORDS], figures=[bare], note=note)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{section.title}</title>'
        f"<h1>{section.title}</h1><p>{html.escape(WORDS)}</p>{over.markup}</html>\n"
    )
    return Cams(section, page)


def _first_of_each_class(split: Split) -> Iterator[int]:
    for label in np.unique(split.labels):
        yield int(np.flatnonzero(split.labels == label)[0])


def _maps(run: Path, split: Split, chosen: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """uint8 H W 3 of each picture: the map over grey, and over the picture."""
    network = load(run / "best.safetensors")
    take = network.preprocessing
    drawn = []
    for number in chosen:
        picture = split.image(number, background=take.background)
        x = torch.from_numpy(take(picture))[None]
        label = torch.tensor([int(split.labels[number])])
        cam = class_activation_maps(network, x, label)[0].numpy()
        grey = np.full((take.size, take.size, 3), 90, np.uint8)
        seen = np.asarray(take.crop_and_resize(picture))
        drawn.append((overlay(enlarge(grey), cam), overlay(enlarge(seen), cam)))
    return drawn


def _drawn(cells: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str]) -> Drawing:
    """A grid as PNG: an arm a column, a picture a row."""
    with rc_context(STYLE):
        figure = Figure(figsize=(0.4 + len(cells), 0.3 + len(classes)), layout="compressed")
        grid = figure.subplots(len(classes), len(cells), squeeze=False)
        for column, (arm, drawn) in enumerate(cells.items()):
            for row, pixels in enumerate(drawn):
                axes = grid[row, column]
                axes.imshow(pixels)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(arm, loc="center", weight="normal", size=8)
                if column == 0:
                    axes.set_ylabel(printable(classes[row]), size=8)
        whole, small = io.BytesIO(), io.BytesIO()
        with any_letters():
            figure.savefig(whole, format="png", dpi=110, metadata={"Software": None})
    Image.open(whole).convert("RGB").quantize(96).save(small, "PNG", optimize=True)
    return Drawing("maps", "Class activation maps, an arm a column", small.getvalue())
