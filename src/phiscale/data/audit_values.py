"""One range for the grey images of a set that have more than eight bits.

Files of 16 or 32 bits do not say which value is white: a camera of 12 bits leaves 15/16 of 16 bits
unused. One range for the whole set, that of its training images, keeps dim images dim and bright
ones bright. A range of each image's own would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phiscale.data.reading.pixels import StoredValues
from phiscale.text import count_of

_TAILS = (0.001, 0.999)
_SPARSE = 4
"""How many times as wide as nearly all pixels need a range may be without a word."""


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """What a grey image of more than eight bits holds."""

    low: float
    high: float
    usual_low: float
    """0.1 % of the pixels lie below."""
    usual_high: float
    """0.1 % of the pixels lie above."""
    white: int | None
    """Value of white by the file's format; None: the format states none."""


def value_facts(stored: StoredValues) -> ValueFacts:
    """Measures an image."""
    values = stored.values
    usual_low, usual_high = np.quantile(values, _TAILS, method="nearest")
    return ValueFacts(
        float(values.min()),
        float(values.max()),
        float(usual_low),
        float(usual_high),
        stored.white,
    )


def range_of(images: Sequence[ValueFacts]) -> tuple[float, float] | None:
    """Returns the lowest and the highest value of all images; None: there are none."""
    if not images:
        return None
    low, high = min(each.low for each in images), max(each.high for each in images)
    return low, high if high > low else low + 1


def describe_values(splits: Mapping[str, Sequence[ValueFacts]]) -> Iterator[str]:
    """Yields sentences about the range of the training images, and what lies beyond it."""
    train = splits.get("train", ())
    value_range = range_of(train)
    if value_range is None:
        return
    low, high = value_range
    whites = {each.white for each in train}
    yield f"{_used(low, high, whites)} This range is read as black to white{_OTHERWISE}"
    usual = min(each.usual_low for each in train), max(each.usual_high for each in train)
    if _SPARSE * (usual[1] - usual[0]) < high - low:
        yield (
            f"All but 0.2 % of the pixels of each have values from {usual[0]:,.6g} to "
            f"{usual[1]:,.6g}. To give them all grey levels: "
            f"`value_range=({usual[0]:g}, {usual[1]:g})`."
        )
    others = [each for name, images in splits.items() if name != "train" for each in images]
    if beyond := sum(each.usual_low < low or each.usual_high > high for each in others):
        yield (
            f"{count_of(beyond, 'held-out image')} with values beyond the training images': they "
            "are clipped."
        )


_OTHERWISE = (
    ", in training, evaluation and prediction alike. `value_range=(LOW, HIGH)` names another."
)


def _used(low: float, high: float, whites: set[int | None]) -> str:
    """Returns a sentence on what files use of what they could hold."""
    known = [white for white in whites if white is not None]
    if len(known) < len(whites):
        return f"Grey files that state no white use {low:,.6g} to {high:,.6g}."
    white = max(known)
    bits = white.bit_length()
    levels = round(255 * high / white) - round(255 * low / white) + 1
    left = "" if levels > 200 else f": {levels} levels would be left"
    return f"{bits}-bit files use {low:,.0f} to {high:,.0f} of {white:,}{left}."
