"""Image sets for evaluation: one split is enough, and "all" is every image of the set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phiscale.data.datasets.dataset import ImageSet, Split
from phiscale.errors import DataError

SPLIT_NAMES = ("test", "validation", "train", "all")


def select_split(images: ImageSet, name: str) -> Split:
    """Returns a split by its name; "all" is train, validation and test, one after the other.

    Raises DataError for a split without images and for any other name.
    """
    if name not in SPLIT_NAMES:
        raise DataError(f"split={name!r} is no split. Use one of {', '.join(SPLIT_NAMES)}.")
    filled = {part: split for part, split in images.splits() if len(split)}
    if name == "all":
        return join_splits(tuple(filled.values()))
    if name not in filled:
        raise DataError(
            f"{images.source} has no images of split={name!r}. "
            f"Use one of {', '.join((*filled, 'all'))}."
        )
    return filled[name]


def keep_splits(
    source: str,
    classes: Sequence[str],
    train: Split | None = None,
    validation: Split | None = None,
    test: Split | None = None,
    notes: Iterable[str] = (),
) -> ImageSet:
    """Returns an image set of these splits; missing splits are empty.

    Unlike `held_out.assemble` it holds nothing out, so that the set cannot be trained on.
    """
    [some, *_] = [split for split in (train, validation, test) if split is not None]
    empty = some.subset([])
    return ImageSet(
        source, tuple(classes), train or empty, validation or empty, test or empty, tuple(notes)
    )


def join_splits(parts: tuple[Split, ...]) -> Split:
    """Returns the images of several splits as one split, in their order."""
    if len(parts) == 1:
        return parts[0]
    lengths = [len(part) for part in parts]
    return JoinedSplit(
        keys=tuple(key for part in parts for key in part.keys),
        labels=np.concatenate([part.labels for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        limits=parts[0].limits,
        parts=parts,
        part_of=np.repeat(np.arange(len(parts)), lengths),
        row_of=np.concatenate([np.arange(length) for length in lengths]),
    )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class JoinedSplit(Split):
    """Images of several splits."""

    PER_IMAGE: ClassVar[tuple[str, ...]] = ("part_of", "row_of")

    parts: tuple[Split, ...]
    part_of: NDArray[np.int64]
    """The part that each image is in."""
    row_of: NDArray[np.int64]
    """The index of each image within its part."""

    def raw(self, i: int) -> bytes | np.ndarray:
        return self.parts[self.part_of[i]].raw(int(self.row_of[i]))
