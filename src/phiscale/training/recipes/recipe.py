"""How a network is trained: a frozen value, and the table of named ones. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any, Literal

from phiscale.data.augment.augment import Augment
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import Format

FRACTION = "0 to less than 1"


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimiser."""

    # sgd is Nesterov's; muon is sgd with orthogonalised updates of 1x1 convolutions
    name: Literal["sgd", "muon", "adamw", "rmsprop_tf"] = "sgd"
    lr_peak: float = 0.1  # the highest learning rate ...
    lr_images: int = 0  # ... of a batch of so many images, linear in it; 0: of any batch
    momentum: float = 0.9  # sgd, muon: Nesterov; adamw: beta 1; rmsprop_tf: momentum
    decay: float = 0.0  # of the mean square; 0: the usual 0.9 of rmsprop_tf, 0.999 of adamw
    eps: float = 1e-3  # rmsprop_tf: inside the root; adamw takes 1e-8
    weight_decay: float = 5e-4
    # weights: not norms, not biases (EfficientNetV2); all but norms: biases too (EfficientNet)
    decayed: Literal["weights", "all-but-norms"] = "weights"
    clip_norm: float = 0.0  # of the whole gradient; 0 = none

    def __post_init__(self) -> None:
        _as_floats(self)
        _must(0 < self.lr_peak < inf, "optim.lr_peak", self.lr_peak, "a number above 0")
        _must(0 <= self.momentum < 1, "optim.momentum", self.momentum, FRACTION)
        _must(0 <= self.decay < 1, "optim.decay", self.decay, FRACTION)
        _must(0 < self.eps < inf, "optim.eps", self.eps, "a number above 0")
        _must(0 <= self.weight_decay < inf, "optim.weight_decay", self.weight_decay, "0 or more")
        _must(0 <= self.clip_norm < inf, "optim.clip_norm", self.clip_norm, "0 or more")
        _must(self.lr_images >= 0, "optim.lr_images", self.lr_images, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over the training, a function of images seen."""

    shape: Literal["cosine", "step", "constant"] = "cosine"
    warmup_fraction: float = 0.05  # of the whole training, linear from 0
    final_fraction: float = 0.0  # cosine ends at this share of the peak
    step_factor: float = 0.97  # step: times this ...
    step_epochs: float = 2.4  # ... every so many epochs, counted from the first image

    def __post_init__(self) -> None:
        _as_floats(self)
        warmup, final, factor = self.warmup_fraction, self.final_fraction, self.step_factor
        _must(0 <= warmup < 1, "schedule.warmup_fraction", warmup, "0 to 0.5")
        _must(0 <= final <= 1, "schedule.final_fraction", final, "0 to 1")
        _must(0 < factor <= 1, "schedule.step_factor", factor, "above 0, at most 1")
        _must(0 < self.step_epochs < inf, "schedule.step_epochs", self.step_epochs, "2.4")


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Small images first teach as much in less time; what makes them harder grows with them
    (progressive resizing: Howard 2018, DAWNBench; progressive learning: Tan and Le,
    arXiv:2104.00298, section 4)."""

    first_size: float = 1.0  # share of the images' side at the start; 1 = no growth
    until: float = 1.0  # share of the training at which all is full size
    stages: int = 0  # equal steps of growth, the first and the full size among them; 0: smooth
    first_magnitude: float = -1.0  # RandAugment's at the start; below 0: as later
    first_mixup: float = -1.0
    first_cutmix: float = -1.0
    first_dropout: float = -1.0

    def __post_init__(self) -> None:
        _as_floats(self)
        _must(
            0 < self.first_size <= 1,
            "growth.first_size",
            self.first_size,
            "0.5 to 1: of the full side",
        )
        _must(0 < self.until <= 1, "growth.until", self.until, "above 0, at most 1")
        _must(self.stages == 0 or self.stages >= 2, "growth.stages", self.stages, "0, or 2 to 8")

    def along(self, progress: float) -> float:
        """How far the growth has come at this share of the training, 0 to 1."""
        if progress >= self.until:
            return 1.0
        along = progress / self.until
        return along if not self.stages else int(along * self.stages) / (self.stages - 1)

    def pixels(self, full: int, progress: float) -> int:
        """A side of the training images; smooth growth goes in steps of 4 px."""
        along = self.along(progress)
        if self.first_size == 1 or along >= 1:
            return full
        side = full * (self.first_size + (1 - self.first_size) * along) + 1e-9
        return max(4, int(side) if self.stages else int(side) // 4 * 4)

    def value(self, first: float, full: float, progress: float) -> float:
        """Of what grows from `first` to `full`."""
        return full if not 0 <= first < full else first + (full - first) * self.along(progress)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a training but the network and the data."""

    epochs: float = 30.0  # passes over the training images; fractions are fine
    batch: int = 128  # images of one update, over all machines
    micro_batch: int = 0  # of them at once, over all machines, a batch for the norms; 0 = all
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.1
    class_weights: Literal["none", "balanced"] = "none"  # balanced: by the root of 1 / frequency
    dropout: float = 0.0  # before the classifier
    drop_path: float = 0.0  # of the last block; linear from 0 at the first
    ema_half_life_fraction: float = 0.02  # of the training; 0 = no averaging ...
    ema_decay: float = 0.0  # ... or the highest decay of an update; 0: by the fraction
    evaluations: int = 20  # on the validation split, spread evenly; the best is kept
    train_size: float = 1.0  # side of training images at full size over the evaluation's
    growth: Growth = field(default_factory=Growth)
    head: Literal["random", "probe"] = "random"  # new classifier; probe: best on frozen features
    layer_decay: float = 1.0  # rate of a block over that of the block after it ...
    least_share: float = 0.0  # ... and blocks with less of the rate than this stay as they are
    # statistics of batch norms: learn; stay; are counted anew, then stay; by batch size and shift
    norms: Literal["train", "frozen", "reestimated", "auto"] = "train"
    patience: int = 0  # evaluations without a better one that end the training; 0 = never
    lanes: int = 1  # parts of a batch on cores of their own, each with its own batch statistics
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # of the arithmetic; weights: fp32
    seed: int = 0

    def __post_init__(self) -> None:
        _as_floats(self)
        if self.head != "probe" or self.epochs != 0:  # a probe alone is a training, too
            _must(0 < self.epochs < inf, "epochs", self.epochs, "a number above 0")
        _must(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "0.5 to 1")
        _must(self.patience >= 0, "patience", self.patience, "0 or more")
        _must(0 <= self.seed < 2**63, "seed", self.seed, "0 or more")
        _must(0 < self.train_size <= 1, "train_size", self.train_size, "0.5 to 1")
        for name in ("batch", "evaluations", "lanes"):
            _must(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _must(
            self.micro_batch >= 0 and self.batch % (self.micro_batch or self.batch) == 0,
            "micro_batch",
            self.micro_batch,
            f"0, or a divisor of batch={self.batch}",
        )
        for name in (
            "label_smoothing",
            "dropout",
            "drop_path",
            "ema_half_life_fraction",
            "ema_decay",
            "least_share",
        ):
            value = getattr(self, name)
            _must(0 <= value < 1, name, value, FRACTION)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of an update."""
        return self.batch // (self.micro_batch or self.batch)

    @property
    def images_at_once(self) -> int:
        """Images of a micro-batch, over all processes."""
        return self.batch // self.micro_batches

    @property
    def lr_peak(self) -> float:
        """The highest learning rate of this batch."""
        optim = self.optim
        return optim.lr_peak * (self.batch / optim.lr_images if optim.lr_images else 1)

    def pixels(self, full: int, progress: float) -> int:
        """A side of the training images, `full` being the evaluation's."""
        return self.growth.pixels(round(full * self.train_size), progress)

    def augment_at(self, progress: float) -> Augment:
        """The changes to the images at this share of the training."""
        how, growth = self.augment, self.growth
        return replace(
            how,
            magnitude=growth.value(growth.first_magnitude, how.magnitude, progress),
            mixup=growth.value(growth.first_mixup, how.mixup, progress),
            cutmix=growth.value(growth.first_cutmix, how.cutmix, progress),
        )

    def dropout_at(self, progress: float) -> float:
        return self.growth.value(self.growth.first_dropout, self.dropout, progress)

    def images(self, train_images: int) -> int:
        """The planned length, fixed before the first step: whole batches, since a part of one
        would be an update of its own kind."""
        batches = max(1, round(self.epochs * train_images / self.batch))
        return batches * self.batch if self.epochs else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, complete and versioned."""
        return FORMAT.encode(self)

    @staticmethod
    def from_dict(data: Any, where: str = "the recipe") -> Recipe:
        """The inverse of `to_dict`. Unknown fields are errors; missing ones have their defaults."""
        return FORMAT.decode(data, where)


FORMAT = Format(
    Recipe,
    "phiscale_recipe",
    PhiscaleError,
    "Start the training again, into another `out`.",
    by_hand=True,
)


def _as_floats(value: Any) -> None:
    """6 epochs and 6.0 are one recipe, so they are written alike: what is declared a fraction of
    whatever kind is one. `value` is frozen and is being made."""
    for each in fields(value):
        if each.type == "float" and isinstance(number := getattr(value, each.name), int):
            object.__setattr__(value, each.name, float(number))


def _must(holds: bool, name: str, value: float, use: str) -> None:
    """Raises UsageError for the parameter `name` unless the condition `holds`."""
    if not holds:
        raise UsageError(f"{name}={value} is out of range; use {use}.")


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Flags whose values differ, as `name: a -> b`."""
    found: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append(f"{prefix}{key}: {x} -> {y}")
    return found
