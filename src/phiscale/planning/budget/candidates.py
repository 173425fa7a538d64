"""What a network takes of a budget and what it is worth: one, or the whole lattice at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from phiscale.arch.costs import Cost, cost
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import Scaling, effective
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.limits import Budget, Limit
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.planning.priors import law_for

MIN_EPOCHS, MIN_EPOCHS_PRETRAINED = 4, 2  # fewer teach too little to be worth the time
MAX_EPOCHS = 350  # as the published networks had
HEAD_START_IMAGES = 450_000_000  # what a network trained on ImageNet has seen: 350 x 1.28 million


def fewest_epochs(pretrained: bool) -> int:
    """What is asked where nobody says otherwise."""
    return MIN_EPOCHS_PRETRAINED if pretrained else MIN_EPOCHS


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network with all that speaks for and against it."""

    name: str
    spec: Spec
    depth: float  # real multipliers over the base: blocks, channels, pixels
    width: float
    resolution: float
    cost: Cost
    error: float  # predicted, a fraction; far below the base a mere rank that may exceed 1
    limits: tuple[Limit, ...] = ()
    latency_ms: float | None = None
    train_images_per_s: float | None = None
    images_seen: int | None = None  # in this training
    epochs: float | None = None
    pretrained: str | None = None  # where its weights come from
    head_start: int = 0  # images that the law counts besides, for a pretrained network
    handicap: float = 0.0  # error that its family has more than the law's, at the same scaling

    @property
    def ruled_out(self) -> str | None:
        """Which limits it breaks, in words; None = it fits."""
        return ", ".join(str(limit) for limit in self.limits if not limit.met) or None

    def to_dict(self) -> dict[str, Any]:
        """The numbers of a table's row."""
        return {
            "name": self.name,
            "depth": self.depth,
            "width": self.width,
            "resolution": self.resolution,
            "pixels": self.spec.resolution,
            "error": self.error,
            "macs": self.cost.macs,
            "params": self.cost.params,
            "weight_bytes": self.cost.weight_bytes,
            "latency_ms": self.latency_ms,
            "train_images_per_s": self.train_images_per_s,
            "images_seen": self.images_seen,
            "epochs": self.epochs,
            "pretrained": self.pretrained,
            "ruled_out": self.ruled_out,
        }


def weigh(
    spec: Spec,
    budget: Budget | None = None,
    *,
    over: Spec,
    name: str | None = None,
    pretrained: str | None = None,
    head_start: int | None = None,
    handicap: float = 0.0,
    images_per_s: float | None = None,
    law: ErrorLaw | None = None,
    device: DeviceModel | None = None,
    train_images: int | None = None,
    native_pixels: int | None = None,
    batch: int | None = None,
    min_epochs: float | None = None,
    max_epochs: float = MAX_EPOCHS,
) -> Candidate:
    """One given network under the same rules as `solve`: what it costs, and what rules it out.

    `over`: the network whose multiples the law counts. `pretrained`: where its weights come from;
    the law then counts `head_start` more images and fewer epochs are enough. `handicap`: error
    that the network's family has more than that of `over` at the same scaling.
    `images_per_s`: measured training speed, instead of the device model's.
    """
    if min_epochs is None:
        min_epochs = fewest_epochs(pretrained is not None)
    plan = plan_for(
        budget,
        law,
        device,
        train_images,
        native_pixels,
        batch,
        min_epochs,
        max_epochs,
        over,
        images_per_s,
        handicap,
    )
    if head_start is None:
        head_start = HEAD_START_IMAGES if pretrained else 0
    found = plan.candidate(spec, head_start)
    return replace(found, name=name or found.name, pretrained=pretrained)


@dataclass(frozen=True)
class Figures:
    error: Any
    latency_ms: Any | None
    images_per_s: Any | None
    images_seen: Any | None
    values: dict[str, Any]  # by limit


