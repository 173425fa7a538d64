"""Tar shards: the WebDataset form, and tars of class folders.

Shards are indexed by their headers, so that any image is one seek away and nothing is unpacked. A
sample is all members that share a key, which is the name up to the first dot of its last part. It
has an image, and a `.cls` (a whole number or a class name) or a `.json` with "label". Where no
shard has a label, the class of an image is its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.data.datasets.evaluated import keep_splits
from phiscale.data.datasets.held_out import assemble
from phiscale.data.datasets.listing import named_like_image
from phiscale.data.datasets.shard_cache import Shard, index_of, shard_at
from phiscale.data.datasets.shard_patterns import by_split_name
from phiscale.data.datasets.shard_scan import LABELS, MAX_LABEL_BYTES, scan_shard
from phiscale.data.datasets.split_names import (
    check_classes,
    check_known,
    match_unicode,
    unicode_note,
)
from phiscale.data.reading.decode import open_at_once
from phiscale.data.reading.formats import IMAGE_SUFFIXES
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, join_names, printable


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ShardSplit(Split):
    """Images inside uncompressed tars. Files are opened per read: safe in threads and workers."""

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("shard_of", "offsets")

    shards: tuple[str, ...]
    shard_of: NDArray[np.int64]
    """int64 (n,), the index of each image's shard."""
    offsets: NDArray[np.int64]
    """int64 (n,), bytes from the shard's start."""

    def raw(self, i: int) -> bytes:
        size = int(self.sizes[i])
        if size > self.limits.max_file_bytes:
            raise BadImage(f"{size:,} bytes, over the limit of {self.limits.max_file_bytes:,}")
        shard = shard_at(self.shards[self.shard_of[i]])
        try:
            try:
                file = open_at_once(shard.local())
            except FileNotFoundError:  # another process has just removed it from the cache
                file = open_at_once(shard.local())
            with file:
                file.seek(int(self.offsets[i]))
                data = file.read(size)
        except OSError as error:
            raise BadImage(
                f"shard {printable(shard.name)} cannot be read: {error.strerror}"
            ) from error
        if len(data) < size:
            raise BadImage(f"cut short: shard {printable(shard.name)} ends before the image does")
        return data

    def groups(self) -> NDArray[np.int64]:
        return self.shard_of


def open_shards(
    shards: Sequence[Path | Shard], source: str, evaluated: str | None = None
) -> ImageSet:
    """Opens the image set in these tars. DataError: shards or labels that cannot be used.

    `evaluated`: the split to measure, as in `open.open_dataset`.
    """
    placed = [shard if isinstance(shard, Shard) else Shard(str(shard)) for shard in shards]
    by_split = by_split_name(placed, source)
    index = {split: _Index(shards) for split, shards in by_split.items()}
    notes: list[str] = []
    if any(shard_index.has_labels for shard_index in index.values()):
        samples = {split: list(shard_index.labelled()) for split, shard_index in index.items()}
    else:
        samples = {split: list(shard_index.by_folder()) for split, shard_index in index.items()}
        notes.append("no .cls or .json in the shards: an image's folder is its class")
    if odd := sum(shard_index.odd for shard_index in index.values()):
        notes.append(
            f"{count_of(odd, 'link or device', 'links or devices')} in the shards not read"
        )
    for split, split_samples in samples.items():
        if not split_samples:
            raise DataError(f"{source}: the shards of split '{split}' hold no image. Add some.")

    classes, names = _classes(samples, by_split["train"][0], source)
    splits = {}
    for split, split_samples in samples.items():
        if split != "train":
            own = {names[sample.label] for sample in split_samples}
            if matched := match_unicode(own, classes):
                notes.append(unicode_note(split, matched))
                names |= {label: matched.get(name, name) for label, name in names.items()}
            check_known((names[sample.label] for sample in split_samples), classes, split, source)
        label_of = {name: label for label, name in enumerate(classes)}
        splits[split] = ShardSplit(
            keys=tuple(sample.key for sample in split_samples),
            labels=_int64(label_of[names[sample.label]] for sample in split_samples),
            sizes=_int64(sample.size for sample in split_samples),
            shards=tuple(shard.where for shard in by_split[split]),
            shard_of=_int64(sample.shard for sample in split_samples),
            offsets=_int64(sample.offset for sample in split_samples),
        )
    combine = keep_splits if evaluated == "all" else assemble
    return combine(
        source, classes, splits["train"], splits.get("validation"), splits.get("test"), notes
    )


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Sample:
    shard: int
    key: str
    offset: int
    size: int
    label: int | str


@dataclass(slots=True)
class _Member:
    shard: int
    name: str
    offset: int
    size: int
    text: str | None = None  # of a label, as bytes in latin-1


