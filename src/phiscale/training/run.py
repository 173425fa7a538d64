"""`train` behind the verb: pictures looked at, weights found, the recipe grown, then the loop."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.spec import Spec
from phiscale.data.audit import audit, bad_files_error
from phiscale.data.datasets.dataset import BadFile, ImageSet
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.files import read_checked
from phiscale.training import transfer
from phiscale.training.devices import compute_device, sees_colours
from phiscale.training.loop import Runtime, train
from phiscale.training.parallel.processes import ProcessGroup, init_distributed
from phiscale.training.recipes.recipe import Recipe, differences
from phiscale.training.recipes.sizing import scale_recipe
from phiscale.training.recipes.table import RecipeEntry, long_enough
from phiscale.training.schedule import objections
from phiscale.training.state import RUN_FIX
from phiscale.weights.adapt import differing_fields
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.pretrained import original_preprocessing
from phiscale.weights.sources import weights_file
from phiscale.weights.store import read_metadata

logger = logging.getLogger(__name__)

OF_THE_START = {"seed", "lanes", "precision", "micro_batch", "evaluations", "patience"}
"""Fields that no source prints: a recipe is as published with any of these."""


def own_folder(out: Path, mark: str) -> None:
    """Refuses a file, and a folder of other things; `mark` is the file that makes it ours."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file. Give a folder, new or of an earlier start.")
    if not out.is_dir() or (out / mark).exists():
        return
    if any(p.name != ".lock" and p.suffix != ".part" for p in out.iterdir()):
        raise UsageError(f"--out {out} holds other files. Give a new folder.")


def train_run(
    spec: Spec,
    data: str,
    out: Path,
    recipe: Recipe,
    runtime: Runtime,
    *,
    named: RecipeEntry,
    resolution: int | None = None,
    pretrained: str | None = None,
    device: str = "auto",
    on_bad: Literal["stop", "skip"] = "stop",
    published: bool = False,
    checked: ImageSet | None = None,
) -> Path:
    """Trains `spec` on `data` by `recipe`, a variant of the `named` one, which grows with the
    network unless it is to be as `published`; returns the best weights' path. `checked`: those
    data, where every picture has been read already."""
    with init_distributed(compute_device(device), runtime.timeout_s) as (group, compute):
        group.run_on_rank0(lambda: own_folder(out, "recipe.json"))
        transfer.check_start(recipe, pretrained)
        sees_colours(spec, "--model")
        metadata = start_from = None
        if pretrained is not None:
            start_from, metadata = _start(spec, pretrained)
            spec = replace(
                spec, norm_eps=metadata.spec.norm_eps, norm_momentum=metadata.spec.norm_momentum
            )
        images = checked or checked_images(data, out, on_bad, group, runtime.workers)
        pixels = spec.resolution if resolution is None else resolution
        spec = replace(spec, classes=len(images.classes), resolution=pixels)
        asked = recipe
        if published:
            recipe = long_enough(recipe, named, len(images.train))
        if named.sizes is not None:
            recipe = scale_recipe(
                recipe, named.recipe, spec, named.sizes, len(images.train), printed_only=published
            )
        changed = _changed(asked, named) if published else None
        _check_length(recipe, len(images.train), changed)
        flavour = f"tf_{name_of(spec)}"
        if published and flavour in MEMBERS:
            logger.info(
                f"as published but for the network's norms and padding: those are {flavour}'s"
            )
        preprocessing = metadata.preprocessing if metadata is not None else _usual(spec, recipe)
        preprocessing = replace(
            preprocessing, size=spec.resolution
        )  # weights expect their own otherwise
        runtime = replace(runtime, device=compute, group=group)
        return train(out, spec, images, recipe, preprocessing, runtime, start_from=start_from)


def checked_images(
    data: str,
    out: Path,
    on_bad: Literal["stop", "skip"],
    group: ProcessGroup,
    workers: int,
) -> ImageSet:
    """The set, every picture of it read once, by the first process: bad ones stop the run or are
    left out. What a run in `out` was begun with is not read again."""
    images = open_dataset(data)

    def bad() -> tuple[BadFile, ...]:
        if (known := _skipped(images, out)) is not None:
            return known
        found = audit(images, workers=workers)
        if found.bad and on_bad == "stop":
            raise bad_files_error(found)
        return found.bad

    skipped = group.run_on_rank0(bad)
    if skipped:
        logger.info(f"{len(skipped)} unreadable pictures are skipped (data.json lists them)")
    return images.without(skipped)


def _skipped(images: ImageSet, out: Path) -> tuple[BadFile, ...] | None:
    """What the run in `out` has left out of these pictures; None if it holds none of them."""
    if not (out / "data.json").is_file():
        return None
    said = read_checked(out / "data.json", RUN_FIX)
    known = tuple(BadFile(**file) for file in said.get("skipped", ()))
    return known if images.without(known).fingerprint() == said.get("fingerprint") else None


def _usual(spec: Spec, recipe: Recipe) -> Preprocessing:
    """Small pictures whole; photographs as the member's authors prepare them."""
    if recipe.augment.frame == "shift":
        return Preprocessing(size=spec.resolution, crop=1.0)
    member = name_of(spec)
    return original_preprocessing(member) if member else Preprocessing(size=spec.resolution)


def _changed(recipe: Recipe, named: RecipeEntry) -> list[str]:
    """What is no longer as the source prints it."""
    changed = differences(named.recipe.to_dict(), recipe.to_dict())
    return [line for line in changed if line.partition(":")[0] not in OF_THE_START]


def _check_length(recipe: Recipe, train_images: int, changed: list[str] | None) -> None:
    """A training that would end in mid-flight is refused, unless it was published so: `changed`
    then is empty."""
    found = objections(recipe, train_images)
    if not found:
        return
    if changed is None:
        raise UsageError(f"This training is too short for its recipe: {'. '.join(found)}.")
    if changed:
        raise UsageError(
            f"The recipe is no longer as published ({'; '.join(changed)}), and {'. '.join(found)}."
        )
    logger.info(f"as published: {'; '.join(found)}")


def _start(spec: Spec, pretrained: str) -> tuple[Path, ModelMetadata]:
    """The weights to start from, if they are this network's."""
    path = weights_file(pretrained, model=name_of(spec))
    metadata = read_metadata(path)
    like = replace(spec, norm_eps=metadata.spec.norm_eps, norm_momentum=metadata.spec.norm_momentum)
    if names := differing_fields(metadata.spec, like):
        member = metadata.member
        raise UsageError(
            f"--pretrained {pretrained} is {member or 'another network'}, not --model: they "
            f"differ in {', '.join(names)}. Say --model {member or 'SPEC of those weights'}."
        )
    if like != spec:
        logger.info(
            f"norm epsilon {like.norm_eps:g} and momentum {like.norm_momentum:g} are those of "
            "the weights"
        )
    return path, metadata
