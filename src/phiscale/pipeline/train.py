"""`phiscale.train`: one network trained by a recipe, as a Python call."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.errors import UsageError
from phiscale.pipeline.notebook import default_callbacks
from phiscale.pipeline.run_folder import Run
from phiscale.training.callbacks import AnyCallback, check_callbacks
from phiscale.training.ownership import is_first_process
from phiscale.training.parallel.processes import TIMEOUT_S
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RecipeEntry, recipe_entry
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime
from phiscale.training.trackers import TRACKERS, Tracker

logger = logging.getLogger(__name__)

TrackerName = Literal["mlflow", "wandb"]


def train(
    model: str | os.PathLike[str] | Spec,
    data: str | os.PathLike[str] | ImageSet,
    out: str | os.PathLike[str],
    recipe: str | Recipe | None = None,
    *,
    variant_of: str | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    as_published: bool = False,
    pretrained: str | os.PathLike[str] | None = None,
    resolution: int | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    max_megapixels: float | None = None,
    value_range: tuple[float, float] | None = None,
    accept_changed_data: bool = False,
    device: str = "auto",
    deterministic: bool = False,
    workers: int = 2,
    keep: int = 2,
    timeout_s: float = TIMEOUT_S,
    callbacks: Sequence[AnyCallback] = (),
    track: Sequence[TrackerName | Tracker] = (),
) -> Run:
    """Trains one network by a recipe into the folder `out`. The same call resumes.

    `model`: a model's name, a spec.json, "file.py:NAME" or a Spec. `data`: an image folder, a named
    set, tar shards or an ImageSet. `pretrained`: weights to start from: a file, a `Run`,
    "hf-hub:NAME", "torchvision:NAME" or a model's name. `resolution`: pixels of a side, by default
    the network's.

    `recipe`: a name of `RECIPES`, which scales with the network and the number of images, or a
    Recipe, which stays as it is; by default "finetune" for pretrained weights, else "small-data".
    `variant_of`: the name of the recipe that a Recipe was made from: what is not changed scales as
    in that one, as in `recipe=replace(RECIPES["photos"], batch=64), variant_of="photos"`. `epochs`,
    `seed`: replace those of the recipe. `as_published`: use the recipe as its source prints it,
    with its flaws.

    `on_bad`: what happens to unreadable images. `max_megapixels`: size above which an image counts
    as unreadable, by default 64. `value_range`: values of black and white in grey images of more
    than eight bits, by default those that the training images use. `accept_changed_data`:
    resume although images were added, removed or edited. `deterministic`: the same bits every time
    on a GPU too, somewhat slower. `workers`: threads that read images. `keep`: number of
    checkpoints to keep. `timeout_s`: heartbeat timeout of a process in seconds. `callbacks` receive
    the progress.
    `track`: "mlflow", "wandb" or a Tracker, besides TensorBoard.

    Raises UsageError for contradicting arguments, DataError for images that cannot be used,
    CheckpointError where `out` holds another run.
    """
    check_callbacks(callbacks)
    if not isinstance(recipe, Recipe | str | None):
        raise UsageError(f"recipe={recipe!r} is neither a name nor a Recipe. Use one.")
    if recipe is None:
        recipe = "small-data" if pretrained is None else "finetune"
        logger.info(f"recipe: {recipe}")
    recipe, entry = _recipe_and_origin(recipe, variant_of, as_published)
    request = TrainRequest(
        spec=model if isinstance(model, Spec) else resolve_spec(os.fspath(model)),
        data=data if isinstance(data, ImageSet) else os.fspath(data),
        recipe=replace(
            recipe,
            epochs=recipe.epochs if epochs is None else epochs,
            seed=recipe.seed if seed is None else seed,
        ),
        entry=entry,
        as_published=as_published,
        pretrained=None if pretrained is None else os.fspath(pretrained),
        resolution=resolution,
        on_bad=on_bad,
        max_megapixels=max_megapixels,
        value_range=value_range,
    )
    runtime = Runtime(
        workers=workers,
        keep=keep,
        timeout_s=timeout_s,
        callbacks=callbacks or default_callbacks(),
        trackers=_trackers(track),
        accept_changed_data=accept_changed_data,
        deterministic=deterministic,
    )
    train_run(request, Path(out), runtime, device=device)
    return Run(out, check=is_first_process())


def _recipe_and_origin(
    recipe: str | Recipe, variant_of: str | None, as_published: bool
) -> tuple[Recipe, RecipeEntry | None]:
    """Returns the recipe and the entry by which it scales; None for one that stays as it is."""
    if isinstance(recipe, str):
        if variant_of is not None:
            raise UsageError(
                f"recipe={recipe!r} is a name, and `variant_of` is for a Recipe. Drop one."
            )
        entry = recipe_entry(recipe, as_published=as_published)
        return entry.recipe, entry
    if variant_of is not None:
        return recipe, recipe_entry(variant_of, as_published=as_published)
    if as_published:
        raise UsageError(
            "`as_published` needs a source: use the name of a recipe, or name it in `variant_of`."
        )
    return recipe, None


def _trackers(track: Sequence[TrackerName | Tracker]) -> tuple[Tracker, ...]:
    """Returns the trackers, in the process that writes to them."""
    if not is_first_process():
        return ()
    if unknown := [each for each in track if isinstance(each, str) and each not in TRACKERS]:
        raise UsageError(f"track={unknown[0]!r} is unknown. Use one of {', '.join(TRACKERS)}.")
    return tuple(TRACKERS[each]() if isinstance(each, str) else each for each in track)
