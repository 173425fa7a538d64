"""Limits: what a network may cost, and how costs are read and written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

from phiscale.errors import UsageError

_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BYTES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits of a network's costs. None: no limit.

    Raises UsageError for a limit that is not a finite number above 0, and for a count below 1.
    """

    macs: float | None = None
    """Multiply-adds for one image."""
    params: float | None = None
    """Number of parameters."""
    latency_ms: float | None = None
    """Latency of one image by the device model, in milliseconds."""
    weight_bytes: float | None = None
    """Size of the weights in float32, in bytes."""
    train_memory_bytes: float | None = None
    """Memory of a training batch in float32, in bytes."""
    train_minutes: float | None = None
    """Training time in minutes."""

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            if isinstance(cast("object", value), str):
                raise UsageError(
                    f"{name}={value!r} is text. Use a number such as 400e6; `fit` and `solve` of "
                    "the command line read texts."
                )
            if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
                raise UsageError(
                    f"{name}={value} is not a finite number above 0. Use one, or leave it out."
                )
            if value < 1 and name not in ("latency_ms", "train_minutes"):
                raise UsageError(
                    f"{name}={value:g} is less than 1, and its unit is 1. "
                    "Use 400e6 for 400M, and 20e6 for 20MB."
                )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


def parse_count(text: str) -> int:
    """Reads a count such as 400M or 1.8G (1.8B, as papers write it); a bare number is units.

    Raises UsageError for other text and for a count that is not from 1 to 2^63.
    """
    return _parse(text, _COUNTS, "count", "400M or 1.8G")


def parse_bytes(text: str) -> int:
    """Reads a size: 20MB is 20 * 10^6, 20MiB is 20 * 2^20, and a bare number is bytes.

    Raises UsageError for other text and for a size that is not from 1 to 2^63.
    """
    return _parse(text, _BYTES, "size", "20MB (10^6) or 20MiB (2^20)")


def _parse(text: str, units: Mapping[str, int], what: str, example: str) -> int:
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([A-Za-z]*)\s*", text)
    unit = units.get(match[3].upper()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a {what}. Use one such as {example}.")
    value = float(match[1] + (match[2] or "")) * unit
    if not 1 <= value < 2**63:
        raise UsageError(f"{text!r} is not a {what} of 1 or more. Use one such as {example}.")
    return round(value)


_PARSERS: Mapping[str, Callable[[str], int]] = {
    "macs": parse_count,
    "params": parse_count,
    "weight_bytes": parse_bytes,
    "train_memory_bytes": parse_bytes,
}


def budget_of(limits: Mapping[str, float | str | None], budget: Budget | None = None) -> Budget:
    """Reads limits as people write them, `macs="400M"`, and adds them to those of `budget`.

    Raises UsageError for a limit that is in both, or that is no number.
    """
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


@dataclass(frozen=True)
class Limit:
    """A limit and what one network needs of it."""

    name: str
    value: float  # what the network needs; of training minutes: for its fewest epochs
    allowed: float

    @property
    def met(self) -> bool:
        """Whether the network is within the limit."""
        return self.value <= self.allowed

    def __str__(self) -> str:
        for digits in (3, 6, 12):  # 400M > 400M would say nothing
            value, allowed = (shorten(self.name, n, digits) for n in (self.value, self.allowed))
            if value != allowed:
                break
        return f"{self.name} {value} > {allowed}"


# How costs are written


def percent(error: float) -> str:
    """An error with its unit: 23.1 %."""
    return f"{100 * error:.1f} %" if error < 0.99 else "over 99 %"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> tuple[float, str]:
    unit = next(((name, size) for name, size in units if value >= size), units[-1])
    return value / unit[1], unit[0]


def _units(limit: str) -> list[tuple[str, float]]:
    """The units of a limit that `parse_count` and `parse_bytes` read, largest first."""
    if limit in ("macs", "params"):
        return [("G", 1e9), ("M", 1e6), ("K", 1e3), ("", 1)]
    if limit in ("weight_bytes", "train_memory_bytes"):
        return [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("B", 1)]
    return [("", 1)]


def shorten(limit: str, value: float, digits: int = 3) -> str:
    """A value of a limit, as people write it: 1.83G, 20MB, 0.08."""
    number, unit = _scaled(value, _units(limit))
    return f"{number:.0f}{unit}" if number >= 1000 else f"{number:.{digits}g}{unit}"


def sufficient(limit: Limit) -> str:
    """The least round number that the network is within, as people write it."""
    number, unit = _scaled(limit.value, _units(limit.name))
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step) * step:g}{unit}"


def quantity(limit: str, value: float) -> str:
    """A value of a limit with its noun: 1.83G MACs, 20MB of weights, 0.08 ms."""
    nouns = {
        "macs": "MACs",
        "params": "params",
        "latency_ms": "ms",
        "weight_bytes": "of weights",
        "train_memory_bytes": "of training memory",
        "train_minutes": "minutes",
    }
    return f"{shorten(limit, value)} {nouns[limit]}"
