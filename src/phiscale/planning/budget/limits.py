"""Limits: what a network may cost, how they are typed, and how a network stands to them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

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
    """Upper limits, each of them kept exactly; None = no limit."""

    macs: float | None = None
    params: float | None = None
    latency_ms: float | None = None  # one image, by the device model
    weight_bytes: float | None = None  # fp32
    train_memory_bytes: float | None = None  # fp32, of a batch
    train_minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.limits.items():
            if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
                raise UsageError(
                    f"{name}={value} is no limit. Use a number above 0, or leave it out."
                )
            if value < 1 and name not in ("latency_ms", "train_minutes"):
                raise UsageError(
                    f"{name}={value:g} is less than one. Counts are in units: "
                    "write 400M or 1.8G, and 20MB for bytes."
                )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


def parse_count(text: str) -> int:
    """400M, 1.8G (or 1.8B, as papers write); a bare number is units."""
    return _parse(text, _COUNTS, "count", "400M or 1.8G")


def parse_bytes(text: str) -> int:
    """20MB = 20 * 10^6, 20MiB = 20 * 2^20; a bare number is bytes."""
    return _parse(text, _BYTES, "size", "20MB (10^6) or 20MiB (2^20)")


def _parse(text: str, units: Mapping[str, int], what: str, example: str) -> int:
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([A-Za-z]*)\s*", text)
    unit = units.get(found[3].upper()) if found else None
    if found is None or unit is None:
        raise UsageError(f"{text!r} is no {what}. Write {example}.")
    value = float(found[1] + (found[2] or "")) * unit
    if not 1 <= value < 2**63:
        raise UsageError(f"{text!r} is no {what} of 1 or more. Write {example}.")
    return round(value)


@dataclass(frozen=True)
class Limit:
    """What one network takes of one limit. Of training minutes: what its fewest epochs take."""

    name: str
    value: float
    allowed: float

    @property
    def met(self) -> bool:
        return self.value <= self.allowed

    def __str__(self) -> str:
        for digits in (3, 6, 12):  # 400M > 400M would say nothing
            taken, allowed = (typed(self.name, n, digits) for n in (self.value, self.allowed))
            if taken != allowed:
                break
        return f"{self.name} {taken} > {allowed}"


# How they are written and read


def percent(error: float) -> str:
    return f"{100 * error:.1f} %" if error < 0.99 else "over 99 %"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> tuple[float, str]:
    unit = next(((name, size) for name, size in units if value >= size), units[-1])
    return value / unit[1], unit[0]


def _units(limit: str) -> list[tuple[str, float]]:
    """The units that the command line takes, largest first."""
    if limit in ("macs", "params"):
        return [("G", 1e9), ("M", 1e6), ("K", 1e3), ("", 1)]
    if limit in ("weight_bytes", "train_memory_bytes"):
        return [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("B", 1)]
    return [("", 1)]


def typed(limit: str, value: float, digits: int = 3) -> str:
    """As one types it: 1.83G, 20MB, 0.08."""
    number, unit = _scaled(value, _units(limit))
    return f"{number:.0f}{unit}" if number >= 1000 else f"{number:.{digits}g}{unit}"


def enough(limit: Limit) -> str:
    """The least round number that the network would fit in, as one types it."""
    number, unit = _scaled(limit.value, _units(limit.name))
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step) * step:g}{unit}"


def quantity(limit: str, value: float) -> str:
    nouns = {
        "macs": "MACs",
        "params": "params",
        "latency_ms": "ms",
        "weight_bytes": "of weights",
        "train_memory_bytes": "of training memory",
        "train_minutes": "minutes",
    }
    return f"{typed(limit, value)} {nouns[limit]}"
