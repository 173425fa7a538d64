"""What time follows: latencies of networks, measured once and kept, beside what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phiscale.arch.costs import Cost
from phiscale.errors import UsageError
from phiscale.files import Format
from phiscale.planning.device import DeviceFingerprint

Explained = dict[str, Any]  # a row of `explained`
TOO_ALIKE = 0.95  # correlation of two counts whose powers can no longer be told apart
FEWEST_TIMED = 5  # fewer points lie on any line


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A network's milliseconds beside what they may follow."""

    name: str
    family: str
    macs: int
    activations: int
    latency_ms: float

    @staticmethod
    def of(name: str, family: str, counted: Cost, latency_ms: float) -> Timed:
        return Timed(
            name=name,
            family=family,
            macs=counted.macs,
            latency_ms=latency_ms,
            activations=counted.activations,
        )


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Of one machine: a timings file."""

    fingerprint: DeviceFingerprint
    rounds: int  # every network's time is the median of so many, interleaved with the others'
    networks: tuple[Timed, ...]
    command: str = ""  # that measured them
    load: float | None = None  # processes that wanted a core when it began: other programs

    @property
    def by_name(self) -> dict[str, float]:
        """Milliseconds."""
        return {each.name: each.latency_ms for each in self.networks}

    def write(self, path: Path) -> None:
        """Writes the JSON that `read` reads."""
        FORMAT.write(path, self)

    @staticmethod
    def read(path: Path) -> Timings:
        """Reads a timings file. Raises UsageError for anything but what `write` wrote."""
        return FORMAT.read(path)


FORMAT = Format(
    Timings,
    "phiscale_timings",
    UsageError,
    "Make it again: phiscale deviation --measure --timings FILE.",
)


def explained(timed: Sequence[Timed]) -> list[Explained]:
    """R^2 of the logarithm of time on those of MACs, of activations, and of both, with the powers
    of the last (None where the two rise together): of all networks and of each family with at least
    five."""
    groups = {"all": list(timed)}
    for each in timed:
        groups.setdefault(each.family or each.name, []).append(each)
    large = {name: group for name, group in groups.items() if len(group) >= FEWEST_TIMED}
    if len(large) == 2:  # all are of one family
        large.pop("all")
    return [_explained(name, group) for name, group in large.items()]


def _explained(name: str, timed: Sequence[Timed]) -> Explained:
    import numpy as np

    macs, activations, time = (
        np.log([getattr(each, what) for each in timed])
        for what in ("macs", "activations", "latency_ms")
    )

    def fitted(*columns: Any) -> tuple[float, list[float]]:
        x = np.stack([np.ones(len(time)), *columns], axis=1)
        found, *_ = np.linalg.lstsq(x, time, rcond=None)
        left = float(np.sum((time - x @ found) ** 2))
        return 1 - left / float(np.sum((time - time.mean()) ** 2)), [float(c) for c in found[1:]]

    both, found = fitted(macs, activations)
    alike = abs(float(np.corrcoef(macs, activations)[0, 1])) > TOO_ALIKE
    return {
        "networks": name,
        "count": len(timed),
        "macs": fitted(macs)[0],
        "activations": fitted(activations)[0],
        "both": both,
        "power_of_macs": None if alike else found[0],
        "power_of_activations": None if alike else found[1],
    }
