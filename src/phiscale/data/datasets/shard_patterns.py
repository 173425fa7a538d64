"""Finds the shards of a pattern or folder, and the split that each holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from phiscale.data.datasets.shard_cache import Shard
from phiscale.data.datasets.split_names import ROLES, is_junk
from phiscale.errors import DataError
from phiscale.text import count_of, join_names, printable

MAX_SHARDS = 100_000

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_ROLE_PREFIX = re.compile(rf"({'|'.join(sorted(ROLES, key=len, reverse=True))})(?![a-z])", re.I)


def expand(pattern: str) -> list[Path]:
    """Returns the shards of a path with {000..099}, {a,b} or wildcards. DataError if none."""
    if Path(pattern).exists():  # braces and brackets may stand in a real name
        return [Path(pattern)]
    paths = [path for name in braced(pattern) for path in _globbed(name)]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise DataError(
            f"'{printable(pattern)}': {count_of(len(missing), 'shard')} missing: "
            f"{join_names(missing)}. "
            "Fix the pattern, or fetch what is missing."
        )
    if not paths:
        raise DataError(f"No shard matches '{printable(pattern)}'. Fix the pattern.")
    return paths


def braced(pattern: str) -> list[str]:
    """The names that {000..099}, {a,b} and {a-{0..9},b-{0..4}} mean, in this order, as in a shell;
    wildcards stay."""
    names = list(islice(_names(pattern, pattern), MAX_SHARDS + 1))
    if len(names) > MAX_SHARDS:
        raise DataError(
            f"'{printable(pattern)}' means over {MAX_SHARDS:,} shards. Give at most {MAX_SHARDS:,}."
        )
    return names


def _names(text: str, pattern: str) -> Iterator[str]:
    """What a part of a pattern means: its first braces that are choices, times all that follows."""
    for opening in (at for at, letter in enumerate(text) if letter == "{"):
        pieces, closing = _pieces(text, opening)
        within = text[opening + 1 : closing]
        numbers = _RANGE.fullmatch(within)
        if closing < 0 or (len(pieces) < 2 and not numbers):
            continue
        choices = (
            _numbers(numbers[1], numbers[2], pattern)
            if numbers
            else (name for piece in pieces for name in _names(piece, pattern))
        )
        for name in choices:
            for rest in _names(text[closing + 1 :], pattern):
                yield text[:opening] + name + rest
        return
    yield text


def _pieces(text: str, opening: int) -> tuple[list[str], int]:
    """What the commas between an opening brace and its own closing one part, and where that is: -1
    for nowhere."""
    depth, starts = 0, [opening + 1]
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if text[at] == "," and depth == 1:
            starts.append(at + 1)
        if depth == 0:
            ends = [*(start - 1 for start in starts[1:]), at]
            return [text[a:b] for a, b in zip(starts, ends, strict=True)], at
    return [], -1


def _numbers(first: str, last: str, pattern: str) -> list[str]:
    low, high = int(first), int(last)
    if low > high or high - low >= MAX_SHARDS:
        raise DataError(
            f"'{printable(pattern)}' counts from {first} to {last}. "
            f"Count upwards, over at most {MAX_SHARDS:,} shards."
        )
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    return [str(number).zfill(width) for number in range(low, high + 1)]


def _globbed(name: str) -> list[Path]:
    if not any(c in name for c in "*?["):
        return [Path(name)]
    path = Path(name)
    anchor = Path(path.anchor) if path.anchor else Path()
    return sorted(anchor.glob(str(path.relative_to(path.anchor))))


def shards_in(folder: Path) -> list[Path]:
    """Returns the tars in a folder and in its folders train/, val/, ..."""
    inner = (sub for sub in sorted(folder.iterdir()) if sub.name.lower() in ROLES and sub.is_dir())
    return [
        path
        for place in (folder, *inner)
        for path in sorted(place.iterdir())
        if path.suffix.lower() == ".tar" and path.is_file() and not is_junk(path.name)
    ]


def by_split_name(paths: Sequence[Shard], source: str) -> dict[str, list[Shard]]:
    """Groups shards by the split that their names, or else their folders' names, begin with."""
    by_split: dict[str | None, list[Shard]] = {}
    for path in paths:
        named = _ROLE_PREFIX.match(path.name) or _ROLE_PREFIX.fullmatch(path.folder)
        by_split.setdefault(ROLES[named[1].lower()] if named else None, []).append(path)
    nameless = by_split.pop(None, [])
    if not by_split:
        return {"train": nameless}
    if nameless:
        raise DataError(
            f"{source}: the split of {join_names(path.name for path in nameless)} cannot be told. "
            "Begin every shard's name with train, val or test, or none."
        )
    splits = {split: shards for split, shards in by_split.items() if split}
    if "train" not in splits:
        if len(splits) == 1:  # one split asked for by its name: all the data there are
            return {"train": next(iter(splits.values()))}
        raise DataError(f"{source} has no train shards. Add some whose names begin with train.")
    return splits
