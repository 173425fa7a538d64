"""ImageNet's 1,000 classes, and a data set's classes among those of a model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from phiscale.files import read_json

TABLE = Path(__file__).parents[1] / "planning" / "tables" / "imagenet.json"


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Returns the names of the 1,000 classes, in the order of their numbers."""
    return tuple(read_json(TABLE)["names"])


@cache
def _wordnet_indices() -> dict[str, int]:
    """Returns WordNet id -> number. ImageNet's folders are called by these ids."""
    return {wordnet_id: number for number, wordnet_id in enumerate(read_json(TABLE)["ids"])}


def class_names(classes: int) -> tuple[str, ...]:
    """Returns class names for weights without any: ImageNet's for 1,000 classes, else numbers."""
    return imagenet_classes() if classes == 1000 else tuple(map(str, range(classes)))


def class_indices(model: Sequence[str], data: Sequence[str]) -> list[int] | None:
    """Returns the index of each of the data's classes among the model's; None if one is missing.

    A class is found by its name, in whichever Unicode form, or by its WordNet id where the model's
    classes are ImageNet's.
    """
    index_of = {name: number for number, name in enumerate(model)}
    if tuple(model) == imagenet_classes():
        index_of = {**_wordnet_indices(), **index_of}
    composed = {unicodedata.normalize("NFC", name): number for name, number in index_of.items()}
    indices = [
        index_of.get(name, composed.get(unicodedata.normalize("NFC", name))) for name in data
    ]
    return None if None in indices else [index for index in indices if index is not None]
