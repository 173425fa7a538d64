"""How file and class names stand in sentences: nothing in a name can forge a line of a report."""

from __future__ import annotations

from collections.abc import Iterable


def shown(name: str) -> str:
    """The name with control characters, line breaks and undecodable bytes as escapes."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def listed(names: Iterable[str], most: int = 5) -> str:
    """'a', 'b', 'c' and 4 more."""
    quoted = [f"'{shown(name)}'" for name in names]
    left = len(quoted) - most
    if left > 0:
        return f"{', '.join(quoted[:most])} and {left:,} more"
    if len(quoted) > 1:
        return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return "".join(quoted)


def counted(number: int, noun: str, plural: str = "") -> str:
    """1 picture, 2 pictures, 3 classes."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
