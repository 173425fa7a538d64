"""How a network is trained: a frozen value, and the table of named ones. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal

from phiscale.data.augment import Augment
from phiscale.errors import PhiscaleError, UsageError

RECIPE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimiser. `lr_peak` is for the recipe's own batch."""

    name: Literal["sgd", "adamw", "rmsprop_tf"] = "sgd"  # sgd is Nesterov's
    lr_peak: float = 0.1  # the highest learning rate
    momentum: float = 0.9  # sgd: Nesterov; adamw: beta 1; rmsprop_tf: momentum
    decay: float = 0.9  # rmsprop_tf: of the mean square; adamw: beta 2 is 1 - (1 - decay) / 100
    eps: float = 1e-3  # rmsprop_tf: inside the root; adamw takes 1e-8
    weight_decay: float = 5e-4  # of weights with two dimensions or more: not norms, not biases
    clip_norm: float = 0.0  # of the whole gradient; 0 = none

    def __post_init__(self) -> None:
        _between("--optim.lr-peak", self.lr_peak, 0, 1e9, "a number above 0")
        for name in ("momentum", "decay"):
            _between(f"--optim.{name}", getattr(self, name), -1e-9, 1, "0 to less than 1")
        _between("--optim.eps", self.eps, 0, 1e9, "a number above 0")
        for name in ("weight_decay", "clip_norm"):
            flag = f"--optim.{name.replace('_', '-')}"
            _between(flag, getattr(self, name), -1e-9, 1e9, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over the training, a function of images seen."""

    shape: Literal["cosine", "step"] = "cosine"
    warmup_fraction: float = 0.05  # of the whole training, linear from 0
    final_fraction: float = 0.0  # cosine ends at this share of the peak
    step_factor: float = 0.97  # step: times this ...
    step_epochs: float = 2.4  # ... every so many epochs, counted from the first image

    def __post_init__(self) -> None:
        _between("--schedule.warmup-fraction", self.warmup_fraction, -1e-9, 1, "0 to 0.5")
        _between("--schedule.final-fraction", self.final_fraction, -1e-9, 1 + 1e-9, "0 to 1")
        _between("--schedule.step-factor", self.step_factor, 0, 1 + 1e-9, "above 0, at most 1")
        _between("--schedule.step-epochs", self.step_epochs, 0, 1e9, "a number above 0")


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
    lanes: int = 1  # parts of a batch on cores of their own, each with its own batch statistics
    seed: int = 0

    def __post_init__(self) -> None:
        _between("--epochs", self.epochs, 0, 1e9, "a number above 0")
        for name, count in (
            ("batch", self.batch),
            ("evaluations", self.evaluations),
            ("lanes", self.lanes),
        ):
            if count < 1:
                raise UsageError(f"--{name} {count} is too few; use 1 or more.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed} is out of range. Use 0 or more.")
        if not 0 < self.first_size <= 1:
            raise UsageError(
                f"--first-size {self.first_size} is a share of the full side; use 0.5 to 1."
            )
        for name in (
            "label_smoothing",
            "dropout",
            "drop_path",
            "ema_half_life_fraction",
            "full_size_from",
        ):
            value = getattr(self, name)
            if not 0 <= value < 1:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} {value} is not a fraction; use 0 to less than 1.")

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
        return max(1, round(self.epochs * train_images))

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


def _between(flag: str, value: float, above: float, below: float, use: str) -> None:
    if not above < value < below:  # NaN is not, either
        raise UsageError(f"{flag} {value} makes no sense; use {use}.")


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
