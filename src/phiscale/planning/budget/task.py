"""What networks are planned for: the images, the device, and the law that predicts errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.planning.priors import law_for

MIN_EPOCHS, MIN_EPOCHS_PRETRAINED = 4, 2  # fewer teach too little to be worth the time
MAX_EPOCHS = 350  # as the published networks had
DEFAULT_BATCH = 64  # images, of training memory


@dataclass(frozen=True, kw_only=True)
class PlanningTask:
    """What networks are planned for. Every field may be left out.

    Raises UsageError for a number that is not above 0 and for `min_epochs` above `max_epochs`.
    """

    train_images: int | None = None
    """Images of one epoch. The law then counts the images that a training sees."""
    native_pixels: int | None = None
    """Shorter side of the images, in pixels.

    No larger resolution is tried: it would only enlarge the images, and the law predicts no gain.
    None: the base's resolution if that is at most 64 px, else no limit.
    """
    device_model: DeviceModel | None = None
    """Predicts latency and training speed. Limits of milliseconds and minutes need it."""
    law: ErrorLaw | None = None
    """Predicts errors. None: the law of `coefficients` if it is over the base, else the prior."""
    coefficients: Coefficients | None = None
    """Only scalings by these coefficients compete. None: the whole lattice competes."""
    batch: int | None = None
    """Images that training memory counts. None: the batch of the device model, else 64."""
    min_epochs: float | None = None
    """A training that cannot see so many is excluded. None: 4, or 2 from pretrained weights."""
    max_epochs: float = MAX_EPOCHS
    """Length of a training that no limit of minutes shortens."""
    law_base: Spec | None = None
    """The network that the law's multipliers refer to. None: the one that is scaled."""

    def __post_init__(self) -> None:
        for name in ("train_images", "native_pixels", "batch", "min_epochs", "max_epochs"):
            require_positive(name, getattr(self, name))
        if self.min_epochs is not None:
            _require_order(self.min_epochs, self.max_epochs)

    def base_of(self, network: Spec) -> Spec:
        """The network that the law's multipliers refer to where `network` is scaled."""
        return self.law_base or network

    def law_of(self, network: Spec) -> ErrorLaw:
        """The law that predicts the errors of scalings of `network`."""
        base = self.base_of(network)
        law = self.law
        if law is None and self.coefficients is not None:
            law = self.coefficients.law_over(base)
        return law or law_for(base, lengths=self.train_images is not None)

    def pixels_of(self, network: Spec) -> int | None:
        """The shorter side of the images in pixels; None where the task does not say."""
        base = self.base_of(network)
        if self.native_pixels is None and base.resolution <= SMALL_PIXELS:
            return base.resolution
        return self.native_pixels

    def memory_batch(self) -> int:
        """Images in a batch, for training memory."""
        measured = self.device_model.training_batch if self.device_model else None
        return self.batch or measured or DEFAULT_BATCH

    def least_epochs(self, pretrained: bool) -> float:
        """The fewest epochs that a training must see. Raises UsageError above `max_epochs`."""
        least = fewest_epochs(pretrained) if self.min_epochs is None else self.min_epochs
        _require_order(least, self.max_epochs)
        return least


def fewest_epochs(pretrained: bool) -> int:
    """The fewest epochs of a training, where the task does not say."""
    return MIN_EPOCHS_PRETRAINED if pretrained else MIN_EPOCHS


def require_positive(name: str, value: float | None) -> None:
    """Raises UsageError for a number that is not finite and above 0. None is accepted."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name}={value} is not a finite number above 0. Use one.")


def _require_order(min_epochs: float, max_epochs: float) -> None:
    if min_epochs > max_epochs:
        raise UsageError(
            f"min_epochs={min_epochs:g} is more than max_epochs={max_epochs:g}. "
            "Lower `min_epochs` or raise `max_epochs`."
        )


DEFAULT_TASK = PlanningTask()
