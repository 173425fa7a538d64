"""How a network is trained: a frozen value, and the table of named ones. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import inf
from typing import Any, Literal

from phiscale.data.augment import Augment
from phiscale.errors import PhiscaleError, UsageError

RECIPE_VERSION = 1
FRACTION = "0 to less than 1"


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimiser. `lr_peak` is for the recipe's own batch."""

    # sgd is Nesterov's; muon is sgd with orthogonalised updates of 1x1 convolutions
    name: Literal["sgd", "muon", "adamw", "rmsprop_tf"] = "sgd"
    lr_peak: float = 0.1  # the highest learning rate
    momentum: float = 0.9  # sgd, muon: Nesterov; adamw: beta 1; rmsprop_tf: momentum
    decay: float = 0.0  # of the mean square; 0: the usual 0.9 of rmsprop_tf, 0.999 of adamw
    eps: float = 1e-3  # rmsprop_tf: inside the root; adamw takes 1e-8
    weight_decay: float = 5e-4  # of weights with two dimensions or more: not norms, not biases
    clip_norm: float = 0.0  # of the whole gradient; 0 = none

    def __post_init__(self) -> None:
        _must(0 < self.lr_peak < inf, "optim.lr-peak", self.lr_peak, "a number above 0")
        _must(0 <= self.momentum < 1, "optim.momentum", self.momentum, FRACTION)
        _must(0 <= self.decay < 1, "optim.decay", self.decay, FRACTION)
        _must(0 < self.eps < inf, "optim.eps", self.eps, "a number above 0")
        _must(0 <= self.weight_decay < inf, "optim.weight-decay", self.weight_decay, "0 or more")
        _must(0 <= self.clip_norm < inf, "optim.clip-norm", self.clip_norm, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over the training, a function of images seen."""

    shape: Literal["cosine", "step"] = "cosine"
    warmup_fraction: float = 0.05  # of the whole training, linear from 0
    final_fraction: float = 0.0  # cosine ends at this share of the peak
    step_factor: float = 0.97  # step: times this ...
    step_epochs: float = 2.4  # ... every so many epochs, counted from the first image

    def __post_init__(self) -> None:
        warmup, final, factor = self.warmup_fraction, self.final_fraction, self.step_factor
        _must(0 <= warmup < 1, "schedule.warmup-fraction", warmup, "0 to 0.5")
        _must(0 <= final <= 1, "schedule.final-fraction", final, "0 to 1")
        _must(0 < factor <= 1, "schedule.step-factor", factor, "above 0, at most 1")
        _must(0 < self.step_epochs < inf, "schedule.step-epochs", self.step_epochs, "2.4")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a training but the network and the data."""

    epochs: float = 30.0  # passes over the training pictures; fractions are fine
    batch: int = 128  # pictures of one update
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    label_smoothing: float = 0.1
    class_weights: Literal["none", "balanced"] = "none"  # balanced: by the root of 1 / frequency
    dropout: float = 0.0  # before the classifier
    drop_path: float = 0.0  # of the last block; linear from 0 at the first
    ema_half_life_fraction: float = 0.02  # of the training; 0 = no averaging
    evaluations: int = 20  # on the validation split, spread evenly; the best is kept
    first_size: float = 1.0  # of the pictures' side at the start of training; then they grow ...
    full_size_from: float = 0.6  # ... to their full side at this share of the training
    head: Literal["random", "probe"] = "random"  # new classifier; probe: best on frozen features
    layer_decay: float = 1.0  # rate of a block over that of the block after it ...
    least_share: float = 0.0  # ... and blocks with less of the rate than this stay as they are
    # statistics of batch norms: learn; stay; are counted anew, then stay; by batch size and shift
    norms: Literal["train", "frozen", "reestimated", "auto"] = "train"
    patience: int = 0  # evaluations without a better one that end the training; 0 = never
    lanes: int = 1  # parts of a batch on cores of their own, each with its own batch statistics
    seed: int = 0

    def __post_init__(self) -> None:
        if self.head != "probe" or self.epochs != 0:  # a probe alone is a training, too
            _must(0 < self.epochs < inf, "epochs", self.epochs, "a number above 0")
        _must(0 < self.layer_decay <= 1, "layer-decay", self.layer_decay, "0.5 to 1")
        _must(self.patience >= 0, "patience", self.patience, "0 or more")
        _must(0 <= self.seed < 2**63, "seed", self.seed, "0 or more")
        _must(0 < self.first_size <= 1, "first-size", self.first_size, "0.5 to 1: of the full side")
        for name in ("batch", "evaluations", "lanes"):
            _must(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("label_smoothing", "dropout", "drop_path", "ema_half_life_fraction",
                     "full_size_from", "least_share"):  # fmt: skip
            value = getattr(self, name)
            _must(0 <= value < 1, name.replace("_", "-"), value, FRACTION)

    def pixels(self, full: int, progress: float) -> int:
        """A side of the training pictures: small ones first teach as much in less time
        (progressive resizing; Howard 2018, DAWNBench; Tan and Le, arXiv:2104.00298, section 4).
        In steps of 4 px up to `full`, what the network is made for."""
        if self.first_size == 1 or progress >= self.full_size_from:
            return full
        share = self.first_size + (1 - self.first_size) * progress / self.full_size_from
        return min(full, max(4, int(full * share + 1e-9) // 4 * 4))

    def images(self, train_images: int) -> int:
        """The planned length: fixed before the first step."""
        return max(1, round(self.epochs * train_images)) if self.epochs else 0

    def to_dict(self) -> dict[str, Any]:
        return {"phiscale_recipe": RECIPE_VERSION, **asdict(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recipe:
        """Strict: a field too many or too few is an error."""
        values = dict(data)
        if (version := values.pop("phiscale_recipe", None)) != RECIPE_VERSION:
            raise PhiscaleError(
                f"recipe format {version!r} is not {RECIPE_VERSION}; update phiscale."
            )
        parts = {"optim": Optim, "schedule": Schedule, "augment": Augment}
        for name, cls in parts.items():
            values[name] = _strict(cls, values.get(name, {}), name)
        return _strict(Recipe, values, "recipe")


def _must(holds: bool, flag: str, value: float, use: str) -> None:
    if not holds:
        raise UsageError(f"--{flag} {value} is out of range; use {use}.")


def _strict(cls: type, values: Mapping[str, Any], what: str) -> Any:
    known = {f.name for f in fields(cls)}
    missing = {f.name for f in fields(cls) if f.default is f.default_factory is MISSING}
    wrong = sorted((values.keys() - known) | (missing - values.keys()))
    if wrong:
        raise PhiscaleError(
            f"{what} has wrong or missing fields {wrong}; the known ones: {sorted(known)}."
        )
    return cls(**values)


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
