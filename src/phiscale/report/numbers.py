"""Numbers for people: three significant digits and a unit."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

_SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit


def amount(number: float) -> str:
    """5.29 M, 386 M, 812."""
    return _scaled(number, ("", "k", "M", "G", "T"))


def size(number: float) -> str:
    """21.2 MB, in powers of 1000."""
    return _scaled(number, ("bytes", "kB", "MB", "GB", "TB"))


def _scaled(number: float, units: Sequence[str]) -> str:
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number, power = number / 1000, power + 1
    return f"{three_digits(number)}{_SPACE}{units[power]}".rstrip(_SPACE)


def three_digits(number: float) -> str:
    if not isfinite(number) or number == 0:
        return f"{number:g}"
    return f"{number:,.0f}" if abs(number) >= 99.95 or number == int(number) else f"{number:#.3g}"


def milliseconds(number: float) -> str:
    """0.41 ms."""
    return f"{three_digits(number)}{_SPACE}ms"


def percent(fraction: float, digits: int = 1) -> str:
    """86.1 %; 0 % and 100 % only where it is exact, else < 0.1 % and > 99.9 %."""
    text = f"{100 * fraction:.{digits}f}"
    if fraction in (0, 1):
        text = f"{100 * fraction:.0f}"
    elif float(text) == 0:
        text = f"<{_SPACE}{10**-digits:.{digits}f}"
    elif float(text) == 100:
        text = f">{_SPACE}{100 - 10**-digits:.{digits}f}"
    return f"{text}{_SPACE}%"


def duration(seconds: float) -> str:
    """45 s, 14.3 min, 3 h 05 min."""
    if seconds < 59.5:
        return f"{three_digits(seconds) if seconds < 9.95 else round(seconds)}{_SPACE}s"
    minutes = seconds / 60
    if minutes < 59.95:
        return f"{minutes:.3g}{_SPACE}min"
    hours, minutes = divmod(round(minutes), 60)
    return f"{hours}{_SPACE}h" + (f" {minutes:02}{_SPACE}min" if minutes else "")


def quantity(number: float | None, limit: str) -> str:
    """A value of the limit's kind; a dash where it is not known."""
    if number is None:
        return "–"
    if limit == "train_minutes":
        return duration(60 * number)
    return {"latency_ms": milliseconds}.get(limit, size if limit.endswith("_bytes") else amount)(
        number
    )
