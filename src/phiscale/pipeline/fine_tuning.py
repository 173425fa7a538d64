"""The error that fine-tuning ends with, predicted from the error of its linear probe."""

from __future__ import annotations

from dataclasses import dataclass

# A probe on fewer images is worse: its error falls with their number to this power. Fine-tuning
# lowers it further with the images that it sees. Both from Lite0 on clothing photos, sign digits
# and CIFAR-10, 96 to 224 px (docs/log.md, 2026-12-01).
PROBE_EXPONENT = 0.25
TUNED_EXPONENT = 0.35
TUNED_FROM = 1500  # images seen, from which on fine-tuning pays


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A measured linear probe of one variant."""

    error: float  # top-1, of validation images
    train_images: int  # that it was fitted to
    validation_images: int
    seconds: float


def fine_tuned_error(probe: Probe, train_images: int, images_seen: float | None) -> float:
    """Returns the top-1 error that a training is predicted to end with.

    `train_images`: how many there are; the training starts from a probe on all of them.
    `images_seen`: the length of the training; None: 15 epochs.
    """
    more = max(1.0, train_images / probe.train_images)
    seen = 15 * train_images if images_seen is None else images_seen
    at_start = floor_error(probe) * more**-PROBE_EXPONENT
    return at_start * (1 + seen / TUNED_FROM) ** -TUNED_EXPONENT


def floor_error(probe: Probe) -> float:
    """Returns the measured error, but not less than so many images can tell from 0."""
    return max(probe.error, 0.5 / probe.validation_images)
