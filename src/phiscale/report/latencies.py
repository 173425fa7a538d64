"""Measured latencies of networks, kept in a file, and which costs explain them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phiscale.arch.costs import Cost, cost
from phiscale.errors import UsageError
from phiscale.files import Format
from phiscale.planning.device import DeviceFingerprint
from phiscale.report.deviation_networks import ComparedNetwork

TimeFit = dict[str, Any]  # made by `fit_times`
TOO_ALIKE = 0.95  # correlation of two costs above which their powers cannot be separated
FEWEST_TIMED = 5  # fewer points lie on any line


@dataclass(frozen=True, kw_only=True)
class TimedNetwork:
    """A network's latency of one image beside the costs that may explain it."""

    name: str
    family: str
    macs: int
    activations: int
    latency_ms: float

    @staticmethod
    def of(name: str, family: str, total: Cost, latency_ms: float) -> TimedNetwork:
        """Returns the record of a network with this cost and latency."""
        return TimedNetwork(
            name=name,
            family=family,
            macs=total.macs,
            latency_ms=latency_ms,
            activations=total.activations,
        )


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Latencies measured on one machine: a timings file."""

    fingerprint: DeviceFingerprint
    rounds: int  # each latency is the median of so many rounds, interleaved over the networks
    networks: tuple[TimedNetwork, ...]
    command: str = ""  # that measured them
    load: float | None = None  # processes that wanted a core at the start: other programs

    @property
    def by_name(self) -> dict[str, float]:
        """Returns the latency of each network in milliseconds."""
        return {network.name: network.latency_ms for network in self.networks}

    def write(self, path: Path) -> None:
        """Writes the JSON file that `read` reads."""
        FORMAT.write(path, self)

    @staticmethod
    def read(path: Path) -> Timings:
        """Reads the file of `write`. UsageError: the file is another, or damaged."""
        return FORMAT.read(path)


FORMAT = Format(
    Timings,
    "phiscale_timings",
    UsageError,
    "Make it again: phiscale deviation --measure --timings FILE.",
)


def measure_timings(networks: Sequence[ComparedNetwork], rounds: int, command: str = "") -> Timings:
    """Measures the latencies of networks and their bases on this machine, in interleaved rounds."""
    from phiscale.deploy.calibrate import describe_device
    from phiscale.deploy.timing import measure_interleaved_ms

    load = os.getloadavg()[0]
    specs = {network.base_name: (network.base, network.family) for network in networks}
    specs |= {network.name: (network.spec, network.family) for network in networks}
    times = measure_interleaved_ms({name: spec for name, (spec, _) in specs.items()}, rounds=rounds)
    timed = tuple(
        TimedNetwork.of(name, family, cost(spec), times[name])
        for name, (spec, family) in specs.items()
    )
    return Timings(
        fingerprint=describe_device(),
        rounds=rounds,
        networks=timed,
        command=command,
        load=round(load, 1),
    )


def fit_times(networks: Sequence[TimedNetwork]) -> list[TimeFit]:
    """Fits the logarithm of time to those of MACs, of activations, and of both.

    Returns R^2 of each fit for all networks and for each family of at least five, with the powers
    of the fit on both. They are None where MACs and activations rise together.
    """
    groups = {"all": list(networks)}
    for network in networks:
        groups.setdefault(network.family or network.name, []).append(network)
    large = {name: group for name, group in groups.items() if len(group) >= FEWEST_TIMED}
    if len(large) == 2:  # all are of one family
        large.pop("all")
    return [_fit_group(name, group) for name, group in large.items()]


def _fit_group(name: str, networks: Sequence[TimedNetwork]) -> TimeFit:
    import numpy as np

    macs, activations, time = (
        np.log([getattr(network, field) for network in networks])
        for field in ("macs", "activations", "latency_ms")
    )

    def fit(*columns: Any) -> tuple[float, list[float]]:
        """R^2, and the powers of the columns."""
        x = np.stack([np.ones(len(time)), *columns], axis=1)
        weights, *_ = np.linalg.lstsq(x, time, rcond=None)
        residue = float(np.sum((time - x @ weights) ** 2))
        total = float(np.sum((time - time.mean()) ** 2))
        return 1 - residue / total, [float(weight) for weight in weights[1:]]

    both, powers = fit(macs, activations)
    alike = abs(float(np.corrcoef(macs, activations)[0, 1])) > TOO_ALIKE
    return {
        "networks": name,
        "count": len(networks),
        "macs": fit(macs)[0],
        "activations": fit(activations)[0],
        "both": both,
        "power_of_macs": None if alike else powers[0],
        "power_of_activations": None if alike else powers[1],
    }
