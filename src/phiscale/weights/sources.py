"""Weights files of a SOURCE: phiscale's own files and runs, other libraries' files, hubs, models.

Weights of other libraries are imported once, into a file in the cache (`importing`). Everything
else in phiscale sees only files of its own format.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import replace
from pathlib import Path

from phiscale.files import cache_folder
from phiscale.nn.network import Network, build
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.header import read_metadata
from phiscale.weights.hub import local_repo
from phiscale.weights.importing import import_located
from phiscale.weights.locate import locate, path_of
from phiscale.weights.store import fill, is_ours, read

logger = logging.getLogger(__name__)

IMPORT_VERSION = 1  # raise it when an import makes another file of the same weights
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".index")


def load(
    source: str | os.PathLike[str], *, classes: int | None = None, in_channels: int | None = None
) -> Network:
    """Loads a network in eval mode, with `.metadata`, `.spec` and `.preprocessing`.

    `source` is a weights file, a RUN, another library's file, `hf-hub:NAME`, `torchvision:NAME` or
    a model's name. Another number of `classes` gets a new classifier. Other `in_channels` adapt the
    stem so that one response is kept (`adapt.over_channels`). Hash, names, shapes and finite values
    are checked. WeightsError: one of them is wrong, or there are no such weights.
    """
    path = weights_file(source if isinstance(source, str) else Path(source))
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
    """Returns the weights file of a SOURCE, in phiscale's format.

    Weights of other libraries are imported into the cache first. `model` names the model where
    their names and shapes fit several. WeightsError, UsageError: see `import_weights`.
    """
    path = path_of(source)
    if path.is_file() and (path != Path(source) or is_ours(path)):
        return path
    located = locate(str(source))
    if located.path.is_file() and is_ours(located.path):  # a repository that phiscale pushed
        return located.path
    cached = cache_folder() / _cache_name(f"{model} {source}".strip(), located.path)
    if cached.is_file() and is_ours(cached):
        logger.info(read_metadata(cached).origin)
    else:
        import_located(str(source), located, cached, model=model)
    return cached


def weights_files(source: str) -> dict[str, Path]:
    """Returns the weights files of a SOURCE by short names for a table.

    A folder that is no SOURCE itself gives all that it holds: weights files, checkpoints of
    TensorFlow, runs, repositories. Anything else gives one file.
    """
    path = Path(source)
    inside = [] if not path.is_dir() or _is_source(path) else _sources_in(path)
    if not inside:
        return {_short_name(path) if path.exists() else source: weights_file(source)}
    names = [_short_name(entry) for entry in inside]
    return {
        name if names.count(name) == 1 else entry.name: weights_file(_without_index(entry))
        for entry, name in zip(inside, names, strict=True)
    }


def _sources_in(folder: Path) -> list[Path]:
    return sorted(filter(_is_source, folder.iterdir()))


def _is_source(path: Path) -> bool:
    if path.is_dir():
        return path_of(path).is_file() or local_repo(path) is not None
    return path.suffix in SUFFIXES


def _without_index(path: Path) -> Path:
    """Returns the prefix of a TensorFlow checkpoint's files; any other path as it is."""
    return path.with_suffix("") if path.suffix == ".index" else path


def _short_name(path: Path) -> str:
    if path.is_dir():
        return path.resolve().name
    return path.parent.name if path.stem == "best" else path.stem


def _cache_name(source: str, path: Path) -> str:
    """Returns a file name made of the source's name and a digest of its files."""
    digest = hashlib.sha256(f"{IMPORT_VERSION} {source}".encode(errors="backslashreplace"))
    for file in (path, path.with_name(f"{path.name}.index"), path.with_name("config.json")):
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    safe = re.sub(r"[^\w.-]+", "-", source)[-60:].strip("-.")
    return f"{safe or 'weights'}-{digest.hexdigest()[:16]}.safetensors"
