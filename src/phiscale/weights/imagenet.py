"""ImageNet's thousand classes, and how a model's classes meet those of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from phiscale.files import read_json

TABLE = Path(__file__).parents[1] / "planning" / "tables" / "imagenet.json"


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Of the classes, in the order that every library numbers them in."""
    return tuple(read_json(TABLE)["names"])


@cache
def _wordnet_indices() -> dict[str, int]:
    """WordNet ids, as the folders of ImageNet are called -> numbers."""
    return {wordnet_id: number for number, wordnet_id in enumerate(read_json(TABLE)["ids"])}


def class_names(classes: int) -> tuple[str, ...]:
    """For weights that name none: ImageNet's where there are 1,000; else numbers."""
    return imagenet_classes() if classes == 1000 else tuple(map(str, range(classes)))


def class_indices(model: Sequence[str], data: Sequence[str]) -> list[int] | None:
    """Where the data's classes stand among the model's: by name, or by WordNet id where the model
    knows ImageNet's; None where it does not know them all."""
    known = {name: number for number, name in enumerate(model)}
    if tuple(model) == imagenet_classes():
        known = {**_wordnet_indices(), **known}
    found = [known.get(name) for name in data]
    return [place for place in found if place is not None] if None not in found else None
