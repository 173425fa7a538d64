"""`phiscale.train`: one network trained by a recipe, as a Python call."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.errors import UsageError
from phiscale.pipeline.notebook import default_callbacks
from phiscale.pipeline.run_folder import Run
from phiscale.training.callbacks import AnyCallback
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPE_ENTRIES
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime

logger = logging.getLogger(__name__)


def train(
    model: str | os.PathLike[str] | Spec,
    data: str | os.PathLike[str] | ImageSet,
    out: str | os.PathLike[str],
    recipe: str | Recipe | None = None,
    *,
    pretrained: str | os.PathLike[str] | None = None,
    resolution: int | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    accept_changed_data: bool = False,
    deterministic: bool = False,
    device: str = "auto",
    callbacks: Sequence[AnyCallback] = (),
) -> Run:
    """Trains one network by a recipe into the folder `out`. The same call resumes.

    `model`: a model's name, a spec.json, "file.py:NAME" or a Spec. `data`: an image folder, a named
    set, tar shards or an ImageSet. `recipe`: a name of `RECIPES`, which scales with the network, or
    a Recipe, which stays as it is; by default "finetune" for pretrained weights, else "small-data".
    `pretrained`: weights to start from: a file, a `Run`, "hf-hub:NAME", "torchvision:NAME" or a
    model's name. `resolution`: pixels of a side, by default the network's. `on_bad`: what happens
    to unreadable images. `accept_changed_data`: resume although images were added, removed or
    edited. `deterministic`: the same bits every time on a GPU too, somewhat slower. `callbacks`
    receive the progress.

    Raises UsageError for contradicting arguments, DataError for images that cannot be used,
    CheckpointError where `out` holds another run.
    """
    if recipe is None:
        recipe = "small-data" if pretrained is None else "finetune"
        logger.info(f"recipe: {recipe}")
    entry = None
    if isinstance(recipe, str):
        if recipe not in RECIPE_ENTRIES:
            raise UsageError(f"unknown recipe {recipe!r}. Use one of {', '.join(RECIPE_ENTRIES)}.")
        entry = RECIPE_ENTRIES[recipe]
        recipe = entry.recipe
    request = TrainRequest(
        spec=model if isinstance(model, Spec) else resolve_spec(os.fspath(model)),
        data=data if isinstance(data, ImageSet) else os.fspath(data),
        recipe=recipe,
        entry=entry,
        pretrained=None if pretrained is None else os.fspath(pretrained),
        resolution=resolution,
        on_bad=on_bad,
    )
    runtime = Runtime(
        callbacks=callbacks or default_callbacks(),
        accept_changed_data=accept_changed_data,
        deterministic=deterministic,
    )
    train_run(request, Path(out), runtime, device=device)
    return Run(out)
