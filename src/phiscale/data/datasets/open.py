"""Where images come from: a folder, a table, a set known by name, or tar shards: one door."""

from __future__ import annotations

from pathlib import Path

from phiscale.data.datasets.dataset import BadFile, ImageSet, Split
from phiscale.data.datasets.folders import open_folder
from phiscale.data.datasets.named import NAMED, open_named
from phiscale.data.datasets.shard_cache import expand_url
from phiscale.data.datasets.shard_patterns import braced, expand, shards_in
from phiscale.data.datasets.shards import open_shards
from phiscale.data.datasets.split_names import likely_role, role_of
from phiscale.data.datasets.tables import TABLE_SUFFIXES, open_tables, tables_of
from phiscale.data.reading.decode import DecodeLimits
from phiscale.errors import DataError
from phiscale.text import did_you_mean, printable

__all__ = ["BadFile", "ImageSet", "Split", "open_dataset"]


def open_dataset(
    data: str | Path, *, split: str | None = None, max_megapixels: float | None = None
) -> ImageSet:
    """The images that DATA means. Nothing is decoded. Raises DataError with what to change.

    DATA is an image folder, a CSV table of files and labels (or a folder that holds one beside
    its images), a named set (`digits`, `cifar10`, ...) or tar shards
    (`"shards-{000..099}.tar"`, a wildcard, one tar, or a folder of tars, on this disk or behind a
    URL of fsspec's).

    `split`: the split to evaluate, where the set is not for training. The folder may then lack
    train, and "all" keeps the images as they lie: nothing is held out. `max_megapixels`: the size
    above which an image counts as unreadable; None: 64.
    """
    limits = DecodeLimits.of_megapixels(max_megapixels)
    return _open(data, split).with_limits(limits)


def as_image_set(
    data: ImageSet | str | Path, *, split: str | None = None, max_megapixels: float | None = None
) -> ImageSet:
    """Returns an image set that is open already, or opens one as `open_dataset`."""
    if not isinstance(data, ImageSet):
        return open_dataset(data, split=split, max_megapixels=max_megapixels)
    if max_megapixels is None:
        return data
    return data.with_limits(DecodeLimits.of_megapixels(max_megapixels))


def _open(data: str | Path, split: str | None) -> ImageSet:
    source = str(data)
    if not source or "\0" in source:
        raise DataError("The data path is empty or has a NUL. Give a folder, a set or shards.")
    if "://" in source:
        return open_shards(expand_url(source, braced), printable(source), split)
    path = Path(data)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise DataError(f"'{printable(source)}' cannot be read: {error.strerror}.") from error
    name = source.lower().replace("_", "-")
    if is_folder:
        images = _open_directory(path, printable(source), split)
        if isinstance(data, str) and name in NAMED:
            note = f"'{source}' is a folder here; the named set of that name is not read"
            images = images.with_note(note)
        return images
    if is_file and path.suffix.lower() in TABLE_SUFFIXES:
        role = likely_role(path.stem) or "train"
        return open_tables({role: path}, path.parent, printable(source), split)
    if is_file and path.suffix.lower() != ".tar":
        raise DataError(
            f"'{printable(source)}' is a file. Give a folder with a folder of images per class, "
            "a CSV table of files and labels, or an uncompressed .tar; unpack archives first."
        )
    if is_file:
        return open_shards([path], printable(source), split)
    if isinstance(data, str) and name in NAMED:
        return open_named(name, split)
    if any(c in source for c in "{*?["):
        return open_shards(expand(source), printable(source), split)
    hint = did_you_mean(name, NAMED, f"Sets known by name: {', '.join(NAMED)}.")
    raise DataError(f"'{printable(source)}' does not exist. {hint}")


def _open_directory(path: Path, source: str, split: str | None) -> ImageSet:
    """Class folders where there are any, else tars; so a tar may stay beside what it was."""
    try:
        folders = [sub for sub in path.iterdir() if sub.is_dir() and not sub.name.startswith(".")]
        shards = shards_in(path)
        tables = {} if shards else tables_of(path)
        has_classes = any(
            role_of(sub.name) is None or any(inner.is_dir() for inner in sub.iterdir())
            for sub in folders
        )
    except OSError as error:
        raise DataError(
            f"'{source}' cannot be read: {error.strerror}. Give yourself the permission."
        ) from error
    if shards and not has_classes:
        return open_shards(shards, source, split)
    if tables:
        return open_tables(tables, path, source, split)
    return open_folder(path, source, split)
