"""Folders below class folders: merged with a note, or refused where another reading is likely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from phiscale.data.datasets.listing import named_like_image
from phiscale.data.datasets.split_names import likely_role, role_of
from phiscale.errors import DataError
from phiscale.text import join_names, printable


def check_nesting(files: Mapping[str, Iterable[str]], where: str) -> list[str]:
    """Returns a note on images that lie in folders below their class.

    `files`: class -> paths of its files below its folder. DataError: the class folders are more
    likely splits, or folders of classes, than classes; the message names that reading.
    """
    images = {
        name: [path for path in paths if _may_be_image(path)] for name, paths in files.items()
    }
    images = {name: paths for name, paths in images.items() if paths}
    inner = {
        name: {path.partition("/")[0] for path in paths if "/" in path}
        for name, paths in images.items()
    }
    nested = [name for name in images if inner[name]]
    if not nested:
        return []
    bare = [name for name in nested if all("/" in path for path in images[name])]
    if len(images) == len(bare) == 1 and len(files) > 1:
        raise DataError(
            f"{where}: of {join_names(files)} only '{printable(bare[0])}' holds images, in folders "
            f"{join_names(sorted(inner[bare[0]]))}. Did you mean {where}/{printable(bare[0])}?"
        )
    counts = Counter(name for names in inner.values() for name in names)
    shared = sorted(name for name, count in counts.items() if count > 1)
    # one folder of the same name in each class, as Tiny ImageNet has, is no other reading
    if len(counts) > 1 and shared:
        raise DataError(_shared(nested, shared, sorted(counts), where))
    if len(counts) > 1 and (len(bare) == len(images) or any(len(inner[n]) > 1 for n in bare)):
        raise DataError(_bare(bare, sorted({below for n in bare for below in inner[n]}), where))
    folders = sorted(f"{name}/{below}" for name, names in inner.items() for below in names)
    return [f"images in folders below a class count for the class: {join_names(folders)}"]


def rename_hint(folders: Iterable[str]) -> str:
    """Returns which folders to rename so that they are read as splits, or nothing."""
    roles = {name: role for name in folders if (role := likely_role(name))}
    if not roles or len(set(roles.values())) < len(roles):
        return ""
    return "Rename " + ", ".join(f"'{printable(name)}' to '{roles[name]}'" for name in roles)


def _shared(outer: Sequence[str], shared: Sequence[str], inner: Sequence[str], where: str) -> str:
    if all(role_of(name) for name in inner):
        return (
            f"{where}: class folders {join_names(outer)} hold split folders {join_names(inner)}. "
            f"Put the splits above the classes: {inner[0]}/{printable(outer[0])}."
        )
    splits = rename_hint(outer) or "Name the outer folders train, validation and test"
    return (
        f"{where}: {join_names(outer)} share inner folders {join_names(shared)}, as splits do. "
        f"{splits}, if the inner folders are the classes; if not, move the images up, directly "
        "into their class folders."
    )


def _bare(outer: Sequence[str], inner: Sequence[str], where: str) -> str:
    beginning = (
        f"{where}: {join_names(outer)} {'holds' if len(outer) == 1 else 'hold'} no images of "
        f"{'its' if len(outer) == 1 else 'their'} own but folders {join_names(inner)}. "
    )
    if splits := rename_hint(outer):
        return f"{beginning}{splits}, and put a folder of images per class directly into each."
    return (
        f"{beginning}If these are the classes, put them side by side into one folder; if not, "
        "move the images up, directly into their class folders."
    )


def _may_be_image(path: str) -> bool:
    return named_like_image(path) or not PurePosixPath(path).suffix