@dataclass(frozen=True, kw_only=True)
class Plan:
    budget: Budget
    law: ErrorLaw
    device: DeviceModel | None
    train_images: int | None
    native_pixels: int | None
    batch: int
    min_epochs: float
    max_epochs: float
    over: Spec
    images_per_s: float | None
    handicap: float

    def figures(
        self, cost: Cost, depth: Any, width: Any, resolution: Any, head_start: int = 0
    ) -> Figures:
        minutes, device = self.budget.train_minutes, self.device
        latency = device.latency_ms(cost) if device and device.latency else None
        speed, seen = self.images_per_s, None
        if speed is None and device and device.training:
            speed = device.train_images_per_s(cost)
        if self.train_images is not None:
            seen = self.max_epochs * self.train_images
            if minutes is not None and speed is not None:
                seen = _at_most(seen, speed * minutes * 60)
        counted = None if seen is None else seen + head_start
        per_s = math.inf if speed is None else speed  # a limit of minutes comes with a speed
        taken: dict[str, Callable[[], Any]] = {
            "macs": lambda: cost.macs,
            "params": lambda: cost.params,
            "latency_ms": lambda: latency,
            "weight_bytes": lambda: cost.weight_bytes,
            "train_memory_bytes": lambda: cost.train_bytes(self.batch),
            "train_minutes": lambda: self.min_epochs * (self.train_images or 0) / per_s / 60,
        }
        error = self.law.error(depth=depth, width=width, resolution=resolution, images=counted)
        return Figures(
            error=error + self.handicap,
            latency_ms=latency,
            images_per_s=speed,
            images_seen=seen,
            values={limit: taken[limit]() for limit in self.budget.limits},
        )

    def by(self, spec: Spec) -> Scaling:
        """The multipliers that the law counts."""
        return effective(spec, self.over, self.native_pixels)

    def candidate(self, spec: Spec, head_start: int = 0) -> Candidate:
        by, counted = self.by(spec), replace(cost(spec), layers=())
        found = self.figures(counted, by.depth, by.width, by.resolution, head_start)
        seen = found.images_seen
        return Candidate(
            name=f"depth x{by.depth:.2f}, width x{by.width:.2f}, {spec.resolution} px",
            spec=spec,
            depth=by.depth,
            width=by.width,
            resolution=by.resolution,
            cost=counted,
            error=float(found.error),
            limits=tuple(
                Limit(limit, float(found.values[limit]), allowed)
                for limit, allowed in self.budget.limits.items()
            ),
            latency_ms=None if found.latency_ms is None else float(found.latency_ms),
            train_images_per_s=None if found.images_per_s is None else float(found.images_per_s),
            images_seen=None if seen is None else int(seen),
            epochs=None if seen is None else float(seen) / (self.train_images or 1),
            head_start=head_start,
            handicap=self.handicap,
        )


def plan_for(
    budget: Budget | None,
    law: ErrorLaw | None,
    device: DeviceModel | None,
    train_images: int | None,
    native_pixels: int | None,
    batch: int | None,
    min_epochs: float,
    max_epochs: float,
    over: Spec,
    images_per_s: float | None = None,
    handicap: float = 0.0,
) -> Plan:
    budget = budget or Budget()
    for name, value in (
        ("train_images", train_images),
        ("native_pixels", native_pixels),
        ("batch", batch),
        ("min_epochs", min_epochs),
        ("max_epochs", max_epochs),
        ("images_per_s", images_per_s),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}={value} is not above 0. Use 1 or more.")
    if min_epochs > max_epochs:
        raise UsageError(
            f"min_epochs={min_epochs:g} is more than max_epochs={max_epochs:g}. "
            "Lower the one or raise the other."
        )
    if budget.latency_ms is not None and not (device and device.latency):
        raise UsageError(
            "--latency-ms needs a model of the device. Make one with "
            "phiscale calibrate --out device.json, "
            "then give it: --device-model device.json."
        )
    if budget.train_minutes is not None:
        if images_per_s is None and not (device and device.training):
            raise UsageError(
                "--train-minutes needs the training speed of the device. "
                "Measure it with phiscale calibrate --out device.json, then give it: "
                "--device-model device.json."
            )
        if train_images is None:
            raise UsageError(
                "--train-minutes needs the number of training images. Give train_images."
            )
    if law is None:
        law = law_for(over, lengths=train_images is not None)
    if native_pixels is None and over.resolution <= SMALL_PIXELS:
        native_pixels = over.resolution
    return Plan(
        budget=budget,
        law=law,
        device=device,
        train_images=train_images,
        native_pixels=native_pixels,
        min_epochs=min_epochs,
        max_epochs=max_epochs,
        batch=batch or (device and device.training_batch) or 64,
        over=over,
        images_per_s=images_per_s,
        handicap=handicap,
    )


def _at_most(most: float, value: Any) -> Any:
    if isinstance(value, int | float):
        return min(most, value)
    import numpy as np

    return np.minimum(most, value)
