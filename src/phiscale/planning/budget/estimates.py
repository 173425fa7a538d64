"""What networks cost and what error is predicted: of one network, or of a whole lattice at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from phiscale.arch.costs import Cost, cost
from phiscale.arch.families import as_spec
from phiscale.arch.scaling import Scaling, effective
from phiscale.arch.sizes import Number
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.candidates import Candidate
from phiscale.planning.budget.limits import Budget, Limit
from phiscale.planning.budget.task import DEFAULT_TASK, PlanningTask, require_positive
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw

PRETRAINED_IMAGES = 450_000_000  # seen in a training on ImageNet: 350 epochs of 1.28 million


@dataclass(frozen=True)
class Pretraining:
    """The weights that a training starts from."""

    weights: str  # a source, such as a file's path
    images_seen: int = PRETRAINED_IMAGES


def estimate(
    network: Spec | str,
    budget: Budget | None = None,
    *,
    task: PlanningTask = DEFAULT_TASK,
    name: str | None = None,
    pretraining: Pretraining | None = None,
    images_per_s: float | None = None,
    family_offset: float = 0.0,
) -> Candidate:
    """Estimates one network by the rules of `solve`: its costs, its error, the limits it exceeds.

    `network`: a spec, a model's name, a spec.json or file.py:NAME. `pretraining`: the law counts
    the images that these weights have seen, and fewer epochs are enough. `images_per_s`: measured
    training speed, used instead of the device model's. `family_offset`: extra error of a family
    other than the law's base at the same scaling, such as 0.016 for EfficientNet-Lite.

    Raises UsageError for limits that need a device model where there is none, SpecError for a text
    that names no network.
    """
    spec = as_spec(network)
    estimator = Estimator.of(
        spec,
        budget or Budget(),
        task,
        pretrained=pretraining is not None,
        images_per_s=images_per_s,
        family_offset=family_offset,
    )
    candidate = estimator.candidate(spec, pretraining.images_seen if pretraining else 0)
    return replace(
        candidate,
        name=name or candidate.name,
        pretrained=pretraining.weights if pretraining else None,
    )


@dataclass(frozen=True)
class Estimates:
    """Numbers for one network, or arrays that broadcast over a lattice."""

    error: Number
    latency_ms: Number | None
    images_per_s: Number | None
    images_seen: Number | None
    values: dict[str, Number]  # by limit


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A task, a budget and a law with all defaults resolved: estimates any scaling of a network."""

    budget: Budget
    law: ErrorLaw
    base: Spec  # that the law's multipliers refer to
    device: DeviceModel | None
    train_images: int | None
    native_pixels: int | None
    batch: int
    min_epochs: float
    max_epochs: float
    images_per_s: float | None
    family_offset: float

    @staticmethod
    def of(
        network: Spec,
        budget: Budget,
        task: PlanningTask,
        *,
        pretrained: bool = False,
        images_per_s: float | None = None,
        family_offset: float = 0.0,
    ) -> Estimator:
        """Resolves the defaults of `task` for scalings of `network`."""
        require_positive("images_per_s", images_per_s)
        min_epochs = task.least_epochs(pretrained)
        _require_device(budget, task, images_per_s)
        return Estimator(
            budget=budget,
            law=task.law_of(network),
            base=task.base_of(network),
            device=task.device_model,
            train_images=task.train_images,
            native_pixels=task.pixels_of(network),
            batch=task.memory_batch(),
            min_epochs=min_epochs,
            max_epochs=task.max_epochs,
            images_per_s=images_per_s,
            family_offset=family_offset,
        )

    def estimates(
        self, cost: Cost, depth: Number, width: Number, resolution: Number, images_before: int = 0
    ) -> Estimates:
        """From costs and multipliers: numbers, or arrays that broadcast against each other.

        `images_before`: seen before this training, by the weights that it starts from.
        """
        device = self.device
        latency = device.latency_ms(cost) if device and device.latency else None
        speed = self._speed(cost)
        seen = self._images_seen(speed)
        error = self.law.error(
            depth=depth,
            width=width,
            resolution=resolution,
            images=None if seen is None else seen + images_before,
        )
        return Estimates(
            error=error + self.family_offset,
            latency_ms=latency,
            images_per_s=speed,
            images_seen=seen,
            values=self._limited_values(cost, latency, speed),
        )

    def _speed(self, cost: Cost) -> Number | None:
        """Training images per second: measured, else by the device model."""
        if self.images_per_s is None and self.device and self.device.training:
            return self.device.train_images_per_s(cost)
        return self.images_per_s

    def _images_seen(self, speed: Number | None) -> Number | None:
        """Images that a training sees: of the most epochs, or what the minutes allow."""
        if self.train_images is None:
            return None
        most, minutes = self.max_epochs * self.train_images, self.budget.train_minutes
        if minutes is None or speed is None:
            return most
        return _minimum(most, speed * minutes * 60)

    def _limited_values(
        self, cost: Cost, latency: Number | None, speed: Number | None
    ) -> dict[str, Number]:
        """What each limit of the budget bounds."""
        per_s = math.inf if speed is None else speed  # a limit of minutes comes with a speed
        values: dict[str, Callable[[], Number]] = {
            "macs": lambda: cost.macs,
            "params": lambda: cost.params,
            "latency_ms": lambda: latency,
            "weight_bytes": lambda: cost.weight_bytes,
            "train_memory_bytes": lambda: cost.train_bytes(self.batch),
            "train_minutes": lambda: self.min_epochs * (self.train_images or 0) / per_s / 60,
        }
        return {limit: values[limit]() for limit in self.budget.limits}

    def multipliers(self, network: Spec) -> Scaling:
        """The multipliers that the law counts."""
        return effective(network, self.base, self.native_pixels)

    def candidate(self, network: Spec, images_before: int = 0) -> Candidate:
        """The network as a candidate, its name made of its multipliers and pixels."""
        by, counted = self.multipliers(network), replace(cost(network), layers=())
        result = self.estimates(counted, by.depth, by.width, by.resolution, images_before)
        seen = result.images_seen
        return Candidate(
            name=f"depth x{by.depth:.2f}, width x{by.width:.2f}, {network.resolution} px",
            spec=network,
            depth=by.depth,
            width=by.width,
            resolution=by.resolution,
            cost=counted,
            error=float(result.error),
            limits=tuple(
                Limit(limit, float(result.values[limit]), allowed)
                for limit, allowed in self.budget.limits.items()
            ),
            latency_ms=_float(result.latency_ms),
            train_images_per_s=_float(result.images_per_s),
            images_seen=None if seen is None else int(seen),
            epochs=None if seen is None else float(seen) / (self.train_images or 1),
            pretrained_images=images_before,
            family_offset=self.family_offset,
        )


def _require_device(budget: Budget, task: PlanningTask, images_per_s: float | None) -> None:
    """Raises UsageError where a limit needs times of a device, or images, that the task lacks."""
    device = task.device_model
    if budget.latency_ms is not None and not (device and device.latency):
        raise UsageError(
            "`latency_ms` needs a device model. Make one with "
            "phiscale calibrate --out device.json, then use `device_model`."
        )
    if budget.train_minutes is None:
        return
    if images_per_s is None and not (device and device.training):
        raise UsageError(
            "`train_minutes` needs the training speed of the device. Measure it with "
            "phiscale calibrate --out device.json, then use `device_model`."
        )
    if task.train_images is None:
        raise UsageError("`train_minutes` needs the number of training images. Add `train_images`.")


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _minimum(most: float, value: Number) -> Number:
    if isinstance(value, int | float):
        return min(most, value)
    import numpy as np

    return np.minimum(most, value)
