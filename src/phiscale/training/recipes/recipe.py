"""How a network is trained: a frozen value. The comments of its fields are the help of `train`."""

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

    # Optimiser. sgd is Nesterov's; muon is sgd with orthogonalised updates of 1x1 convolutions.
    name: Literal["sgd", "muon", "adamw", "rmsprop_tf"] = "sgd"
    lr_peak: float = 0.1  # Peak learning rate of a batch of `lr_images` images.
    lr_images: int = 0  # Batch size of lr_peak, which grows linearly with it; 0: of any size.
    momentum: float = 0.9  # Momentum: Nesterov's of sgd and muon, beta 1 of adamw.
    decay: float = 0.0  # Decay of the mean square; 0: 0.9 for rmsprop_tf, 0.999 for adamw.
    eps: float = 1e-3  # Epsilon of rmsprop_tf, inside the root; adamw uses 1e-8.
    weight_decay: float = 5e-4  # Weight decay.
    # What decays. weights: no norms, no biases (EfficientNetV2); all-but-norms: EfficientNet.
    decayed: Literal["weights", "all-but-norms"] = "weights"
    clip_norm: float = 0.0  # Maximum norm of the whole gradient; 0: no clipping.

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

    shape: Literal["cosine", "step", "constant"] = "cosine"  # Shape after the warm-up.
    warmup_fraction: float = 0.05  # Share of the training that warms up, linearly from 0.
    final_fraction: float = 0.0  # Share of the peak at which cosine ends.
    step_factor: float = 0.97  # Factor of each step of shape=step.
    step_epochs: float = 2.4  # Epochs between two steps, counted from the first image.

    def __post_init__(self) -> None:
        _as_floats(self)
        warmup, final, factor = self.warmup_fraction, self.final_fraction, self.step_factor
        _must(0 <= warmup < 1, "schedule.warmup_fraction", warmup, "0 to 0.5")
        _must(0 <= final <= 1, "schedule.final_fraction", final, "0 to 1")
        _must(0 < factor <= 1, "schedule.step_factor", factor, "above 0, at most 1")
        _must(0 < self.step_epochs < inf, "schedule.step_epochs", self.step_epochs, "2.4")


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Images that start small and grow during the training, and augmentation that grows with them
    (progressive resizing: Howard 2018, DAWNBench; progressive learning: Tan and Le,
    arXiv:2104.00298, section 4)."""

    first_size: float = 1.0  # Side of the first images over the full side; 1: no growth.
    until: float = 1.0  # Share of the training after which images have their full size.
    stages: int = 0  # Number of sizes, in equal steps, first and full included; 0: smooth.
    first_magnitude: float = -1.0  # RandAugment magnitude at the start; below 0: no growth.
    first_mixup: float = -1.0  # Mixup at the start; below 0: no growth.
    first_cutmix: float = -1.0  # CutMix at the start; below 0: no growth.
    first_dropout: float = -1.0  # Dropout at the start; below 0: no growth.

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
        """Returns the growth, 0 to 1, at this share of the training."""
        if progress >= self.until:
            return 1.0
        along = progress / self.until
        return along if not self.stages else int(along * self.stages) / (self.stages - 1)

    def pixels(self, full: int, progress: float) -> int:
        """Returns the side of the training images in pixels; smooth growth goes in steps of 4."""
        along = self.along(progress)
        if self.first_size == 1 or along >= 1:
            return full
        side = full * (self.first_size + (1 - self.first_size) * along) + 1e-9
        return max(4, int(side) if self.stages else int(side) // 4 * 4)

    def value(self, first: float, full: float, progress: float) -> float:
        """Returns what grows from `first` to `full`, at this share of the training."""
        return full if not 0 <= first < full else first + (full - first) * self.along(progress)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training but the network and the data."""

    epochs: float = 30.0  # Passes over the training images; fractions are allowed.
    batch: int = 128  # Images of one update, over all machines.
    micro_batch: int = 0  # Images computed at once, over all machines; 0: the whole batch.
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.1  # Share of each label that is spread over all classes.
    # Class weights in the loss. balanced: the root of 1 / frequency.
    class_weights: Literal["none", "balanced"] = "none"
    dropout: float = 0.0  # Dropout rate before the classifier.
    drop_path: float = 0.0  # Drop-path rate of the last block, linear from 0 at the first.
    ema_half_life_fraction: float = 0.02  # EMA half-life over the training's length; 0: no EMA.
    ema_decay: float = 0.0  # Maximum EMA decay of an update; 0: by ema_half_life_fraction.
    evaluations: int = 20  # Number of evaluations, spread evenly; the best weights are kept.
    train_size: float = 1.0  # Full side of training images over the side in evaluation.
    growth: Growth = field(default_factory=Growth)
    # New classifier. probe: starts as the best linear one on the frozen features.
    head: Literal["random", "probe"] = "random"
    layer_decay: float = 1.0  # Learning rate of a block over that of the block after it.
    least_share: float = 0.0  # Minimum share of the learning rate; blocks below it are frozen.
    # Batch norm statistics: trained, frozen, or reestimated and then frozen. auto: by batch size
    # and by how far the images are from those statistics.
    norms: Literal["train", "frozen", "reestimated", "auto"] = "train"
    patience: int = 0  # Evaluations without a new best that end the training; 0: no early end.
    lanes: int = 1  # Parts of a batch, each on a CPU core and with batch statistics of its own.
    # Precision of the arithmetic; weights stay fp32.
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    seed: int = 0  # Seed of all random numbers.

    def __post_init__(self) -> None:
        _as_floats(self)
        if self.head != "probe" or self.epochs != 0:  # a probe alone needs no epochs
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
        """Peak learning rate of this batch."""
        optim = self.optim
        return optim.lr_peak * (self.batch / optim.lr_images if optim.lr_images else 1)

    def pixels(self, full: int, progress: float) -> int:
        """Returns the side of the training images in pixels; `full`: that of the evaluation."""
        return self.growth.pixels(round(full * self.train_size), progress)

    def augment_at(self, progress: float) -> Augment:
        """Returns the augmentation at this share of the training."""
        augment, growth = self.augment, self.growth
        return replace(
            augment,
            magnitude=growth.value(growth.first_magnitude, augment.magnitude, progress),
            mixup=growth.value(growth.first_mixup, augment.mixup, progress),
            cutmix=growth.value(growth.first_cutmix, augment.cutmix, progress),
        )

    def dropout_at(self, progress: float) -> float:
        """Returns the dropout rate before the classifier at this share of the training."""
        return self.growth.value(self.growth.first_dropout, self.dropout, progress)

    def images(self, train_images: int) -> int:
        """Returns the length of the training in images: whole batches."""
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
    """Turns whole numbers in float fields into floats: 6 epochs and 6.0 are one recipe, and are
    written alike. `value` is frozen; `__post_init__` calls this."""
    for field_ in fields(value):
        if field_.type == "float" and isinstance(number := getattr(value, field_.name), int):
            object.__setattr__(value, field_.name, float(number))


def _must(holds: bool, name: str, value: float, use: str) -> None:
    """Raises UsageError for the parameter `name` unless the condition `holds`."""
    if not holds:
        raise UsageError(f"{name}={value} is out of range; use {use}.")


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the fields whose values differ, as `name: a -> b`."""
    changed: list[str] = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            changed += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            changed.append(f"{prefix}{key}: {x} -> {y}")
    return changed
