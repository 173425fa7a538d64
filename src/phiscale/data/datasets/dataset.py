"""What an image set is, wherever it comes from, and how images are held out of training.

A split is labels, keys, and a way to each image's bytes. Nothing is decoded unless asked for.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.reading.decode import (
    DEFAULT_LIMITS,
    DecodedImage,
    DecodeLimits,
    decode_image,
    open_at_once,
    read_bytes,
    regular_size,
)
from phiscale.data.reading.pixels import WHITE
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, join_names, printable

HELD_OUT = 0.1
"""The fraction of each class that is held out for a split which the data lack."""

_PIECE = 32 * 1024  # bytes hashed at either end of a file


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Split(ABC):
    """Labelled images in a fixed order."""

    keys: tuple[str, ...]
    """What reports call each image: its path within the data, or shard and key."""
    labels: NDArray[np.int64]
    """int64, indices into the classes."""
    sizes: NDArray[np.int64]
    """int64, bytes of each image as stored; -1 where there is no readable file."""

    def __post_init__(self) -> None:
        for array in (self.labels, self.sizes):
            assert array.dtype == np.int64 and array.shape == (len(self.keys),)
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {count_of(len(self), 'image')}>"

    @abstractmethod
    def raw(self, i: int, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes | NDArray[np.uint8]:
        """DecodedImage i as stored: its file's bytes, or uint8 pixels. Raises BadImage."""

    def groups(self) -> NDArray[np.int64] | None:
        """Of each image the file that it is read from, where many share one: their order in a
        training then goes through the files one after the other. None: any order will do."""
        return None

    PER_IMAGE: ClassVar[tuple[str, ...]] = ()
    """Names of a subclass's own arrays that have a row for each image."""

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """These images only, in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        arrays = {name: getattr(self, name)[rows] for name in ("labels", "sizes", *self.PER_IMAGE)}
        return replace(self, keys=tuple(self.keys[i] for i in rows), **arrays)

    def decode(
        self,
        i: int,
        *,
        background: tuple[int, int, int] = WHITE,
        limits: DecodeLimits = DEFAULT_LIMITS,
    ) -> DecodedImage:
        """DecodedImage i and how it was stored. Raises BadImage."""
        raw = self.raw(i, limits)
        if isinstance(raw, bytes):
            return decode_image(raw, background=background, limits=limits)
        image = Image.fromarray(raw)
        return DecodedImage(image.convert("RGB"), "array", image.mode)

    def image(
        self,
        i: int,
        *,
        background: tuple[int, int, int] = WHITE,
        limits: DecodeLimits = DEFAULT_LIMITS,
    ) -> Image.Image:
        """DecodedImage i in RGB, upright. Raises DataError, which names it."""
        try:
            return self.decode(i, background=background, limits=limits).image
        except BadImage as error:
            raise DataError(
                f"{printable(self.keys[i])} cannot be read: {error.reason}. "
                "Fix or remove it; `phiscale check` lists all such files."
            ) from None

    def digest(self, i: int) -> bytes:
        """Equal for equal content. Unequal content may share one (see `FileSplit`).

        An image that cannot be read is known by its key.
        """
        try:
            raw = self.raw(i)
        except BadImage:
            return self._digest_of_key(i)
        return _hash(raw if isinstance(raw, bytes) else np.ascontiguousarray(raw).data)

    def _digest_of_key(self, i: int) -> bytes:
        return _hash(self.keys[i].encode("utf-8", "surrogatepass"))

    def digests(self) -> list[bytes]:
        return [self.digest(i) for i in range(len(self))]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FileSplit(Split):
    """One file per image; keys are paths below `root`, with slashes."""

    root: str

    def path(self, i: int) -> Path:
        return Path(self.root, self.keys[i])

    def raw(self, i: int, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
        return read_bytes(self.path(i), limits)

    def digest(self, i: int) -> bytes:
        """Of the size and both ends of a large file, so that a big set is split in a short time.

        Two large files that differ in the middle only would share it; they would then stand in
        the same split, which does no harm.
        """
        path = self.path(i)
        try:
            size = regular_size(path)
            with open_at_once(path) as file:
                head = file.read(2 * _PIECE if size <= 2 * _PIECE else _PIECE)
                if size <= 2 * _PIECE:
                    return _hash(head)
                file.seek(-_PIECE, 2)
                return _hash(head, file.read(_PIECE), size)
        except (BadImage, OSError):
            return self._digest_of_key(i)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ArraySplit(Split):
    """Images in memory: uint8, N x H x W (grey) or N x H x W x 3."""

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("pixels",)

    pixels: NDArray[np.uint8]

    def raw(self, i: int, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
        return self.pixels[i]


@dataclass(frozen=True)
class BadFile:
    """An image that cannot be read."""

    split: str
    key: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Train, validation and test images of the same classes."""

    source: str
    """As the user gave it."""
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    """What was decided while reading, in sentences."""
    skipped: tuple[BadFile, ...] = ()
    """What `without` took out."""

    def splits(self) -> Iterator[tuple[str, Split]]:
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    def with_note(self, note: str) -> ImageSet:
        return replace(self, notes=(*self.notes, note))

    def fingerprint(self) -> str:
        """SHA-256 of classes, keys, labels and sizes: tells that the data changed, without reading
        them. An edit that keeps a file's size goes unseen; where the data lie does not count."""
        digest = hashlib.sha256()
        for words in (self.classes, *(split.keys for _, split in self.splits())):
            for word in words:
                digest.update(word.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(b"\0")
        for _, split in self.splits():
            digest.update(split.labels.astype("<i8").tobytes())
            digest.update(split.sizes.astype("<i8").tobytes())
        return digest.hexdigest()

    def without(self, bad: Iterable[BadFile]) -> ImageSet:
        """The set without these files, which it records. Raises DataError if too little is left."""
        bad = tuple(bad)
        gone = {(file.split, file.key) for file in bad}
        if not gone:
            return self
        kept = {
            name: split.subset([i for i, key in enumerate(split.keys) if (name, key) not in gone])
            for name, split in self.splits()
        }
        for name, split in kept.items():
            if not len(split):
                raise DataError(f"No image of split '{name}' can be read. Fix or add some.")
        if lost := _lacking(kept["train"], self.classes):
            raise DataError(
                f"No training image of {join_names(lost)} can be read. Fix or add some."
            )
        return replace(
            self,
            train=kept["train"],
            validation=kept["validation"],
            test=kept["test"],
            notes=(*self.notes, f"{count_of(len(gone), 'unreadable file')} skipped"),
            skipped=self.skipped + bad,
        )


def assemble(
    source: str,
    classes: Sequence[str],
    train: Split,
    validation: Split | None = None,
    test: Split | None = None,
    notes: Iterable[str] = (),
) -> ImageSet:
    """An image set from the splits that there are: what is missing is held out of train.

    A single held-out split is the test, whatever its name. Raises DataError if train is too small.
    """
    notes = list(notes)
    if validation is not None and test is None:
        validation, test = None, validation
    if test is None:
        rest, testing, validating = hold_out(train.digests(), train.labels, (HELD_OUT, HELD_OUT))
        train, validation, test = (train.subset(i) for i in (rest, validating, testing))
        notes.append("80 % train, 10 % validate, 10 % test: by content hash, within each class")
    elif validation is None:
        rest, validating = hold_out(train.digests(), train.labels, (HELD_OUT,))
        train, validation = train.subset(rest), train.subset(validating)
        notes.append("10 % of train, by content hash within each class, validates")
    assert validation is not None
    for name, split in (("validation", validation), ("test", test)):
        if not len(split):
            raise DataError(
                f"{source}: too few different images to hold any out for split '{name}'. "
                "Give each class at least three, or folders train/, validation/ and test/."
            )
        if lacking := _lacking(split, classes):
            noun = "class" if len(lacking) == 1 else "classes"
            notes.append(f"split '{name}' lacks {noun} {join_names(lacking)}")
    if lacking := _lacking(train, classes):  # each of its images stands in another class too
        raise DataError(
            f"{source}: no training image is left for {join_names(lacking)}, since the same images "
            "stand in other classes. Keep each image in one class."
        )
    return ImageSet(source, tuple(classes), train, validation, test, tuple(notes))


def _lacking(split: Split, classes: Sequence[str]) -> list[str]:
    there = set(split.labels.tolist())
    return [name for label, name in enumerate(classes) if label not in there]


def hold_out(
    digests: Sequence[bytes], labels: NDArray[np.int64], parts: Sequence[float]
) -> tuple[NDArray[np.int64], ...]:
    """Indices of the rest, then of each held-out part; every index once, in rising order.

    Within each class the distinct contents are ranked by digest, and the first go to the first
    part: no chance, no dependence on the order of files, and equal contents never part ways, not
    even where they stand under two classes. Each part gets at least one content of every class
    that has enough to leave one to the rest.
    """
    owner: dict[bytes, int] = {}
    for digest, label in zip(digests, labels.tolist(), strict=True):
        owner[digest] = min(label, owner.get(digest, label))
    contents: dict[int, list[bytes]] = {}
    for digest in sorted(owner):
        contents.setdefault(owner[digest], []).append(digest)
    where: dict[bytes, int] = {}
    for ranked in contents.values():
        at = 0
        for part, share in enumerate(parts, start=1):
            left = len(ranked) - at - 1  # one stays in the rest
            count = min(left, max(1, int(share * len(ranked) + 0.5)))
            where.update((digest, part) for digest in ranked[at : at + count])
            at += count
    places = np.array([where.get(digest, 0) for digest in digests], dtype=np.int64)
    return tuple(np.flatnonzero(places == part) for part in range(len(parts) + 1))


def _hash(*pieces: bytes | memoryview | int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(str(piece).encode() if isinstance(piece, int) else piece)
    return digest.digest()
