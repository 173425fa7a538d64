"""What differs between two versions of plain data, for messages about a folder that is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A setting whose value differs; as text `name: before -> after`."""

    name: str  # with those around it: `optim.lr_peak`
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}"


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[Difference]:
    """Returns the settings whose values differ, in the order of their names."""
    changed: list[Difference] = []
    for key in sorted(before.keys() | after.keys()):
        x, y = before.get(key), after.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            changed += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            changed.append(Difference(f"{prefix}{key}", x, y))
    return changed
