"""What an audit's numbers mean for a training, in plain sentences. Pure functions of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from phiscale.data.audit_values import ValueFacts, describe_values
from phiscale.text import count_of, join_names, printable

FEW_PER_CLASS = 20
FEW_IN_ALL = 5_000
"""Training images, below which pretrained weights do better than a fresh start as a rule."""
THUMBNAIL_PX = 64
"""Up to this size pretrained weights, made for larger images, are of little help."""
USE_PRETRAINED = "start from pretrained weights rather than from scratch."
UNBALANCED = 3.0
WIDE_INTERVAL = 0.03
"""Half width of a 95 % interval, as a fraction."""
LARGE_PX = 768
ELONGATED = 2.0

_Place = tuple[str, str, str]  # split, key, class


@dataclass(frozen=True)
class Facts:
    """What advice rests on; readable images only."""

    classes: Sequence[str]
    counts: dict[str, tuple[int, ...]]
    shorter_sides: Sequence[float]
    """Pixels."""
    aspects: Sequence[float]
    duplicates: Sequence[Sequence[_Place]]
    multi_page: Sequence[str] = ()
    """Keys of files with more than one page or frame."""
    values: Mapping[str, Sequence[ValueFacts]] = field(default_factory=dict)
    """Split -> what its grey files of more than eight bits hold."""


def advise(facts: Facts) -> tuple[str, ...]:
    """Returns sentences, the gravest first."""
    return (
        *_leaks(facts),
        *_two_classes(facts),
        *describe_values(facts.values),
        *_numbers(facts),
        *_balance(facts),
        *_intervals(facts),
        *_sizes(facts),
        *_pages(facts),
    )


def _pages(facts: Facts) -> Iterator[str]:
    if facts.multi_page:
        files = count_of(len(facts.multi_page), "file")
        verb = "has" if len(facts.multi_page) == 1 else "have"
        yield (
            f"{files} {verb} more than one page or frame, of which the first alone is read: "
            f"{join_names(facts.multi_page)}."
        )


def _leaks(facts: Facts) -> Iterator[str]:
    """Yields what to remove. Held-out splits stay as they are: results remain comparable."""
    for held_out in ("test", "validation"):
        outside = ("train", "validation") if held_out == "test" else ("train",)
        remove = [
            key
            for group in facts.duplicates
            if any(split == held_out for split, _, _ in group)
            for split, key, _ in group
            if split in outside
        ]
        if remove:
            yield (
                f"{count_of(len(remove), 'image')} outside '{held_out}' with the same pixels as "
                f"one inside it flatter its accuracy. Remove {join_names(remove)}."
            )


def _two_classes(facts: Facts) -> Iterator[str]:
    torn = [group for group in facts.duplicates if len({name for _, _, name in group}) > 1]
    if torn:
        groups = join_names(" = ".join(key for _, key, _ in group) for group in torn)
        images = count_of(len(torn), "image")
        yield f"{images} under more than one class. Keep each in one: {groups}."


def _numbers(facts: Facts) -> Iterator[str]:
    train = facts.counts["train"]
    few = [name for name, n in zip(facts.classes, train, strict=True) if n < FEW_PER_CLASS]
    if few:
        noun = "class" if len(few) == 1 else "classes"
        yield (
            f"Fewer than {FEW_PER_CLASS} training images in {noun} {join_names(few)}: "
            "hardly enough to learn it by. Add some."
        )
    large_enough = median(facts.shorter_sides or [0]) > THUMBNAIL_PX
    if sum(train) < FEW_IN_ALL and large_enough:
        yield (f"{count_of(sum(train), 'training image')}: {USE_PRETRAINED}")


def _balance(facts: Facts) -> Iterator[str]:
    train = facts.counts["train"]
    most, least = max(train), min(train)
    if least and most / least >= UNBALANCED:
        large, small = facts.classes[train.index(most)], facts.classes[train.index(least)]
        yield (
            f"Class '{printable(large)}' has {most / least:.1f} times the training images of "
            f"'{printable(small)}'. `fit` then trains with class weights, the other commands as "
            "the recipe says. Read macro-F1 beside accuracy."
        )


def _intervals(facts: Facts) -> Iterator[str]:
    for split, matter in (("validation", "chooses checkpoints"), ("test", "is the result")):
        number = sum(facts.counts[split])
        half = 1.96 * math.sqrt(0.9 * 0.1 / number) if number else 1.0
        if half > WIDE_INTERVAL:
            yield (
                f"'{split}', which {matter}, has {count_of(number, 'image')}: an accuracy of "
                f"90 % would be known to ± {100 * half:.1f} points (95 %)."
            )


def _sizes(facts: Facts) -> Iterator[str]:
    if not facts.shorter_sides:
        return
    usual = median(facts.shorter_sides)
    yield (
        f"The median shorter side is {usual:g} px: a resolution above that adds interpolation, "
        "not detail."
    )
    small = sum(side < usual / 2 for side in facts.shorter_sides) / len(facts.shorter_sides)
    if small > 0.05:
        yield (
            f"{100 * small:.0f} % of the images have less than half of that and will look "
            "blurred beside the others."
        )
    if usual > LARGE_PX:
        yield (
            "Decoding images this large takes most of a training's time. "
            "Shrink them once, to twice the resolution you train at."
        )
    long = sum(aspect > ELONGATED for aspect in facts.aspects) / len(facts.aspects)
    if long > 0.1:
        yield (
            f"{100 * long:.0f} % of the images are more than twice as long as wide: "
            "the central square leaves out over half of each."
        )
