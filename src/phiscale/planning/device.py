"""The speed of a device as a value: `phiscale calibrate` measures it once, to plan elsewhere.

Time is linear in a network's costs, and no rate is negative. Activations and the number of
convolutions predict it better than MACs do. The rates interpolate between measured sizes of one
family; they do not extrapolate far beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phiscale.arch.costs import Cost
from phiscale.arch.sizes import Number
from phiscale.errors import UsageError
from phiscale.files import Format
from phiscale.files.decoding import quoted
from phiscale.files.values import is_finite, is_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


LEAST_RATE, MOST_RATE = 1e-100, 1e12
"""Milliseconds or seconds per unit: every device is within, and no time or speed overflows."""


@dataclass(frozen=True, kw_only=True)
class UnitTimes:
    """Time per unit of each cost; every rate is 0 or more."""

    dense_macs: float  # all MACs but the depthwise ones
    depthwise_macs: float
    activations: float
    weight_bytes: float
    convs: float
    constant: float

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in FEATURES}
        for name, value in values.items():
            if not is_finite(value) or (value and not LEAST_RATE <= value <= MOST_RATE):
                raise UsageError(
                    f"the rate {name}={quoted(value)} is not 0, and not between "
                    f"{LEAST_RATE:g} and {MOST_RATE:g}. "
                    "Measure again: phiscale calibrate --out device.json."
                )
        if not any(values.values()):
            raise UsageError(
                "all rates are 0, so every network would be free. "
                "Measure again: phiscale calibrate --out device.json."
            )

    def __call__(self, cost: Cost) -> Number:
        """Returns the time of a network, or of every network of a grid."""
        rates = (getattr(self, name) for name in FEATURES)
        return sum(rate * value for rate, value in zip(rates, features(cost), strict=True))


FEATURES = tuple(field.name for field in fields(UnitTimes))


def features(cost: Cost) -> tuple[Number, ...]:
    """Returns the costs in which time is linear, in the order of `FEATURES`."""
    return (
        cost.macs - cost.depthwise_macs,
        cost.depthwise_macs,
        cost.activations,
        cost.weight_bytes,
        cost.convs,
        1,
    )


def fit_linear(features: Sequence[Sequence[float]], times: Sequence[float]) -> UnitTimes:
    """Fits rates by non-negative least squares on the relative error.

    `features`: (networks, 6), in the order of `FEATURES`. `times`: (networks,), above 0, in any
    unit; the rates have the same one. UsageError: the shapes differ, or a time is not above 0.
    """
    import numpy as np

    rows, measured = np.asarray(features, dtype=float), np.asarray(times, dtype=float)
    if rows.ndim != 2 or rows.shape != (len(measured), len(FEATURES)) or not len(measured):
        raise UsageError(
            f"features of shape {rows.shape} do not match {len(measured)} times. "
            f"Use {len(FEATURES)} features for each time: {', '.join(FEATURES)}."
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise UsageError("a measured time is not above 0. Measure that network again for longer.")
    relative = rows / measured[:, None]
    size = np.linalg.norm(relative, axis=0)
    size[size == 0] = 1  # a feature that no network has
    rates = _non_negative_least_squares(relative / size, np.ones(len(measured)))
    return UnitTimes(**dict(zip(FEATURES, map(float, rates / size), strict=True)))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Fitted rates, and their errors on the times that they were fitted to."""

    rates: UnitTimes
    median_error: float  # relative
    max_error: float

    def __post_init__(self) -> None:
        for name in ("median_error", "max_error"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise UsageError(
                    f"{name}={value!r} is not a relative error. Use a fraction such as 0.05."
                )

    @staticmethod
    def fit(costs: Sequence[Cost], times: Sequence[float]) -> Timing:
        """Fits rates to measured times of networks; they have the unit of the times."""
        rates = fit_linear([features(cost) for cost in costs], times)
        errors = sorted(
            abs(float(rates(cost)) / time - 1) for cost, time in zip(costs, times, strict=True)
        )
        half = len(errors) // 2
        median = errors[half] if len(errors) % 2 else (errors[half - 1] + errors[half]) / 2
        return Timing(rates=rates, median_error=median, max_error=errors[-1])


@dataclass(frozen=True, kw_only=True)
class DeviceFingerprint:
    """The measured machine and runtime, so that its numbers are not used for another machine."""

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
                    f"{name}={getattr(self, name)!r} of a device is not a text. Write it in quotes."
                )
        for name in ("cores", "threads"):
            _positive_int(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """One device: milliseconds of a prediction and seconds of a training image.

    Its file is `device.json`.
    """

    fingerprint: DeviceFingerprint
    latency: Timing | None = None  # milliseconds, batch 1, of the exported network
    training: Timing | None = None  # seconds an image, at `training_batch`
    training_batch: int | None = None

    def __post_init__(self) -> None:
        if (self.training is None) != (self.training_batch is None):
            raise UsageError(
                "`training` and `training_batch` belong together. Use both or neither."
            )
        if self.training_batch is not None:
            _positive_int("training_batch", self.training_batch)

    @property
    def errors(self) -> dict[str, tuple[float, float]]:
        """Returns the median and the largest relative error of each calibrated part."""
        parts = {"latency": self.latency, "training": self.training}
        return {name: (part.median_error, part.max_error) for name, part in parts.items() if part}

    def latency_ms(self, cost: Cost) -> Number:
        """Returns milliseconds for one image, of one network or of a grid.

        UsageError: latency was not measured.
        """
        return _require(self.latency, "latency").rates(cost)

    def train_images_per_s(self, cost: Cost) -> Number:
        """Returns images per second at `training_batch`, of one network or of a grid.

        UsageError: training was not measured.
        """
        return 1 / _require(self.training, "training").rates(cost)

    def training_faster(self, times: float) -> DeviceModel:
        """Returns the device with training `times` as fast, corrected by a measured training."""
        timing = _require(self.training, "training")
        rates = {name: getattr(timing.rates, name) / times for name in FEATURES}
        return replace(self, training=replace(timing, rates=UnitTimes(**rates)))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, complete and versioned."""
        return FORMAT.encode(self)

    def write(self, path: Path) -> None:
        """Writes `device.json`."""
        FORMAT.write(path, self)

    @staticmethod
    def from_dict(data: Any, where: str = "the device model") -> DeviceModel:
        """Returns the device of what `to_dict` gave. `where` names the source in messages.

        UsageError: a field is unknown, missing or wrong.
        """
        return FORMAT.decode(data, where)

    @staticmethod
    def read(path: Path | str) -> DeviceModel:
        """Reads `device.json`. UsageError: the file is no device model."""
        return FORMAT.read(Path(path))


FORMAT = Format(
    DeviceModel,
    "phiscale_device",
    UsageError,
    "Make one: phiscale calibrate --out device.json.",
)


def _non_negative_least_squares(columns: Floats, y: Floats) -> Floats:
    """Returns the c >= 0 with the least |columns @ c - y|: (rows, terms), (rows,) -> (terms,)."""
    from scipy.optimize import nnls  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return cast("Floats", nnls(columns, y)[0])


def _require(part: Timing | None, name: str) -> Timing:
    if part is None:
        raise UsageError(
            f"this device model has no {name} times. "
            "Measure them: phiscale calibrate --out device.json."
        )
    return part


def _positive_int(name: str, value: object) -> None:
    if not is_whole(value) or value < 1:
        raise UsageError(f"{name}={value!r} of a device is not a count. Use 1 or more.")
