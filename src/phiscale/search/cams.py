"""Where the arms look (the paper's figure 7): maps of the same test pictures, an arm a column.

The report holds the maps alone. cams.html has the pictures under them and stays with whoever has
the pictures: not every set may be passed on.
"""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from phiscale.analysis.cam import class_activation_maps, enlarged, overlay
from phiscale.analysis.page import Section, png
from phiscale.analysis.svg import STYLE
from phiscale.data.sources import open_images
from phiscale.data.splits import Split
from phiscale.data.wording import shown
from phiscale.errors import PhiscaleError
from phiscale.search.settle import Outcome, Settle
from phiscale.search.workers import Crew
from phiscale.weights.sources import load

MOST_PICTURES = 6
WORDS = (
    "Class activation maps (arXiv:1512.04150) of the true class, first seed; bright = speaks for "
    "it. The pictures were fixed beforehand: the first test picture of each class."
)


def cam_section(plan: Settle, outcome: Outcome, crew: Crew) -> list[Section]:
    """The maps without the pictures, or nothing where the weights are elsewhere."""
    grid = _grid(plan, outcome, crew, pictures=False)
    note = "cams.html has them over the pictures."
    return (
        [Section(title="Where the arms look", text=[WORDS], figures=[grid], note=note)]
        if grid
        else []
    )


def cam_page(plan: Settle, outcome: Outcome, crew: Crew) -> str | None:
    """A page of its own, with the pictures."""
    grid = _grid(plan, outcome, crew, pictures=True)
    if grid is None:
        return None
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Where the arms look'
        f"</title><h1>Where the arms look</h1><p>{html.escape(WORDS)}</p>{grid}</html>\n"
    )


def _grid(plan: Settle, outcome: Outcome, crew: Crew, *, pictures: bool) -> str | None:
    runs = {arm.name: crew.run_of(outcome.of(arm.name)[0].key) for arm in plan.arms}
    columns = {name: run for name, run in runs.items() if run is not None}
    try:
        images = open_images(plan.data)
    except PhiscaleError:  # statistics can be done again without them
        return None
    if not columns:
        return None
    chosen = list(_first_of_each_class(images.test))[:MOST_PICTURES]
    classes = [images.classes[int(images.test.labels[number])] for number in chosen]
    cells = {name: _maps(run, images.test, chosen, pictures) for name, run in columns.items()}
    return png(_drawn(cells, classes), "maps", "Class activation maps, an arm a column")


def _first_of_each_class(split: Split) -> Iterator[int]:
    for label in np.unique(split.labels):
        yield int(np.flatnonzero(split.labels == label)[0])


def _maps(run: Path, split: Split, chosen: list[int], pictures: bool) -> list[np.ndarray]:
    """uint8 H W 3 of each picture."""
    network = load(run / "best.safetensors")
    take = network.preprocessing
    drawn = []
    for number in chosen:
        picture = split.image(number, background=take.background)
        x = torch.from_numpy(take(picture))[None]
        label = torch.tensor([int(split.labels[number])])
        cam = class_activation_maps(network, x, label)[0].numpy()
        seen = np.asarray(take.crop_and_resize(picture)) if pictures else _grey(take.size)
        drawn.append(overlay(enlarged(seen), cam))
    return drawn


def _grey(size: int) -> np.ndarray:
    return np.full((size, size, 3), 90, np.uint8)


def _drawn(cells: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str]) -> bytes:
    """PNG of a grid: an arm a column, a picture a row."""
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
                    axes.set_ylabel(shown(classes[row]), size=8)
        whole, small = io.BytesIO(), io.BytesIO()
        with warnings.catch_warnings():  # a class may be called by letters that the font lacks
            warnings.filterwarnings("ignore", message="Glyph|.*missing from font")
            figure.savefig(whole, format="png", dpi=110, metadata={"Software": None})
    Image.open(whole).convert("RGB").quantize(96).save(small, "PNG", optimize=True)
    return small.getvalue()
