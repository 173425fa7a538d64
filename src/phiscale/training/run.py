"""Trains a network by a named recipe: checks the images, finds the weights, scales the recipe."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from phiscale.arch.families import MEMBERS, name_of
from phiscale.arch.ops import operations
from phiscale.arch.spec import Spec
from phiscale.data.audit import audit, files_to_skip
from phiscale.data.datasets.dataset import BadFile, ImageSet
from phiscale.data.datasets.open import as_image_set
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError
from phiscale.files import check_out_folder, differences, read_checked
from phiscale.files.run_files import DATA, RECIPE
from phiscale.files.values import check_at_least, check_one_of, check_range
from phiscale.training.devices import compute_device, require_rgb
from phiscale.training.loop import train
from phiscale.training.parallel.processes import ProcessGroup, init_distributed
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.sizing import scale_recipe
from phiscale.training.recipes.table import RecipeEntry, long_enough
from phiscale.training.runtime import Runtime
from phiscale.training.schedule import find_problems
from phiscale.training.state import RUN_FIX
from phiscale.training.transfer import check_start
from phiscale.weights.adapt import differing_fields
from phiscale.weights.header import read_metadata
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.pretrained import original_preprocessing
from phiscale.weights.sources import weights_file

logger = logging.getLogger(__name__)

NOT_PUBLISHED = {"seed", "lanes", "precision", "micro_batch", "evaluations", "patience"}
"""Fields that no source states: a recipe counts as published with any value of these."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is trained on which data, and from which weights."""

    spec: Spec
    data: str | ImageSet  # image folder, named set, tar shards, or a set that is open already
    recipe: Recipe
    entry: RecipeEntry | None = None  # the recipe's origin, by which it scales; None: it stays
    as_published: bool = False  # keep to what the entry's source states
    pretrained: str | None = None  # weights to start from: a source as for `import`
    resolution: int | None = None  # pixels a side; None: the network's own
    on_bad: Literal["stop", "skip"] = "stop"  # what an unreadable image does
    max_megapixels: float | None = None  # above them an image is unreadable; None: 64
    value_range: tuple[float, float] | None = None  # of deep grey images; None: what they use
    audited: bool = False  # whether every image of `data` has been read before

    def __post_init__(self) -> None:
        check_at_least(1, resolution=self.resolution)
        check_one_of(("stop", "skip"), on_bad=self.on_bad)
        check_range(value_range=self.value_range)


def train_run(
    request: TrainRequest, out: Path, runtime: Runtime | None = None, *, device: str = "auto"
) -> Path:
    """Trains a network into the folder `out`; returns the path of its best weights.

    Reads every image once, adapts the recipe to the network and the number of images, and trains.
    Called again with the same arguments it resumes. `device` (auto, cpu, cuda, mps) replaces
    `runtime.device`. Raises UsageError where the arguments contradict each other, DataError where
    images cannot be read, CheckpointError where `out` holds another run.
    """
    runtime = runtime or Runtime()
    with init_distributed(compute_device(device), runtime.timeout_s) as (group, local_device):
        group.run_on_rank0(lambda: check_out_folder(out, RECIPE))
        check_start(request.recipe, request.pretrained)
        require_rgb(request.spec, "`model`")
        _check_norms(request.recipe, request.spec, request.resolution or request.spec.resolution)
        start_from, metadata = _start(request.spec, request.pretrained)
        images, value_range = _images(request, out, group, runtime.workers)
        spec = _adapted_spec(request, metadata, len(images.classes))
        recipe = _adapted_recipe(request, spec, len(images.train))
        preprocessing = metadata.preprocessing if metadata else _default_preprocessing(spec, recipe)
        # pretrained weights expect their own size otherwise
        preprocessing = replace(preprocessing, size=spec.resolution, value_range=value_range)
        runtime = replace(runtime, device=local_device, group=group)
        return train(out, spec, images, recipe, preprocessing, runtime, start_from=start_from)


def _check_norms(recipe: Recipe, spec: Spec, resolution: int) -> None:
    """Raises UsageError where a batch norm would see one value a channel, which has no variance."""
    if recipe.norms != "train" or recipe.images_at_once // recipe.lanes > 1:
        return
    side = recipe.pixels(resolution, 0.0)  # images are smallest at the start
    sizes = operations(replace(spec, resolution=side))
    if all(each.side > 1 for each in sizes if each.kind == "norm"):
        return
    fix = f"batch={2 * recipe.lanes}"
    if recipe.micro_batches > 1:  # must divide the batch
        enough = range(2 * recipe.lanes, recipe.batch)
        fix = f"micro_batch={next((n for n in enough if recipe.batch % n == 0), recipe.batch)}"
    raise UsageError(
        f"With one image at once in a lane and {side} px a batch norm sees one value a channel, "
        f"which has no variance. Use `{fix}` or more, or a larger `resolution`."
    )


