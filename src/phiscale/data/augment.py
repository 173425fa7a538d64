"""What training does to a picture before the network sees it: a function of the picture and of the
random numbers of its place in the training, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    pictures: Sequence[np.ndarray], how: Augment, preprocessing: Preprocessing, u: np.ndarray
) -> np.ndarray:
    """uint8 NHWC of the training size, from RGB pictures of any size. `u`: RANDOM_NUMBERS uniforms
    for each picture's place."""
    framed = [
        _framed(pixels, how, preprocessing, row)
        for pixels, row in zip(pictures, u.tolist(), strict=True)
    ]
    batch = np.stack(framed)
    if how.frame == "shift" and how.shift:
        batch = _shifted(batch, round(how.shift * preprocessing.size), u[:, 4], u[:, 5])
    if how.flip:
        batch[u[:, 6] < 0.5] = batch[u[:, 6] < 0.5, :, ::-1]
    return batch


def _framed(
    pixels: np.ndarray, how: Augment, preprocessing: Preprocessing, u: list[float]
) -> np.ndarray:
    """One picture cut and resized, its colours and shape changed by RandAugment."""
    size = preprocessing.size
    as_it_is = pixels.shape == (size, size, 3) and preprocessing.crop == 1.0
    if how.frame == "shift" and as_it_is and not how.randaugment_layers:
        return pixels
    image = Image.fromarray(pixels)
    if how.frame == "shift":
        image = preprocessing.crop_and_resize(image)
    else:
        box = _random_area(image.width, image.height, how.least_area, *u[:4])
        image = image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box)
    for layer in range(how.randaugment_layers):
        name = _OPERATIONS[int(u[7 + 3 * layer] * len(_OPERATIONS))]
        sign = 1 if u[8 + 3 * layer] < 0.5 else -1
        image = _operation(image, name, how.randaugment_magnitude / 10, sign)
    return np.asarray(image)


def _shifted(batch: np.ndarray, most: int, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Each picture moved by up to `most` pixels, its edge mirrored into the gap."""
    height, width = batch.shape[1:3]
    padded = np.pad(batch, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    rows = (down * (2 * most + 1)).astype(int)
    columns = (across * (2 * most + 1)).astype(int)
    return np.stack([
        picture[y : y + height, x : x + width]
        for picture, y, x in zip(padded, rows.tolist(), columns.tolist(), strict=True)
    ])  # fmt: skip


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
