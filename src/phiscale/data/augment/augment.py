"""Changes an image before the network sees it in training.

The result depends on the image and on the random numbers of its sample index, on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.augment import policies
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError

# Which random numbers of an image serve what.
_AREA, _SHIFT, _FLIP, _ERASE = slice(0, 4), slice(4, 6), 6, slice(7, 12)
MIX = slice(12, 15)  # for `mixing`
_POLICY = slice(15, 15 + policies.NUMBERS)
RANDOM_NUMBERS = _POLICY.stop


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes to training images, and their strength."""

    frame: Literal["shift", "area"] = "shift"
    """How an image is placed. shift: the whole image, moved; for small images. area: a random part,
    resized; for photos."""
    # Maximum shift in each direction, as a fraction of the side, for frame=shift.
    shift: float = 0.125
    least_area: float = 0.35  # Minimum part of the image's area that is kept, for frame=area.
    flip: bool = True  # Mirrors half of the images left to right.
    policy: Literal["none", "randaugment", "v0", "paper"] = "none"
    """Augmentation policy. v0: AutoAugment of tensorflow/tpu. paper: AutoAugment of its paper.
    randaugment: `layers` random operations of strength `magnitude`."""
    layers: int = 2  # Number of operations per image, for policy=randaugment.
    magnitude: float = 10.0  # Strength of the operations, 0 to 30, for policy=randaugment.
    erase: float = 0.0  # Probability that a random rectangle is filled with the mean colour.
    # Side of a square filled with the mean colour, over the image's side. 0: no cutout.
    cutout: float = 0.0
    mixup: float = 0.0  # Mixup: alpha of the Beta distribution that blends two images. 0: none.
    # CutMix: alpha of the Beta distribution of the area pasted from another image. 0: none.
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise UsageError(f"shift={self.shift} is not a fraction of the side. Use 0.125.")
        if not 0 < self.least_area <= 1:
            raise UsageError(
                f"least_area={self.least_area} is not a fraction of the area. Use 0.08 to 1."
            )
        if not 1 <= self.layers <= 3 or not 0 <= self.magnitude <= 30:
            raise UsageError(
                f"layers={self.layers}, magnitude={self.magnitude} is outside RandAugment's range. "
                "Use 1 to 3 layers of magnitude 0 to 30."
            )
        if not 0 <= self.erase <= 1:
            raise UsageError(f"erase={self.erase} is not a probability. Use 0 to 1.")
        if not 0 <= self.cutout < 1:
            raise UsageError(f"cutout={self.cutout} is not a fraction of the side. Use 0 to 0.5.")
        if self.erase and self.cutout:
            raise UsageError(
                f"erase={self.erase} and cutout={self.cutout} fill the same area. Use one of them."
            )
        if not 0 <= self.mixup <= 10 or not 0 <= self.cutmix <= 10:
            raise UsageError(
                f"mixup={self.mixup}, cutmix={self.cutmix}: one is not the alpha of a Beta "
                "distribution. Use 0 to 10."
            )


def augment_images(
    images: Sequence[NDArray[np.uint8]],
    augment: Augment,
    preprocessing: Preprocessing,
    uniforms: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Returns uint8 NHWC of the training size, from RGB images (uint8 HWC) of any size.

    `uniforms` has RANDOM_NUMBERS numbers in [0, 1) for each image, (images, RANDOM_NUMBERS).
    """
    framed = [
        _frame(pixels, augment, preprocessing, row)
        for pixels, row in zip(images, uniforms.tolist(), strict=True)
    ]
    batch = np.stack(framed)
    if augment.frame == "shift" and augment.shift:
        batch = _shift(batch, round(augment.shift * preprocessing.size), *uniforms[:, _SHIFT].T)
    if augment.flip:
        mirrored = uniforms[:, _FLIP] < 0.5
        batch[mirrored] = batch[mirrored, :, ::-1]
    if not augment.erase and not augment.cutout:
        return batch
    mean = np.round(np.array(preprocessing.mean) * 255).astype(np.uint8)
    for image, row in zip(batch, uniforms[:, _ERASE].tolist(), strict=True):
        if row[0] < augment.erase:
            _erase(image, mean, *row[1:])
        elif augment.cutout:
            _cut_out(image, mean, round(augment.cutout * len(image)), *row[3:])
    return batch


def _frame(
    pixels: NDArray[np.uint8], augment: Augment, preprocessing: Preprocessing, uniforms: list[float]
) -> NDArray[np.uint8]:
    """One image cut and resized, then changed by the policy."""
    size = preprocessing.size
    is_ready = pixels.shape == (size, size, 3) and preprocessing.crop == 1.0
    if augment.frame == "shift" and is_ready and augment.policy == "none":
        return pixels
    image = Image.fromarray(pixels)
    if augment.frame == "shift":
        image = preprocessing.crop_and_resize(image)
    else:
        box = random_area(image.width, image.height, augment.least_area, *uniforms[_AREA])
        image = image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box)
    match augment.policy:
        case "randaugment":
            image = policies.randaugment(
                image, augment.layers, augment.magnitude, uniforms[_POLICY]
            )
        case "v0":
            image = policies.autoaugment_v0(image, uniforms[_POLICY])
        case "paper":
            image = policies.autoaugment_paper(image, uniforms[_POLICY])
    return np.asarray(image)


def _shift(
    batch: NDArray[np.uint8], most: int, down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Each image moved by up to `most` pixels, its edge mirrored into the gap."""
    height, width = batch.shape[1:3]
    padded = np.pad(batch, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    rows = (down * (2 * most + 1)).astype(int)
    columns = (across * (2 * most + 1)).astype(int)
    return np.stack(
        [
            image[y : y + height, x : x + width]
            for image, y, x in zip(padded, rows.tolist(), columns.tolist(), strict=True)
        ]
    )


def random_area(
    width: int, height: int, least: float, area: float, aspect: float, x: float, y: float
) -> tuple[float, float, float, float]:
    """A box of random area and aspect 3/4..4/3 inside the image (Szegedy et al. 2015), which
    shrinks to fit where the draw would not, so that no draw is thrown away."""
    target = width * height * (least + (1 - least) * area)
    ratio = exp(log(3 / 4) + (log(4 / 3) - log(3 / 4)) * aspect)
    w, h = min(width, sqrt(target * ratio)), min(height, sqrt(target / ratio))
    left, top = (width - w) * x, (height - h) * y
    return left, top, left + w, top + h


def _erase(
    image: NDArray[np.uint8],
    colour: NDArray[np.uint8],
    area: float,
    aspect: float,
    y: float,
    x: float,
) -> None:
    """Fills 2 to 33 % of an image, of aspect 0.3 to 3.3 (Zhong et al., arXiv:1708.04896)."""
    height, width = image.shape[:2]
    target = height * width * (0.02 + 0.31 * area)
    ratio = exp(log(0.3) + (log(3.3) - log(0.3)) * aspect)
    h, w = min(height, round(sqrt(target * ratio))), min(width, round(sqrt(target / ratio)))
    top, left = int(y * (height - h + 1)), int(x * (width - w + 1))
    image[top : top + h, left : left + w] = colour


def _cut_out(
    image: NDArray[np.uint8], colour: NDArray[np.uint8], side: int, y: float, x: float
) -> None:
    """Fills a square around any pixel, the part of it that is inside (DeVries and Taylor,
    arXiv:1708.04552)."""
    height, width = image.shape[:2]
    top, left = int(y * height) - side // 2, int(x * width) - side // 2
    image[max(0, top) : top + side, max(0, left) : left + side] = colour


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
