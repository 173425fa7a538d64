"""Imports weights of another library into a file of phiscale's own format."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from phiscale.arch.families import MEMBERS, get_spec
from phiscale.data.preprocessing import Preprocessing, triple
from phiscale.errors import SpecError, UsageError, WeightsError
from phiscale.weights.aliases import network_names
from phiscale.weights.formats import ForeignWeights, check_values, read_foreign
from phiscale.weights.imagenet import class_names
from phiscale.weights.locate import WeightsSource, locate, path_of, refuse_tag
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.peers import NetworkMatch, library_of, recognise, to_ours
from phiscale.weights.pretrained import (
    PretrainedWeights,
    original_preprocessing,
    weights_of_member,
)
from phiscale.weights.store import is_ours, save

logger = logging.getLogger(__name__)


def import_weights(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str = "",
    classes: Sequence[str] = (),
) -> ModelMetadata:
    """Writes weights of another library as a file of phiscale's, and returns its metadata.

    Args:
        source: a file of timm's, torchvision's, lukemelas', Keras's or TensorFlow's, a folder of a
            hub repository, `hf-hub:NAME`, `torchvision:NAME`, or a model's name with or without a
            tag.
        out: the .safetensors file to write.
        model: name of the model, where the source's names and shapes fit several.
        classes: a name for each class, where the source has none.

    Logs what had to be assumed. Raises WeightsError for weights that fit no network or cannot be
    read, UsageError for a wrong name and where `out` is the source.
    """
    source, out = os.fspath(source), Path(out)
    _check_model(model)
    if out.suffix != ".safetensors":
        raise UsageError(f"out='{out}' would hold safetensors. Name it {out.stem}.safetensors.")
    check_output(out, source)
    if is_ours(path_of(source)):
        raise UsageError(f"{source} is phiscale's already. Use it as it is, or copy it.")
    return import_located(source, locate(source), out, model=model, classes=classes)


def import_located(
    source: str,
    located: WeightsSource,
    out: Path,
    *,
    model: str = "",
    classes: Sequence[str] = (),
) -> ModelMetadata:
    """Writes weights that were located; see `import_weights`. `source`: what messages call them."""
    _check_model(model)
    if located.fetch is not None:
        weights = ForeignWeights(tensors=dict(located.fetch()))
    else:
        weights = read_foreign(located.path)
    name = Path(source).name if Path(source).exists() else source
    result = _recognise(name, weights, located, model, tuple(classes))
    logger.info(result.summary)
    match, metadata = result.match, result.metadata
    tensors = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in to_ours(match.library, match.spec, weights.tensors).items()
    }
    check_values(Path(name), tensors)  # float64 holds numbers that float32 does not
    save(out, tensors, metadata)
    return metadata


def check_output(out: Path, source: str | Path) -> None:
    """Raises UsageError where the file to write is the file to read."""
    source_path = path_of(source)
    if out.exists() and source_path.exists() and out.samefile(source_path):
        raise UsageError(f"out='{out}' is the file to read. Name another one.")


@dataclass(frozen=True)
class _Recognised:
    match: NetworkMatch
    metadata: ModelMetadata
    summary: str


def _recognise(
    name: str,
    weights: ForeignWeights,
    located: WeightsSource,
    model: str,
    classes: tuple[str, ...],
) -> _Recognised:
    """Finds the network, the preprocessing and the classes of weights; see `import_weights`."""
    file_name = located.path.name.removesuffix(located.path.suffix)
    hint = located.hint or weights.metadata.get("architecture", "") or file_name
    hint = _our_name(weights.tensors, hint)
    match = recognise(weights.tensors, hint=hint, model=model.partition(".")[0])
    row = _tagged_row(model or hint, match.member)
    preprocessing = (
        (row.preprocessing if row else located.preprocessing)
        or _keras_preprocessing(weights.metadata, match)
        or original_preprocessing(match.member)
    )
    named = classes or located.classes
    assumed = match.spec.classes == 1000 and not (named or row)
    classes = named or class_names(match.spec.classes)
    if len(classes) != match.spec.classes or len(set(classes)) != len(classes):
        raise WeightsError(
            f"{name} has {match.spec.classes} classes, but {len(set(classes))} "
            "names are given. Give each its own with `classes`."
        )
    summary = f"{name}: {match.summary} Images: {preprocessing.summary()}."
    if assumed:
        summary += " Its 1000 classes are taken for ImageNet's."
    metadata = ModelMetadata(
        spec=replace(match.spec, resolution=preprocessing.size),
        preprocessing=preprocessing,
        classes=classes,
        origin=f"imported from {name}: {match.summary}",
        licence=located.licence,
    )
    return _Recognised(match, metadata, summary)


def _check_model(model: str) -> None:
    """Raises UsageError for what is neither a model nor a model with a known tag."""
    member, _, tag = model.partition(".")
    if member and member not in MEMBERS:
        try:
            get_spec(member)  # its error lists similar names
        except SpecError as error:
            raise UsageError(f"`model`: {error}") from None
    if tag and not weights_of_member(model):
        refuse_tag(model)


def _tagged_row(name: str, member: str) -> PretrainedWeights | None:
    """Returns the row of the table for `MODEL.TAG`; None for a name without a tag."""
    rows = weights_of_member(name) if "." in name else ()
    return next((row for row in rows if row.member == member), None)


def _our_name(tensors: Mapping[str, Tensor], hint: str) -> str:
    """Returns phiscale's name for a library's: the longest known name that the hint begins with.

    `efficientnet-b0` of TensorFlow is tf_efficientnet_b0; so is `tf_efficientnet_b0_ns-4a1f` of an
    old file. A tag stays.
    """
    names = {**{name: name for name in MEMBERS}, **network_names(library_of(tensors))}
    prefixes = [name for name in names if re.match(rf"{re.escape(name)}(?![A-Za-z0-9])", hint)]
    if not prefixes:
        return hint
    longest = max(prefixes, key=len)
    rest = hint.removeprefix(longest)
    return f"{names[longest]}{rest if rest.startswith('.') else ''}"


def _keras_preprocessing(metadata: Mapping[str, str], match: NetworkMatch) -> Preprocessing | None:
    """Returns the preprocessing of a normalisation layer, which Keras's V1 networks hold.

    Their ImageNet files keep standard deviations as variances, which a layer behind them repairs
    (tensorflow #49930).
    """
    if "variance" not in metadata:
        return None
    try:
        mean, variance = (
            triple(map(float, metadata[name].split())) for name in ("mean", "variance")
        )
    except ValueError:  # a network of other than three channels
        return None
    usual = original_preprocessing(match.member)
    mixed_up = all(abs(a - b) < 1e-3 for a, b in zip(variance, usual.std, strict=True))
    return replace(usual, mean=mean, std=variance if mixed_up else triple(np.sqrt(variance)))
