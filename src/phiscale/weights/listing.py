"""timm's functions that list models and weights. They need no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from phiscale.arch.families import MEMBERS
from phiscale.weights.pretrained import pretrained_weights


def list_models(
    filter: str | Iterable[str] = "*",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = (),
) -> list[str]:
    """Returns the sorted names of models; with `pretrained`, `name.tag` of known weights."""
    return (
        list_pretrained(filter, exclude_filters)
        if pretrained
        else [
            name for name in sorted(MEMBERS, key=_natural) if _passes(name, filter, exclude_filters)
        ]
    )


def list_pretrained(
    filter: str | Iterable[str] = "*", exclude_filters: str | Iterable[str] = ()
) -> list[str]:
    """Returns the sorted `name.tag` of all known weights."""
    names = [f"{row.member}.{row.tag}" for row in pretrained_weights()]
    return sorted((name for name in names if _passes(name, filter, exclude_filters)), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a key for sorting in which numbers count as numbers: resnet50 before resnet101."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _passes(name: str, include: str | Iterable[str], exclude: str | Iterable[str]) -> bool:
    """Tells whether the patterns include a name, by the whole name or the part before its tag."""

    def matches(patterns: str | Iterable[str]) -> bool:
        listed = [patterns] if isinstance(patterns, str) else patterns
        forms = (name, name.partition(".")[0])
        return any(fnmatchcase(form, pattern or "*") for pattern in listed for form in forms)

    return matches(include) and not matches(exclude)
