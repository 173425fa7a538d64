"""Limits as people write them, `macs="400M"`, as a `Budget`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from phiscale.errors import UsageError
from phiscale.planning.budget import Budget, parse_bytes, parse_count

Limit = float | str | None

_PARSERS: Mapping[str, Callable[[str], int]] = {
    "macs": parse_count,
    "params": parse_count,
    "weight_bytes": parse_bytes,
    "train_memory_bytes": parse_bytes,
}


def budget_of(limits: Mapping[str, Limit], budget: Budget | None = None) -> Budget:
    """The budget of limits by name, added to those of `budget`. Text such as "400M" or "20MB" is
    read. Raises UsageError for a limit that is in both, or that is no number."""
    budget = budget or Budget()
    stated = {name: _read(name, value) for name, value in limits.items() if value is not None}
    if twice := stated.keys() & budget.limits.keys():
        raise UsageError(f"`{min(twice)}` is in `budget` too. Give it once.")
    return replace(budget, **stated)


def _read(name: str, value: float | str) -> float:
    if not isinstance(value, str):
        return value
    if name not in _PARSERS:
        raise UsageError(f"{name}={value!r} is text. Use a number.")
    try:
        return _PARSERS[name](value)
    except UsageError as error:
        _, _, rest = str(error).partition(repr(value))
        raise UsageError(f"{name}={value!r}{rest}") from None