def _images(
    request: TrainRequest, out: Path, group: ProcessGroup, workers: int
) -> tuple[ImageSet, tuple[float, float] | None]:
    """Returns the readable images of the request, and the range of their grey values.

    The first process reads each image once; unreadable ones stop the run or are left out. Images
    that the run in `out` has read before are not read again.
    """
    images = as_image_set(request.data, max_megapixels=request.max_megapixels)
    if request.audited:
        return images, request.value_range

    def find_bad() -> tuple[tuple[BadFile, ...], tuple[float, float] | None]:
        if (before := _skipped(images, out)) is not None:
            return before, _range_before(out)
        audited = audit(images, workers=workers)
        is_new = not (out / DATA).is_file()
        value_range = audited.value_range if is_new else _range_before(out)
        return files_to_skip(audited, request.on_bad), value_range

    bad, value_range = group.run_on_rank0(find_bad)
    if bad:
        logger.warning(f"{len(bad)} unreadable images are skipped (data.json lists them)")
    return images.without(bad), request.value_range or value_range


def _skipped(images: ImageSet, out: Path) -> tuple[BadFile, ...] | None:
    """Returns the images that the run in `out` skips; None if it was started on other images."""
    if not (out / DATA).is_file():
        return None
    stored = read_checked(out / DATA, RUN_FIX)
    skipped = tuple(BadFile(**file) for file in stored.get("skipped", ()))
    return skipped if images.without(skipped).fingerprint() == stored.get("fingerprint") else None


def _range_before(out: Path) -> tuple[float, float] | None:
    """Returns the range of grey values that the run in `out` was started with."""
    stored = read_checked(out / DATA, RUN_FIX)
    return Preprocessing.from_dict(stored.get("preprocessing"), str(out / DATA)).value_range


def _start(spec: Spec, pretrained: str | None) -> tuple[Path | None, ModelMetadata | None]:
    """Returns file and metadata of the start weights; raises UsageError if they do not fit."""
    if pretrained is None:
        return None, None
    path = weights_file(pretrained, model=name_of(spec))
    metadata = read_metadata(path)
    if names := differing_fields(metadata.spec, _with_norms_of(metadata, spec)):
        member = metadata.member
        use = f"`model={member}`" if member else "the spec of those weights as `model`"
        raise UsageError(
            f"pretrained={pretrained!r} is {member or 'another network'}, not `model`: they "
            f"differ in {', '.join(names)}. Use {use}."
        )
    if _with_norms_of(metadata, spec) != spec:
        logger.info(
            f"norm epsilon {metadata.spec.norm_eps:g} and momentum "
            f"{metadata.spec.norm_momentum:g} are those of the weights"
        )
    return path, metadata


def _with_norms_of(metadata: ModelMetadata, spec: Spec) -> Spec:
    weights = metadata.spec
    return replace(spec, norm_eps=weights.norm_eps, norm_momentum=weights.norm_momentum)


def _adapted_spec(request: TrainRequest, metadata: ModelMetadata | None, classes: int) -> Spec:
    spec = _with_norms_of(metadata, request.spec) if metadata else request.spec
    return replace(spec, classes=classes, resolution=request.resolution or spec.resolution)


def _adapted_recipe(request: TrainRequest, spec: Spec, train_images: int) -> Recipe:
    """Returns the recipe scaled to network and number of images; refuses one that is too short."""
    recipe, entry = request.recipe, request.entry
    changed = None
    if entry is not None:
        if request.as_published:
            recipe = long_enough(recipe, entry, train_images)
            changed = _changed(request.recipe, entry)
        if entry.scaling is not None:
            recipe = scale_recipe(
                recipe,
                entry.recipe,
                spec,
                entry.scaling,
                train_images,
                as_published=request.as_published,
            )
    _check_length(recipe, train_images, changed)
    if request.as_published and (flavour := f"tf_{name_of(spec)}") in MEMBERS:
        logger.info(f"as published but for the network's norms and padding: those are {flavour}'s")
    return recipe


def _changed(recipe: Recipe, entry: RecipeEntry) -> list[str]:
    """Returns the fields that differ from what the source states."""
    changed = differences(entry.recipe.to_dict(), recipe.to_dict())
    return [str(each) for each in changed if each.name not in NOT_PUBLISHED]


def _check_length(recipe: Recipe, train_images: int, changed: list[str] | None) -> None:
    """Raises UsageError if the training is too short for its learning rate or its EMA.

    A published recipe is accepted as it is. `changed` lists its differences from the source; None
    means that it need not be as published.
    """
    problems = find_problems(recipe, train_images)
    if not problems:
        return
    if changed is None:
        raise UsageError(f"This training is too short for its recipe: {'. '.join(problems)}.")
    if changed:
        raise UsageError(
            f"The recipe is no longer as published ({'; '.join(changed)}), and "
            f"{'. '.join(problems)}."
        )
    logger.info(f"as published: {'; '.join(problems)}")


def _default_preprocessing(spec: Spec, recipe: Recipe) -> Preprocessing:
    """Returns whole images for frame=shift, else the preprocessing of the model's authors."""
    if recipe.augment.frame == "shift":
        return Preprocessing(size=spec.resolution, crop=1.0)
    member = name_of(spec)
    return original_preprocessing(member) if member else Preprocessing(size=spec.resolution)
