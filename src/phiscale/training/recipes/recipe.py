"""Recipe: everything about how a network is trained, as a frozen value.

The comment of a field is also the help of its flag in `phiscale train`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any, Literal

from phiscale.data.augment.augment import Augment
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import Format
from phiscale.files.values import is_number

FRACTION = "0 to less than 1"


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimiser and its settings."""

    # Optimiser. sgd: SGD with Nesterov momentum. muon: the same, but the updates of 1x1
    # convolutions are orthogonalised. rmsprop_tf: RMSProp as TensorFlow computes it.
    name: Literal["sgd", "muon", "adamw", "rmsprop_tf"] = "sgd"
    lr_peak: float = 0.1  # Peak learning rate, for a batch of `lr_images` images.
    # Batch size that `lr_peak` is for; the peak grows linearly with the batch. 0: `lr_peak` holds
    # for every batch size.
    lr_images: int = 0
    momentum: float = 0.9  # Momentum; for adamw: beta 1.
    # Decay of the mean squared gradient, for rmsprop_tf and adamw (beta 2). 0: 0.9 for rmsprop_tf,
    # 0.999 for adamw.
    decay: float = 0.0
    eps: float = 1e-3  # Epsilon of rmsprop_tf, under the square root; adamw always uses 1e-8.
    weight_decay: float = 5e-4  # Weight decay; `decayed` says of which parameters.
    # Parameters with weight decay. weights: neither norms nor biases (EfficientNetV2).
    # all-but-norms: biases too (EfficientNet).
    decayed: Literal["weights", "all-but-norms"] = "weights"
    clip_norm: float = 0.0  # Maximum norm of the gradient over all parameters; 0: no clipping.

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
    """How the learning rate changes with the number of images seen."""

    # Learning rate after the warm-up. cosine: falls along a half cosine to `final_fraction`. step:
    # is multiplied by `step_factor` every `step_epochs`. constant: stays at the peak.
    shape: Literal["cosine", "step", "constant"] = "cosine"
    # Length of the warm-up as a fraction of the training; the learning rate rises linearly from 0.
    warmup_fraction: float = 0.05
    final_fraction: float = 0.0  # Final learning rate over the peak, for shape=cosine.
    step_factor: float = 0.97  # Factor on the learning rate at each step, for shape=step.
    # Epochs between two steps, for shape=step; counted from the start of the training.
    step_epochs: float = 2.4

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

    # Side of the images at the start, over the full side; 1: images do not grow.
    first_size: float = 1.0
    until: float = 1.0  # Fraction of the training after which everything has its full value.
    # Number of image sizes in equal steps, the first and the full one included. 0: smooth growth.
    stages: int = 0
    # RandAugment magnitude at the start; grows to `augment.magnitude`. Below 0: does not grow.
    first_magnitude: float = -1.0
    # Mixup alpha at the start; grows to `augment.mixup`. Below 0: does not grow.
    first_mixup: float = -1.0
    # CutMix alpha at the start; grows to `augment.cutmix`. Below 0: does not grow.
    first_cutmix: float = -1.0
    # Dropout rate at the start; grows to `dropout`. Below 0: does not grow.
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
        """Returns the growth, 0 to 1, at this fraction of the training."""
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
        """Returns a value that grows from `first` to `full`, at this fraction of the training."""
        return full if not 0 <= first < full else first + (full - first) * self.along(progress)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training except the network and the data."""

    epochs: float = 30.0  # Passes over the training images; fractions are allowed.
    batch: int = 128  # Images per update of the weights, over all processes.
    # Images per forward pass over all processes (gradient accumulation if below `batch`). Batch
    # norm sees this many. 0: `batch`.
    micro_batch: int = 0
    optim: Optim = field(default_factory=Optim)  # The optimiser and its settings.
    # How the learning rate changes with the number of images seen.
    schedule: Schedule = field(default_factory=Schedule)
    # Random changes to training images, and their strength.
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.1  # Label smoothing: the part of a label spread over all classes.
    # Class weights in the loss. balanced: 1 / sqrt(class frequency), with mean 1.
    class_weights: Literal["none", "balanced"] = "none"
    dropout: float = 0.0  # Dropout rate before the classifier.
    # Drop-path rate (stochastic depth) of the last block; it rises linearly from 0 at the first.
    drop_path: float = 0.0
    # Half-life of the weights' moving average (EMA), as a fraction of the training. 0: no EMA.
    ema_half_life_fraction: float = 0.02
    # Maximum decay of the EMA per update; replaces `ema_half_life_fraction`. 0: not used.
    ema_decay: float = 0.0
    # Number of evaluations on the validation split, spread evenly; the best weights are kept.
    evaluations: int = 20
    # Side of the training images, when fully grown, over the side in evaluation.
    train_size: float = 1.0
    # Images, augmentation and dropout that grow during the training (progressive learning:
    # arXiv:2104.00298, section 4).
    growth: Growth = field(default_factory=Growth)
    # Start of a new classifier. random: random weights. probe: the best linear classifier on the
    # pretrained, frozen features.
    head: Literal["random", "probe"] = "random"
    # Learning rate of a block over that of the next block; the classifier has the full rate.
    layer_decay: float = 1.0
    # Freezes every block whose learning rate, by `layer_decay`, is below this fraction of the full
    # rate. 0: freezes none.
    least_share: float = 0.0
    # Batch-norm statistics. train: from each batch, as usual. frozen: the running statistics of the
    # pretrained weights. reestimated: computed anew on the training images, then frozen. auto: one
    # of these, by the batch size and by how far the images are from the pretrained statistics.
    norms: Literal["train", "frozen", "reestimated", "auto"] = "train"
    # Early stopping: evaluations in a row without a new best that end the training. 0: never.
    patience: int = 0
    # Equal parts of a batch, each normalised with its own batch-norm statistics; running statistics
    # are averaged. On a CPU each has a core. 1 gives the same training on every machine.
    lanes: int = 1
    # Precision of forward and backward. bf16, fp16: autocast, weights stay fp32. fp64: weights too.
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    seed: int = 0  # Seed of initial weights, order of images, augmentation and dropout.

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
        """Returns the side of the training images in pixels; `full` is the side in evaluation."""
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
        """Returns plain data, complete and versioned."""
        return FORMAT.encode(self)

    @staticmethod
    def from_dict(data: Any, where: str = "the recipe") -> Recipe:
        """Inverts `to_dict`. Unknown fields are errors; missing ones get their defaults."""
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
        number = getattr(value, field_.name)
        if field_.type in ("float", "int") and not is_number(number):
            raise UsageError(f"{field_.name}={number!r} is no number. Use one.")
        if field_.type == "float" and isinstance(number := getattr(value, field_.name), int):
            object.__setattr__(value, field_.name, float(number))


def _must(holds: bool, name: str, value: float, use: str) -> None:
    """Raises UsageError for the parameter `name` unless the condition `holds`."""
    if not holds:
        raise UsageError(f"{name}={value} is out of range; use {use}.")
