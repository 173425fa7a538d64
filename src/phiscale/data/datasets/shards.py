"""Tar shards: the WebDataset form, and tars of class folders. Indexed by their headers, so that any
image is one seek away; nothing is unpacked.

A sample is all members that share a key, the name up to the first dot of its last part: an image,
and `.cls` (a whole number or a class name) or `.json` with "label". Where no member of any shard is
a label, the folder that an image stands in is its class.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from phiscale.data.datasets.dataset import ImageSet, Split, assemble
from phiscale.data.datasets.evaluated import keep_splits
from phiscale.data.datasets.shard_cache import Shard, index_of, shard_at
from phiscale.data.datasets.shard_patterns import by_split_name
from phiscale.data.datasets.split_names import check_classes, check_known, is_junk
from phiscale.data.reading.decode import DEFAULT_LIMITS, DecodeLimits, open_at_once
from phiscale.data.reading.formats import IMAGE_SUFFIXES
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, join_names, printable

MAX_LABEL_BYTES = 1 << 20
LABELS = (".cls", ".json")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ShardSplit(Split):
    """Images inside uncompressed tars. Files are opened per read: safe in threads and workers."""

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("shard_of", "offsets")

    shards: tuple[str, ...]
    shard_of: NDArray[np.int64]
    """int64, which shard each image is in."""
    offsets: NDArray[np.int64]
    """int64, bytes from the shard's start."""

    def raw(self, i: int, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
        size = int(self.sizes[i])
        if size > limits.max_file_bytes:
            raise BadImage(f"{size:,} bytes, over the limit of {limits.max_file_bytes:,}")
        shard = shard_at(self.shards[self.shard_of[i]])
        try:
            try:
                file = open_at_once(shard.local())
            except FileNotFoundError:  # another process made room for its own just now
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
    """The image set in these tars. Raises DataError for shards or labels that cannot be used.

    `evaluated`: the split to measure, as in `open.open_dataset`.
    """
    placed = [shard if isinstance(shard, Shard) else Shard(str(shard)) for shard in shards]
    by_split = by_split_name(placed, source)
    index = {split: _Index(shards) for split, shards in by_split.items()}
    notes: list[str] = []
    if any(shard_index.has_labels for shard_index in index.values()):
        samples = {split: list(found.labelled()) for split, found in index.items()}
    else:
        samples = {split: list(found.by_folder()) for split, found in index.items()}
        notes.append("no .cls or .json in the shards: an image's folder is its class")
    if odd := sum(found.odd for found in index.values()):
        notes.append(
            f"{count_of(odd, 'link or device', 'links or devices')} in the shards not read"
        )
    for split, found in samples.items():
        if not found:
            raise DataError(f"{source}: the shards of split '{split}' hold no image. Add some.")

    classes, names = _classes(samples, by_split["train"][0], source)
    splits = {}
    for split, found in samples.items():
        if split != "train":
            check_known((names[sample.label] for sample in found), classes, split, source)
        label_of = {name: label for label, name in enumerate(classes)}
        splits[split] = ShardSplit(
            keys=tuple(sample.key for sample in found),
            labels=_int64(label_of[names[sample.label]] for sample in found),
            sizes=_int64(sample.size for sample in found),
            shards=tuple(shard.where for shard in by_split[split]),
            shard_of=_int64(sample.shard for sample in found),
            offsets=_int64(sample.offset for sample in found),
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
            odd, *members = index_of(shard, lambda path, name=shard.name: _scanned(path, name))
            self.odd += odd
            self.members += [_Member(number, *member) for member in members]
            self.has_labels |= any(name.endswith(LABELS) for name, *_ in members)

    def by_folder(self) -> Iterator[_Sample]:
        """One sample per member; its class is the folder it stands in."""
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
        """WebDataset samples in the order of their images."""
        samples: dict[tuple[int, str], dict[str, _Member]] = {}
        for member in self.members:
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            parts = samples.setdefault((member.shard, f"{folder}/{stem}" if folder else stem), {})
            if parts.setdefault(extension.lower(), member) is not member:
                raise DataError(
                    f"Shard '{printable(self.shards[member.shard].name)}' has two members "
                    f"'{printable(member.name)}'. Write the shard again with a key per sample."
                )
        unlabelled = []
        for (number, key), parts in samples.items():
            images = [part for ext, part in parts.items() if f".{ext}" in IMAGE_SUFFIXES]
            name = f"{self.shards[number].name}:{key}"
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


def _scanned(path: Path, shard: str) -> list[Any]:
    """How many members are odd, then (name, offset, size, label's text) of each regular one."""
    places: dict[str, tuple[int, int]] = {}
    found: list[Any] = [0]
    with open_at_once(path) as file:
        for info in _headers(path, shard):
            name = info.name.removeprefix("./")
            if info.isdir() or any(is_junk(part) for part in name.split("/")):
                continue
            if info.islnk() and info.linkname.removeprefix("./") in places:
                offset, size = places[info.linkname.removeprefix("./")]
            elif info.isreg() and not info.issparse():
                offset, size = info.offset_data, info.size
            else:
                found[0] += 1
                continue
            places[name] = offset, size
            text = None
            if name.endswith(LABELS) and size <= MAX_LABEL_BYTES:
                file.seek(offset)
                text = file.read(size).decode("latin-1")
            found.append([name, offset, size, text])
    return found


def _headers(path: Path, shard: str) -> Iterator[tarfile.TarInfo]:
    try:
        with open_at_once(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore  # tarfile would keep every header
                yield info
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"Shard '{printable(shard)}' is no whole, uncompressed tar ({error}). "
            "Unpack it if it is compressed; fetch it again if it was cut short."
        ) from error
    except OSError as error:
        raise DataError(
            f"Shard '{printable(shard)}' cannot be read: {error.strerror}. Check its permissions."
        ) from error


def _classes(
    samples: dict[str, list[_Sample]], first: Shard, source: str
) -> tuple[list[str], dict[int | str, str]]:
    """Class names in the order of their numbers, and the name that each label means."""
    labels = {sample.label for found in samples.values() for sample in found}
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
    """The name that a label means beside a classes.txt: a whole number is an index."""
    if isinstance(label, str) and label in classes:
        return label
    if isinstance(label, int) and 0 <= label < len(classes):
        return classes[label]
    raise DataError(
        f"{source}: label {printable(repr(label))} is not among the {len(classes)} of classes.txt. "
        "Add it there, or fix the label."
    )
