"""Python parameters that a message names, written as the flags of a command.

The library says `latency_ms=0`; a person at the command line reads `--latency-ms 0`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from phiscale.errors import PhiscaleError

_NAME = r"[a-z]\w*(?:\.[a-z]\w*)*"
_QUOTED = r"\"[^\"]*\"|'[^']*'"
_VALUE = rf"{_QUOTED}|\([^()]*\)|[^\s,;`)\]]*[^\s,;:.?!`)\]]"
_ASSIGNED = re.compile(rf"(?<![\w.`/?&\"'-])(`?)({_NAME})=({_VALUE})(?: -> ({_VALUE}))?\1")
_QUOTED_NAME = re.compile(rf"`({_NAME})`")
_OTHER_NAMES = {
    "train_memory_bytes": "train_memory",
    "compute_ratio": "compute",
    "timeout_s": "timeout",
    "value_range": "range",
}
_PREFIXES = ("budget.", "recipe.", "request.", "runtime.", "task.")

_in_force: Mapping[str, str] = {}


def flags_of(function: Callable[..., Any]) -> dict[str, str]:
    """Maps each parameter of a command to its flag, or to the name of its operand: `DATA`."""
    flags: dict[str, str] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            flags[name] = _metavar(parameter.annotation) or name.upper()
        elif is_dataclass(parameter.default):
            flags |= {path: _flag(path) for path in _paths(parameter.default)}
        else:
            flags[name] = _flag(name)
    return flags


def as_flags(text: str, flags: Mapping[str, str] | None = None) -> str:
    """Writes `name=value` and `` `name` `` of a message as flags: those of the command that runs,
    unless `flags` names others. What is no parameter of the command stays as it is."""
    known = _in_force if flags is None else flags

    def assigned(match: re.Match[str]) -> str:
        flag = known.get(_plain(match[2]))
        return match[0] if flag is None else _with_value(flag, match[3], match[4])

    def named(match: re.Match[str]) -> str:
        return known.get(_plain(match[1]), match[0])

    return _QUOTED_NAME.sub(named, _ASSIGNED.sub(assigned, text)) if known else text


@contextmanager
def in_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """Errors and log lines inside name these flags."""
    global _in_force
    before, _in_force = _in_force, flags
    try:
        yield
    except PhiscaleError as error:
        error.args = tuple(as_flags(a) if isinstance(a, str) else a for a in error.args)
        raise
    finally:
        _in_force = before


def _plain(name: str) -> str:
    """The parameter's name as commands have it."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return _OTHER_NAMES.get(name, name)


def _with_value(flag: str, value: str, new: str | None) -> str:
    """`--seed 3`, `--no-flip`, or a difference: `--seed 3 -> 4`."""
    if new is not None:
        return f"{flag} {_typed(value)} -> {_typed(new)}"
    if value == "True" and flag.startswith("--"):
        return flag
    if value == "False" and flag.startswith("--"):
        within, dot, name = flag.removeprefix("--").rpartition(".")
        return f"--{within}{dot}no-{name}"
    return f"{flag} {_typed(value)}"


def _typed(value: str) -> str:
    """A Python literal as somebody types it."""
    if value == "None":
        return "not given"
    if value.startswith("("):
        return " ".join(_typed(each.strip()) for each in value[1:-1].split(",") if each.strip())
    if value[0] in "\"'" and len(value) > 1 and re.fullmatch(r"[\w./:@*,+-]+", value[1:-1]):
        return value[1:-1]
    return value


def _metavar(annotation: Any) -> str | None:
    metadata = getattr(annotation, "__metadata__", ())
    return next((m.metavar for m in metadata if getattr(m, "metavar", None)), None)


def _paths(group: Any, within: str = "") -> Iterator[str]:
    """Every field of a group of flags, with the names of those that it stands in."""
    for field in fields(group):
        value = getattr(group, field.name)
        if is_dataclass(value):
            yield from _paths(value, f"{within}{field.name}.")
        else:
            yield f"{within}{field.name}"


def _flag(path: str) -> str:
    return f"--{path.replace('_', '-')}"
