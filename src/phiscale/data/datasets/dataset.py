"""Image sets and their splits, wherever they come from.

A split has labels, keys, and a way to each image's bytes. Images are decoded when they are read.
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
from phiscale.data.reading.pixels import DEFAULT_OPTIONS, DecodeOptions
from phiscale.errors import BadImage, DataError
from phiscale.text import count_of, join_names, printable

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
    limits: DecodeLimits = DEFAULT_LIMITS
    """What a file may claim before it is decoded."""

    def __post_init__(self) -> None:
        for array in (self.labels, self.sizes):
            assert array.dtype == np.int64 and array.shape == (len(self.keys),)
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {count_of(len(self), 'image')}>"

    @abstractmethod
    def raw(self, i: int) -> bytes | NDArray[np.uint8]:
        """Returns image i as stored: bytes of its file, or uint8 pixels. BadImage: unreadable."""

    def groups(self) -> NDArray[np.int64] | None:
        """Returns the index of the file that each image is read from, where files hold many images.

        A training then reads one file after the other. None: any order is equally fast.
        """
        return None

    PER_IMAGE: ClassVar[tuple[str, ...]] = ()
    """Names of a subclass's own arrays that have a row for each image."""

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """Returns a split of these images, in this order."""
        rows = np.asarray(indices, dtype=np.int64)
        arrays = {name: getattr(self, name)[rows] for name in ("labels", "sizes", *self.PER_IMAGE)}
        return replace(self, keys=tuple(self.keys[i] for i in rows), **arrays)

    def decode(self, i: int, options: DecodeOptions = DEFAULT_OPTIONS) -> DecodedImage:
        """Decodes image i, and tells how it was stored. BadImage: it cannot be read."""
        raw = self.raw(i)
        if isinstance(raw, bytes):
            return decode_image(raw, options, limits=self.limits)
        image = Image.fromarray(raw)
        return DecodedImage(image.convert("RGB"), "array", image.mode)

    def image(self, i: int, options: DecodeOptions = DEFAULT_OPTIONS) -> Image.Image:
        """Returns image i in RGB, upright. DataError, which names it: it cannot be read."""
        try:
            return self.decode(i, options).image
        except BadImage as error:
            raise DataError(
                f"{printable(self.keys[i])} cannot be read: {error.reason}. "
                "Fix or remove it; `phiscale check` lists all such files."
            ) from None

    def digest(self, i: int) -> bytes:
        """Returns a digest that is equal for equal content; see `FileSplit` for large files.

        The digest of an image that cannot be read is that of its key.
        """
        try:
            raw = self.raw(i)
        except BadImage:
            return self._digest_of_key(i)
        return _hash(raw if isinstance(raw, bytes) else np.ascontiguousarray(raw).data)

    def _digest_of_key(self, i: int) -> bytes:
        return _hash(self.keys[i].encode("utf-8", "surrogatepass"))

    def digests(self) -> list[bytes]:
        """Returns the digest of each image."""
        return [self.digest(i) for i in range(len(self))]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FileSplit(Split):
    """One file per image; keys are paths below `root`, with slashes."""

    root: str

    def path(self, i: int) -> Path:
        return Path(self.root, self.keys[i])

    def raw(self, i: int) -> bytes:
        return read_bytes(self.path(i), self.limits)

    def digest(self, i: int) -> bytes:
        """Returns a digest of the content, or of the size and both ends of a large file.

        So a large set is split quickly. Large files that differ only in the middle share a digest.
        They are then in the same split, which does no harm.
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

    def raw(self, i: int) -> NDArray[np.uint8]:
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
    """The folder, pattern or name as the user wrote it."""
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    """Sentences about how the data were read."""
    skipped: tuple[BadFile, ...] = ()
    """The files that `without` removed."""

    def splits(self) -> Iterator[tuple[str, Split]]:
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    def with_limits(self, limits: DecodeLimits) -> ImageSet:
        """Returns the set with other limits of what its files may claim."""
        return replace(
            self, **{name: replace(split, limits=limits) for name, split in self.splits()}
        )

    def with_note(self, note: str) -> ImageSet:
        return replace(self, notes=(*self.notes, note))

    def fingerprint(self) -> str:
        """Returns the SHA-256 of classes, keys, labels and sizes, without reading any image.

        It shows that the data changed, but not an edit that keeps a file's size. It does not depend
        on the place of the data.
        """
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
        """Returns the set without these files, and records them. DataError: too few are left."""
        bad = tuple(bad)
        removed = {(file.split, file.key) for file in bad}
        if not removed:
            return self
        kept = {
            name: split.subset(
                [i for i, key in enumerate(split.keys) if (name, key) not in removed]
            )
            for name, split in self.splits()
        }
        for name, split in kept.items():
            if not len(split):
                raise DataError(f"No image of split '{name}' can be read. Fix or add some.")
        if lost := classes_without_images(kept["train"], self.classes):
            raise DataError(
                f"No training image of {join_names(lost)} can be read. Fix or add some."
            )
        return replace(
            self,
            train=kept["train"],
            validation=kept["validation"],
            test=kept["test"],
            notes=(*self.notes, f"{count_of(len(removed), 'unreadable file')} skipped"),
            skipped=self.skipped + bad,
        )


def classes_without_images(split: Split, classes: Sequence[str]) -> list[str]:
    """Returns the classes of which a split has no image."""
    present = set(split.labels.tolist())
    return [name for label, name in enumerate(classes) if label not in present]


def _hash(*pieces: bytes | memoryview | int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(str(piece).encode() if isinstance(piece, int) else piece)
    return digest.digest()
