"""What SOURCE means: our own weights files and runs, other libraries' files, hubs, known names.

Foreign weights are imported once, into a file of ours; everything else sees only such files.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor

from phiscale.arch.families import MEMBERS, get_spec
from phiscale.data.preprocessing import Preprocessing, triple
from phiscale.errors import SpecError, UsageError, WeightsError
from phiscale.files import cache_folder
from phiscale.nn.network import Network, build
from phiscale.weights import hub
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.aliases import member_of, network_names
from phiscale.weights.formats import ForeignWeights, check_values, read_foreign
from phiscale.weights.hub import Repo, local_repo
from phiscale.weights.imagenet import class_names
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.packaged import PACKAGED
from phiscale.weights.peers import NetworkMatch, library_of, recognise, to_ours
from phiscale.weights.pretrained import (
    original_preprocessing,
    pretrained_weights,
    weights_of_member,
)
from phiscale.weights.store import fill, is_ours, read, read_metadata, save

logger = logging.getLogger(__name__)

IMPORT_VERSION = 1  # of what an import makes of a file: the cache keeps to it
HUB, TORCHVISION, AUTO = "hf-hub:", "torchvision:", "auto"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".index")


def load(
    source: str | Path, *, classes: int | None = None, in_channels: int | None = None
) -> Network:
    """The network of a weights file, a RUN, or any other SOURCE (`hf-hub:NAME`, `torchvision:NAME`,
    a member's name, another library's file), in eval mode, with `.metadata`, `.spec` and
    `.preprocessing`. Hash, keys, shapes and finite values are checked.

    `classes`: another number of them makes the classifier anew. `in_channels`: the stem is adapted
    so that one response is kept (`adapt.over_channels`). Raises WeightsError.
    """
    path = weights_file(source)
    metadata, tensors = read(path)
    spec = replace(
        metadata.spec,
        classes=metadata.spec.classes if classes is None else classes,
        in_channels=in_channels or metadata.spec.in_channels,
    )
    if spec == metadata.spec:
        network = build(spec, initialised=False)
    else:
        network = build(spec)
        tensors = adapt_weights(tensors, metadata.spec, spec, network.state_dict())
        metadata = metadata.for_spec(spec)
    fill(network, tensors, path)
    network.metadata, network.preprocessing = metadata, metadata.preprocessing
    return network.eval()


def weights_file(source: str | Path, *, model: str = "") -> Path:
    """The file of ours that a SOURCE means; foreign ones are imported into the cache first, as the
    member `model` where names and shapes fit several."""
    path = _file_of(source)
    if path.is_file() and (path != Path(source) or is_ours(path)):
        return path
    wanted = _wanted(str(source))
    if wanted.path.is_file() and is_ours(wanted.path):  # a repository that phiscale pushed
        return wanted.path
    kept = cache_folder() / f"{_kept_as(f'{model} {source}'.strip(), wanted.path)}.safetensors"
    if not (kept.is_file() and is_ours(kept)):
        import_weights(str(source), kept, model=model, wanted=wanted)
    else:
        logger.info(read_metadata(kept).origin)
    return kept


def weights_files(source: str) -> dict[str, Path]:
    """What a SOURCE offers, by names for a table: one file, or everything in a folder that is a
    SOURCE itself (weights files, checkpoints of TensorFlow, runs, repositories)."""
    path = Path(source)
    inside = [] if not path.is_dir() or _is_one(path) else sorted(filter(_is_one, path.iterdir()))
    if not inside:
        return {_short(path) if path.exists() else source: weights_file(source)}
    shorts = [_short(each) for each in inside]
    return {
        short if shorts.count(short) == 1 else each.name: weights_file(_whole(each))
        for each, short in zip(inside, shorts, strict=True)
    }


def _is_one(path: Path) -> bool:
    if path.is_dir():
        return _file_of(path).is_file() or local_repo(path) is not None
    return path.suffix in SUFFIXES


def _file_of(source: str | Path) -> Path:
    """Where a run keeps its weights; any other path as it is."""
    path = Path(source)
    return path / "best.safetensors" if path.is_dir() else path


def _whole(path: Path) -> Path:
    """A checkpoint of TensorFlow is called by the prefix of its files."""
    return path.with_suffix("") if path.suffix == ".index" else path


def _short(path: Path) -> str:
    if path.is_dir():
        return path.resolve().name
    return path.parent.name if path.stem == "best" else path.stem


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """A foreign file, and what is known of it from where it comes."""

    path: Path
    hint: str = ""  # a network's name
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    licence: str = ""
    fetch: Callable[[], Mapping[str, Tensor]] | None = None  # where a library reads its own


def import_weights(
    source: str,
    out: Path,
    *,
    model: str = "",
    classes: tuple[str, ...] | None = None,
    wanted: WeightsSource | None = None,
) -> ModelMetadata:
    """Writes another library's weights as a file of ours and returns its metadata.

    `model`: the member, where names and shapes fit several. `classes`: their names, where the
    source has none. What was assumed is logged. Raises WeightsError, UsageError.
    """
    _check_model(model)
    check_output(out, source)
    if is_ours(_file_of(source)):
        raise UsageError(f"{source} is phiscale's already. Use it as it is, or copy it.")
    wanted = wanted or _wanted(source)
    found = (
        ForeignWeights(tensors=dict(wanted.fetch())) if wanted.fetch else read_foreign(wanted.path)
    )
    hint = (
        wanted.hint
        or found.metadata.get("architecture", "")
        or wanted.path.name.removesuffix(wanted.path.suffix)
    )
    hint, member = _our_name(found.tensors, hint), model.partition(".")[0]
    match = recognise(found.tensors, hint=hint, model=member)
    name = source if not Path(source).exists() else Path(source).name
    tagged = [
        p
        for p in weights_of_member(model or hint)
        if p.member == match.member and "." in (model or hint)
    ]
    preprocessing = tagged[0].preprocessing if tagged else wanted.preprocessing
    preprocessing = (
        preprocessing or _from_keras(found.metadata, match) or original_preprocessing(match.member)
    )
    guess = match.spec.classes == 1000 and not (classes or wanted.classes or tagged)
    classes = classes or wanted.classes or class_names(match.spec.classes)
    if len(classes) != match.spec.classes or len(set(classes)) != len(classes):
        raise WeightsError(
            f"{name} has {match.spec.classes} classes, but {len(set(classes))} "
            "names are given. Give each its own with `classes`."
        )
    logger.info(
        f"{name}: {match.summary} Images: {preprocessing.summary()}."
        + (" Its 1000 classes are taken for ImageNet's." if guess else "")
    )
    spec = replace(match.spec, resolution=preprocessing.size)
    metadata = ModelMetadata(
        spec=spec,
        preprocessing=preprocessing,
        classes=classes,
        origin=f"imported from {name}: {match.summary}",
        licence=wanted.licence,
    )
    tensors = {
        k: t.float() if t.is_floating_point() else t
        for k, t in to_ours(match.library, match.spec, found.tensors).items()
    }
    check_values(Path(name), tensors)  # float64 holds numbers that float32 does not
    save(out, tensors, metadata)
    return metadata


def check_output(out: Path, source: str | Path) -> None:
    """Nothing is written over what is being read, nor under a name that others take for theirs."""
    read = _file_of(source)
    if out.exists() and read.exists() and out.samefile(read):
        raise UsageError(f"out='{out}' is the file to read. Name another one.")


def _check_model(model: str) -> None:
    """A member, with a known tag or none."""
    member, _, tag = model.partition(".")
    if member and member not in MEMBERS:
        try:
            get_spec(member)  # says which are near
        except SpecError as error:
            raise UsageError(f"`model`: {error}") from None
    if tag and not weights_of_member(model):
        _no_tag(model)


def _no_tag(model: str) -> NoReturn:
    known = ", ".join(p.tag for p in weights_of_member(model.partition(".")[0])) or "none"
    raise UsageError(f"no pretrained weights {model} are known. Known tags: {known}.")


def _wanted(source: str) -> WeightsSource:
    """Where the weights of a foreign SOURCE are."""
    if source.startswith(HUB):
        return _of_hub(source)
    if source.startswith(TORCHVISION):
        return _of_torchvision(source.removeprefix(TORCHVISION))
    path = Path(source)
    if path.is_dir():
        repo = local_repo(path)
        if repo is None:
            raise WeightsError(
                f"no weights in {path}: neither a run's best.safetensors nor a repository's "
                "config.json and model.safetensors. Give a weights file or the folder of a run."
            )
        return _of_repo(repo)
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return WeightsSource(path=path)
    if source in PACKAGED and (packaged := PACKAGED[source].path()) is not None:
        return WeightsSource(path=packaged, hint=source, licence=PACKAGED[source].licence)
    if source.partition(".")[0] in MEMBERS:
        return _wanted((weights_of_member(source) or _no_tag(source))[0].source)
    raise WeightsError(
        f"no weights at {source}. Give a file, a run, hf-hub:NAME, torchvision:NAME, or a member "
        "with known weights (phiscale models --json lists them)."
    )


def _of_hub(source: str) -> WeightsSource:
    """What its config.json does not say, the table of known weights may."""
    name = source.removeprefix(HUB)
    wanted = _of_repo(hub.fetch(name))
    row = next(
        (row for row in pretrained_weights() if row.source == f"{HUB}{name.partition('@')[0]}"),
        None,
    )
    if row is None:
        return wanted
    return replace(
        wanted,
        hint=wanted.hint or row.member,
        licence=wanted.licence or row.licence,
        preprocessing=wanted.preprocessing or row.preprocessing,
    )


def _of_repo(repo: Repo) -> WeightsSource:
    return WeightsSource(
        path=repo.weights,
        hint=repo.architecture,
        preprocessing=repo.preprocessing,
        classes=repo.classes,
        licence=repo.licence,
    )


def _of_torchvision(name: str) -> WeightsSource:
    theirs, _, tag = name.partition(".")
    member = member_of("torchvision", theirs)
    rows = [
        p for p in weights_of_member(f"{member}.{tag or '*'}") if p.source.startswith(TORCHVISION)
    ]
    if member is None or not rows:
        raise UsageError(
            f"{TORCHVISION}{name} is none of ours. Write a name such as torchvision:resnet50 or "
            "torchvision:resnet50.IMAGENET1K_V1."
        )
    from torchvision.models import get_model_weights

    weights = get_model_weights(theirs)[rows[0].tag]

    def fetch() -> Mapping[str, Tensor]:
        fix = f"Connect once, or give the file of {weights.url}."
        if not (kept := Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)).exists():
            hub.check_reachable(weights.url, f"{TORCHVISION}{name}", fix)
        try:
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (URLError, OSError, RuntimeError, UnpicklingError):  # the third: a wrong hash
            raise WeightsError(
                f"{TORCHVISION}{name} cannot be fetched, or {kept} is damaged. {fix}"
            ) from None

    return WeightsSource(
        path=Path(weights.url),
        hint=member,
        preprocessing=rows[0].preprocessing,
        classes=class_names(rows[0].classes),
        licence=rows[0].licence,
        fetch=fetch,
    )


def _our_name(tensors: Mapping[str, Tensor], hint: str) -> str:
    """`efficientnet-b0` of TensorFlow is our tf_efficientnet_b0, `tf_efficientnet_b0_ns-4a1f` of an
    old file too: the longest known name that it begins with. A tag stays."""
    library = library_of(tensors)
    known = {**{name: name for name in MEMBERS}, **network_names(library)}
    begins = [name for name in known if re.match(rf"{re.escape(name)}(?![A-Za-z0-9])", hint)]
    if not begins:
        return hint
    longest = max(begins, key=len)
    rest = hint.removeprefix(longest)
    return f"{known[longest]}{rest if rest.startswith('.') else ''}"


def _from_keras(metadata: Mapping[str, str], match: NetworkMatch) -> Preprocessing | None:
    """Of the normalisation that Keras's V1 networks hold. Their ImageNet files keep standard
    deviations as variances, which a layer behind them repairs (tensorflow #49930)."""
    if "variance" not in metadata:
        return None
    try:
        mean, variance = (
            triple(map(float, metadata[word].split())) for word in ("mean", "variance")
        )
    except ValueError:  # a network of other than three channels
        return None
    usual = original_preprocessing(match.member)
    mixed_up = all(abs(a - b) < 1e-3 for a, b in zip(variance, usual.std, strict=True))
    return replace(usual, mean=mean, std=variance if mixed_up else triple(np.sqrt(variance)))


def _kept_as(source: str, path: Path) -> str:
    """A file name from what the source is called and what it holds."""
    digest = hashlib.sha256(f"{IMPORT_VERSION} {source}".encode(errors="backslashreplace"))
    for file in (path, path.with_name(f"{path.name}.index"), path.with_name("config.json")):
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    safe = re.sub(r"[^\w.-]+", "-", source)[-60:].strip("-.")
    return f"{safe or 'weights'}-{digest.hexdigest()[:16]}"
