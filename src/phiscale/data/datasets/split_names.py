"""The names that mean something in a data set: splits, classes, and what is no one's image."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from phiscale.errors import DataError
from phiscale.text import join_names

ROLES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders and shards, in small letters -> split."""

_HELD_OUT_WORDS = {"eval": "validation", "holdout": "test", "heldout": "test"}
_SPLIT_SUFFIX = re.compile(r"(?:set|data|images|imgs?)$")

_JUNK = frozenset({"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"})


def is_junk(name: str) -> bool:
    """Hidden, or left behind by a file manager."""
    return name.startswith(".") or name.lower() in _JUNK


def role_of(name: str) -> str | None:
    """The split that a folder of this name holds, or None."""
    return ROLES.get(name.lower())


def likely_role(name: str) -> str | None:
    """The split that a name such as training_set, train2017 or val_images suggests, or None."""
    for word in re.split(r"[^a-z]+", name.lower()):
        for candidate in (word, _SPLIT_SUFFIX.sub("", word)):
            if role := ROLES.get(candidate) or _HELD_OUT_WORDS.get(candidate):
                return role
    return None


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raises DataError for a single class, and for names that only case or Unicode form parts."""
    if len(classes) == 1:
        raise DataError(
            f"{where} has one class only, {join_names(classes)}. A classifier needs at least two."
        )
    earlier: dict[str, str] = {}
    for name in classes:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in earlier:
            raise DataError(
                f"{where} has classes {join_names([earlier[folded], name])}, which differ only by "
                "case or Unicode form. Rename or merge them."
            )
        earlier[folded] = name


def match_unicode(found: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """Name -> class, for names that a class equals only after Unicode normalisation (NFC).

    File systems and archivers differ in how they write an accented letter.
    """
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    same = {name: known.get(unicodedata.normalize("NFC", name), name) for name in found}
    return {name: own for name, own in same.items() if own != name}


def unicode_note(split: str, matched: Mapping[str, str]) -> str:
    """Returns a note on the names that `match_unicode` matched in a split."""
    return (
        f"'{split}' writes {join_names(sorted(matched.values()))} in another Unicode form than "
        "train; matched"
    )


def check_known(found: Iterable[str], classes: Sequence[str], split: str, where: str) -> None:
    """Raises DataError if a held-out split has a class that train lacks."""
    if unknown := sorted(set(found) - set(classes)):
        noun = "class" if len(unknown) == 1 else "classes"
        raise DataError(
            f"{where}: '{split}' has {noun} {join_names(unknown)}, which train lacks. "
            f"Add images of it to train, or remove it from '{split}'."
        )