@dataclass
class _Index:
    """The regular members of some shards, from one pass over their headers."""

    shards: list[Shard]
    members: list[_Member] = field(default_factory=list)
    has_labels: bool = False
    odd: int = 0

    def __post_init__(self) -> None:
        for number, shard in enumerate(self.shards):
            odd, *members = index_of(shard, lambda path, name=shard.name: scan_shard(path, name))
            self.odd += odd
            self.members += [_Member(number, *member) for member in members]
            self.has_labels |= any(name.endswith(LABELS) for name, *_ in members)

    def by_folder(self) -> Iterator[_Sample]:
        """Yields one sample for each member; its class is its folder."""
        for member in self.members:
            path = PurePosixPath(member.name)
            shard = self.shards[member.shard].name
            if not path.parent.name:
                raise DataError(
                    f"Shard '{printable(shard)}' has no .cls or .json, and "
                    f"'{printable(member.name)}' stands in no folder. "
                    "Give each image a label in one of the two ways."
                )
            key = f"{shard}:{member.name}"
            yield _Sample(member.shard, key, member.offset, member.size, path.parent.name)

    def labelled(self) -> Iterator[_Sample]:
        """Yields WebDataset samples in the order of their images."""
        samples: dict[tuple[int, str], dict[str, _Member]] = {}
        dotted: dict[tuple[int, str], _Member] = {}
        for member in self.members:
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            parts = samples.setdefault((member.shard, f"{folder}/{stem}" if folder else stem), {})
            if parts.setdefault(extension.lower(), member) is not member:
                raise DataError(
                    f"Shard '{printable(self.shards[member.shard].name)}' has two members "
                    f"'{printable(member.name)}'. Write the shard again with a key per sample."
                )
            if "." in extension and named_like_image(base):
                dotted.setdefault((member.shard, f"{folder}/{stem}" if folder else stem), member)
        unlabelled = []
        for (number, key), parts in samples.items():
            images = [part for ext, part in parts.items() if f".{ext}" in IMAGE_SUFFIXES]
            name = f"{self.shards[number].name}:{key}"
            if not images and (number, key) in dotted:
                raise DataError(_dotted_key(dotted[number, key], self.shards[number].name))
            if len(images) > 1:
                raise DataError(
                    f"Sample '{printable(name)}' has {len(images)} images: "
                    f"{join_names(sorted(image.name for image in images))}. "
                    "Write the shard again with one image for each key."
                )
            if not images:
                continue
            label = self._label(number, parts, name)
            if label is None:
                unlabelled.append(name)
                continue
            yield _Sample(number, name, images[0].offset, images[0].size, label)
        if unlabelled:
            raise DataError(
                f"{count_of(len(unlabelled), 'sample')} without a label: {join_names(unlabelled)}. "
                'Add a .cls member, or a .json member with "label".'
            )

    def _label(self, number: int, parts: dict[str, _Member], name: str) -> int | str | None:
        member = parts.get("cls") or parts.get("json")
        if member is None:
            return None
        if member.size > MAX_LABEL_BYTES:
            raise DataError(
                f"The label of '{printable(name)}' has {member.size:,} bytes. Shorten it."
            )
        try:
            text = (member.text or "").encode("latin-1").decode()
            if member is parts.get("cls"):
                label: object = int(text) if text.strip().isdecimal() else text.strip()
            else:
                label = json.loads(text)["label"]
        except (ValueError, LookupError, TypeError, RecursionError):
            label = None
        if isinstance(label, bool) or not isinstance(label, int | str) or label in ("",):
            raise DataError(
                f"The label of '{printable(name)}' is neither a whole number nor a class name. "
                'Write .cls as such, or .json as {"label": ...}.'
            )
        return label


def _dotted_key(member: _Member, shard: str) -> str:
    base = member.name.rpartition("/")[2]
    key, _, extension = base.partition(".")
    stem, _, suffix = base.rpartition(".")
    return (
        f"Shard '{printable(shard)}': the key of a sample ends at the first dot, so "
        f"'{printable(base)}' is '{printable(extension)}' of sample '{printable(key)}', and no "
        f"image. Name it '{printable(stem.replace('.', '_'))}.{suffix}'."
    )


def _classes(
    samples: dict[str, list[_Sample]], first: Shard, source: str
) -> tuple[list[str], dict[int | str, str]]:
    """Returns class names in the order of their numbers, and label -> class name."""
    labels = {sample.label for split_samples in samples.values() for sample in split_samples}
    listing = Path(first.where).parent / "classes.txt"
    if first.remote or not listing.is_file():
        names: dict[int | str, str] = {label: str(label) for label in labels}
        train = {sample.label for sample in samples["train"]}
        numbers = sorted(label for label in train if isinstance(label, int))
        words = sorted({names[label] for label in train} - {str(number) for number in numbers})
        classes = [str(number) for number in numbers] + words
        check_classes(classes, source)
        return classes, names
    classes = _class_list(listing)
    check_classes(classes, f"{source} (classes.txt)")
    names = {label: _listed_name(label, classes, source) for label in labels}
    used = {names[sample.label] for sample in samples["train"]}
    if unused := [name for name in classes if name not in used]:
        raise DataError(
            f"{source}: classes.txt lists {join_names(unused)}, of which train has no image. "
            "Remove what is not there from classes.txt, or add images."
        )
    return classes, names


def _class_list(listing: Path) -> list[str]:
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            "classes.txt beside the shards cannot be read. Write it in UTF-8, one name a line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _listed_name(label: int | str, classes: Sequence[str], source: str) -> str:
    """Returns the class name of a label in classes.txt, where a whole number is an index."""
    if isinstance(label, str) and label in classes:
        return label
    if isinstance(label, int) and 0 <= label < len(classes):
        return classes[label]
    raise DataError(
        f"{source}: label {printable(repr(label))} is not among the {len(classes)} of classes.txt. "
        "Add it there, or fix the label."
    )
