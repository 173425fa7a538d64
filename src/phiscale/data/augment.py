"""What training does to a picture before the network sees it: a function of the picture and of the
random numbers of its place in the training, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError

RANDOM_NUMBERS = 16  # that one picture may use


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Which changes, how strong."""

    frame: Literal["shift", "area"] = "shift"
    """shift: the whole picture moved, for small ones. area: a random part of it, for photos."""
    shift: float = 0.125  # of the side, at most, each way
    least_area: float = 0.35  # of the picture, for frame=area
    flip: bool = True
    randaugment_layers: int = 0
    randaugment_magnitude: float = 9.0  # 0..10

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise UsageError(f"shift={self.shift} is not a fraction of the side; use 0.125.")
        if not 0 < self.least_area <= 1:
            raise UsageError(f"least_area={self.least_area} is no fraction; use 0.08 to 1.")
        if not 0 <= self.randaugment_layers <= 3 or not 0 <= self.randaugment_magnitude <= 10:
            raise UsageError("randaugment takes 0 to 3 layers of magnitude 0 to 10.")


def augmented(
    image: Image.Image, how: Augment, preprocessing: Preprocessing, u: list[float]
) -> np.ndarray:
    """uint8 HWC of the training size. `u`: RANDOM_NUMBERS uniforms of this place."""
    size = preprocessing.size
    if how.frame == "shift":
        image = preprocessing.crop_and_resize(image)
    else:
        box = _random_area(image.width, image.height, how.least_area, u[0], u[1], u[2], u[3])
        image = image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box)
    for layer in range(how.randaugment_layers):
        at = 7 + 3 * layer
        name = _OPERATIONS[int(u[at] * len(_OPERATIONS))]
        image = _operation(
            image, name, how.randaugment_magnitude / 10, 1 if u[at + 1] < 0.5 else -1
        )
    pixels = np.asarray(image)
    if how.frame == "shift" and how.shift:
        most = round(how.shift * size)
        pixels = _shifted(pixels, most, int(u[4] * (2 * most + 1)), int(u[5] * (2 * most + 1)))
    if how.flip and u[6] < 0.5:
        pixels = pixels[:, ::-1]
    return pixels


def _shifted(pixels: np.ndarray, most: int, down: int, across: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((most, most), (most, most), (0, 0)), mode="reflect")
    return padded[down : down + height, across : across + width]


def _random_area(
    width: int, height: int, least: float, area: float, aspect: float, x: float, y: float
) -> tuple[float, float, float, float]:
    """A box of random area and aspect 3/4..4/3 inside the picture (Szegedy et al. 2015), which
    shrinks to fit where the draw would not, so that no draw is thrown away."""
    target = width * height * (least + (1 - least) * area)
    ratio = exp(log(3 / 4) + (log(4 / 3) - log(3 / 4)) * aspect)
    w, h = min(width, sqrt(target * ratio)), min(height, sqrt(target / ratio))
    left, top = (width - w) * x, (height - h) * y
    return left, top, left + w, top + h


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

_OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "posterize", "solarize", "color", "contrast",
    "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


def _operation(image: Image.Image, name: str, strength: float, sign: int) -> Image.Image:
    """One of RandAugment's operations (Cubuk et al., arXiv:1909.13719), strength in 0..1."""
    grey = (124, 116, 104)  # the mean colour fills what moves in
    side = image.width
    match name:
        case "autocontrast":
            return ImageOps.autocontrast(image)
        case "equalize":
            return ImageOps.equalize(image)
        case "posterize":
            return ImageOps.posterize(image, 8 - round(4 * strength))
        case "solarize":
            return ImageOps.solarize(image, 256 - round(256 * strength * 0.8))
        case "color":
            return ImageEnhance.Color(image).enhance(1 + sign * 0.9 * strength)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(1 + sign * 0.9 * strength)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(1 + sign * 0.6 * strength)
        case "sharpness":
            return ImageEnhance.Sharpness(image).enhance(1 + sign * 0.9 * strength)
        case "rotate":
            return image.rotate(sign * 30 * strength, Image.Resampling.BILINEAR, fillcolor=grey)
        case "shear_x":
            return _affine(image, (1, sign * 0.3 * strength, 0, 0, 1, 0), grey)
        case "shear_y":
            return _affine(image, (1, 0, 0, sign * 0.3 * strength, 1, 0), grey)
        case "translate_x":
            return _affine(image, (1, 0, sign * 0.45 * strength * side, 0, 1, 0), grey)
        case "translate_y":
            return _affine(image, (1, 0, 0, 0, 1, sign * 0.45 * strength * side), grey)
        case _:
            return image


def _affine(
    image: Image.Image, matrix: tuple[float, ...], fill: tuple[int, int, int]
) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )
