"""Completes an image set: splits that the data lack are held out of the training images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from phiscale.data.datasets.dataset import ImageSet, Split, classes_without_images
from phiscale.errors import DataError
from phiscale.text import join_names

HELD_OUT = 0.1
"""The fraction of each class that is held out for a split which the data lack."""


def assemble(
    source: str,
    classes: Sequence[str],
    train: Split,
    validation: Split | None = None,
    test: Split | None = None,
    notes: Iterable[str] = (),
) -> ImageSet:
    """Returns an image set from the splits that there are; missing ones are held out of train.

    A single held-out split is the test, whatever its name. DataError: train is too small.
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
        if lacking := classes_without_images(split, classes):
            noun = "class" if len(lacking) == 1 else "classes"
            notes.append(f"split '{name}' lacks {noun} {join_names(lacking)}")
    if lacking := classes_without_images(train, classes):  # all of them are in other classes, too
        raise DataError(
            f"{source}: no training image is left for {join_names(lacking)}, since the same images "
            "stand in other classes. Keep each image in one class."
        )
    return ImageSet(source, tuple(classes), train, validation, test, tuple(notes))


def hold_out(
    digests: Sequence[bytes], labels: NDArray[np.int64], parts: Sequence[float]
) -> tuple[NDArray[np.int64], ...]:
    """Returns the indices of the rest, then of each held-out part: each index once, rising.

    Within each class, distinct contents are sorted by digest, and the first go to the first part.
    So nothing depends on chance or on the order of files. Equal contents stay together, even under
    two classes. Each part gets a content of every class that has enough to leave one to the rest.
    """
    owner: dict[bytes, int] = {}
    for digest, label in zip(digests, labels.tolist(), strict=True):
        owner[digest] = min(label, owner.get(digest, label))
    contents: dict[int, list[bytes]] = {}
    for digest in sorted(owner):
        contents.setdefault(owner[digest], []).append(digest)
    part_of: dict[bytes, int] = {}
    for ranked in contents.values():
        start = 0
        for part, share in enumerate(parts, start=1):
            left = len(ranked) - start - 1  # one stays in the rest
            count = min(left, max(1, int(share * len(ranked) + 0.5)))
            part_of.update((digest, part) for digest in ranked[start : start + count])
            start += count
    part_numbers = np.array([part_of.get(digest, 0) for digest in digests], dtype=np.int64)
    return tuple(np.flatnonzero(part_numbers == part) for part in range(len(parts) + 1))
