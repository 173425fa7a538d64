"""What disks, editors and scripts do to a JSON file that phiscale wrote."""

from __future__ import annotations

import json
from collections.abc import Callable


def _half_the_keys(text: str) -> str:
    data = json.loads(text)
    return json.dumps({key: data[key] for key in list(data)[::2]})


def _other_types(text: str) -> str:
    data = json.loads(text)
    changed = {k: [v] if isinstance(v, dict) else {"a": v} for k, v in data.items()}
    return json.dumps(changed)


def _a_flipped_bit(text: str) -> str:
    """In the middle of the file: of a digit or a letter, so that it is JSON as before."""
    middle = next(i for i in range(len(text) // 2, len(text)) if text[i].isalnum())
    return text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]


DAMAGE: dict[str, Callable[[str], str]] = {
    "an empty list": lambda text: "[]",
    "an empty object": lambda text: "{}",
    "half of its keys": _half_the_keys,
    "values of other types": _other_types,
    "cut in half": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a flipped bit": _a_flipped_bit,
}
