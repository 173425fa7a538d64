"""How fast a device is, as a value: measured once by `phiscale calibrate`, used to plan elsewhere.

Time is linear in what a network costs, with rates that cannot be negative. Activations and the
number of convolutions say more than MACs do. Inside one family a few rates are enough to
interpolate; far outside the sizes that were measured they are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from phiscale.arch.costs import Cost
from phiscale.errors import UsageError
from phiscale.files import Format

Number = Any  # float or numpy array


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Time per unit of each cost, all of them 0 or more."""

    dense_macs: float  # all but the depthwise ones
    depthwise_macs: float
    activations: float
    weight_bytes: float
    convs: float
    constant: float

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in FEATURES}
        for name, value in values.items():
            if not _is_number(value) or value < 0:
                raise UsageError(
                    f"the rate of {name} is {value!r}, not 0 or more. "
                    "Measure again: phiscale calibrate --out device.json."
                )
        if not any(values.values()):
            raise UsageError(
                "all rates are 0, so every network would be free. "
                "Measure again: phiscale calibrate --out device.json."
            )

    def __call__(self, cost: Cost) -> Number:
        """The time of a network, or of every network of a grid."""
        rates = (getattr(self, name) for name in FEATURES)
        return sum(rate * value for rate, value in zip(rates, features(cost), strict=True))


FEATURES = tuple(field.name for field in fields(Rates))


def features(cost: Cost) -> tuple[Number, ...]:
    """What time is linear in, in the order of `FEATURES`."""
    return (
        cost.macs - cost.depthwise_macs,
        cost.depthwise_macs,
        cost.activations,
        cost.weight_bytes,
        cost.convs,
        1,
    )


def fit_linear(features: Sequence[Sequence[float]], times: Sequence[float]) -> Rates:
    """Non-negative least squares on the relative error: a row of features and a time a network.

    The rates come in the unit of `times`.
    """
    import numpy as np
    from scipy.optimize import nnls

    rows, measured = np.asarray(features, dtype=float), np.asarray(times, dtype=float)
    if rows.ndim != 2 or rows.shape != (len(measured), len(FEATURES)) or not len(measured):
        raise UsageError(
            f"features of shape {rows.shape} do not go with {len(measured)} times. "
            f"Give {len(FEATURES)} for each time: {', '.join(FEATURES)}."
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise UsageError("a measured time is not above 0. Measure that network again, longer.")
    relative = rows / measured[:, None]
    size = np.linalg.norm(relative, axis=0)
    size[size == 0] = 1  # a feature that no network has
    found, _ = nnls(relative / size, np.ones(len(measured)))
    return Rates(**dict(zip(FEATURES, map(float, found / size), strict=True)))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Rates, and how well they gave back the times they were fitted to."""

    rates: Rates
    median_error: float  # relative
    max_error: float

    def __post_init__(self) -> None:
        for name in ("median_error", "max_error"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0:
                raise UsageError(
                    f"{name}={value!r} is no relative error. Use a fraction such as 0.05."
                )

    @staticmethod
    def fit(costs: Sequence[Cost], times: Sequence[float]) -> Timing:
        """From networks and their measured times; the rates come in the unit of the times."""
        rates = fit_linear([features(cost) for cost in costs], times)
        errors = sorted(
            abs(float(rates(cost)) / time - 1) for cost, time in zip(costs, times, strict=True)
        )
        half = len(errors) // 2
        median = errors[half] if len(errors) % 2 else (errors[half - 1] + errors[half]) / 2
        return Timing(rates=rates, median_error=median, max_error=errors[-1])


@dataclass(frozen=True, kw_only=True)
class DeviceFingerprint:
    """What was measured, so that nobody takes the numbers for another machine's."""

    device: str  # name of the CPU or GPU
    cores: int
    threads: int
    runtime: str  # with its version
    torch: str
    date: str  # ISO

    def __post_init__(self) -> None:
        for name in ("device", "runtime", "torch", "date"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(
                    f"{name}={getattr(self, name)!r} of a device is not a text. "
                    "Write it between quotes."
                )
        for name in ("cores", "threads"):
            _positive_int(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """One device: milliseconds of a prediction, seconds of a training image. `device.json`."""

    fingerprint: DeviceFingerprint
    latency: Timing | None = None  # milliseconds, batch 1, of the exported network
    training: Timing | None = None  # seconds an image, at `training_batch`
    training_batch: int | None = None

    def __post_init__(self) -> None:
        if (self.training is None) != (self.training_batch is None):
            raise UsageError(
                "training times and their batch belong together. Give both or neither."
            )
        if self.training_batch is not None:
            _positive_int("training_batch", self.training_batch)

    @property
    def errors(self) -> dict[str, tuple[float, float]]:
        """Median and largest relative error of each calibrated part."""
        parts = {"latency": self.latency, "training": self.training}
        return {name: (part.median_error, part.max_error) for name, part in parts.items() if part}

    def latency_ms(self, cost: Cost) -> Number:
        """Milliseconds for one image, of one network or of a grid."""
        return _measured(self.latency, "latency").rates(cost)

    def train_images_per_s(self, cost: Cost) -> Number:
        """Training speed at `training_batch`, of one network or of a grid."""
        return 1 / _measured(self.training, "training").rates(cost)

    def training_faster(self, times: float) -> DeviceModel:
        """The same device, training `times` as fast: a real training has corrected the model."""
        timing = _measured(self.training, "training")
        rates = {name: getattr(timing.rates, name) / times for name in FEATURES}
        return replace(self, training=replace(timing, rates=Rates(**rates)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, complete and versioned."""
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes `device.json`."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the device model") -> DeviceModel:
        """The inverse of `to_dict`. Unknown or missing fields are errors, never ignored."""
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path) -> DeviceModel:
        """Reads `device.json`."""
        return FORMAT.read(path)


FORMAT = Format(
    DeviceModel,
    "phiscale_device",
    UsageError,
    "Make one: phiscale calibrate --out device.json.",
)


def _measured(part: Timing | None, name: str) -> Timing:
    if part is None:
        raise UsageError(
            f"this device model has no {name} times. "
            "Measure them: phiscale calibrate --out device.json."
        )
    return part


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}={value!r} of a device is no count. Use 1 or more.")
