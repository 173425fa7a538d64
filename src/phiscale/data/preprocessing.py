"""From an image to what a network takes: one value, shared by training, export and serving.

No torch here: a predictor without it makes the same numbers. Resampling is Pillow's (integers, the
same on every machine); after it come one multiplication and one subtraction in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phiscale.data.reading.pixels import WHITE, DecodeOptions, to_rgb
from phiscale.errors import DataError
from phiscale.files import Format, added_field
from phiscale.files.values import is_finite, is_range, is_whole

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["nearest", "bilinear", "bicubic"]
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input. DataError: a value makes no sense."""

    size: int
    """Pixels, height and width of the input."""
    crop: float = 0.875
    """The part of the shorter side that the central square keeps, in (0, 1]."""
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per channel (red, green, blue), of pixel values in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    background: tuple[int, int, int] = WHITE
    """What transparent pixels lie on, 0 to 255."""
    squash: bool = False
    """The whole image becomes the square, whatever its shape; `crop` is not used."""
    value_range: tuple[float, float] | None = added_field(None)
    """Values of black and white in grey images of more than eight bits; None: their format's."""

    def __post_init__(self) -> None:
        if not is_whole(self.size) or not 1 <= self.size <= 16_384:
            raise DataError(
                f"Preprocessing size is {self.size!r}. Give whole pixels, 1 to 16384, such as 224."
            )
        if not is_finite(self.crop) or not 0 < self.crop <= 1:
            raise DataError(
                f"Preprocessing crop is {self.crop!r}. Give the part of the shorter side to keep, "
                "above 0 and at most 1, such as 0.875."
            )
        if self.interpolation not in get_args(Interpolation):
            raise DataError(
                f"Preprocessing interpolation is {self.interpolation!r}. "
                f"Give one of {', '.join(get_args(Interpolation))}."
            )
        if not _three(self.mean, is_finite):
            raise DataError(
                f"Preprocessing mean is {self.mean!r}. Give three numbers, such as {IMAGENET_MEAN}."
            )
        if not _three(self.std, is_finite) or min(self.std) <= 0:
            raise DataError(
                f"Preprocessing std is {self.std!r}. "
                f"Give three numbers above 0, such as {IMAGENET_STD}."
            )
        if not _three(self.background, is_whole) or not set(self.background) <= set(range(256)):
            raise DataError(
                f"Preprocessing background is {self.background!r}. "
                f"Give three whole numbers from 0 to 255, such as {WHITE}."
            )
        if self.value_range is not None and not is_range(self.value_range):
            raise DataError(
                f"Preprocessing value_range is {self.value_range!r}. "
                "Give two numbers, the lower first, such as (0, 4095)."
            )

    @property
    def decode_options(self) -> DecodeOptions:
        """How files are read for this preprocessing."""
        return DecodeOptions(background=self.background, value_range=self.value_range)

    def with_range(self, value_range: tuple[float, float] | None) -> Preprocessing:
        """Returns it with another range of grey values; None: with its own."""
        return replace(self, value_range=value_range or self.value_range)

    def crop_and_resize(self, image: Image.Image) -> Image.Image:
        """Returns the central square of side crop x min(height, width), size x size pixels, RGB.

        With `squash` the whole image becomes the square.
        """
        image = to_rgb(image, self.decode_options)
        if self.squash:
            return image.resize((self.size, self.size), _RESAMPLING[self.interpolation])
        side = self.crop * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return image.resize(
            (self.size, self.size),
            _RESAMPLING[self.interpolation],
            box=(left, top, left + side, top + side),
        )

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns (pixels / 255 - mean) / std: uint8 HWC or NHWC -> float32 CHW or NCHW.

        DataError: the pixels have another type or shape.
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
            raise DataError(
                f"Pixels are {pixels.dtype} of shape {pixels.shape}. "
                "Give uint8 with three channels last: height, width, 3."
            )
        *batch, height, width, _ = pixels.shape
        images = np.empty((*batch, 3, height, width), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = images[..., channel, :, :]
            np.multiply(pixels[..., channel], np.float32(1 / (255 * std)), out=plane)
            plane -= np.float32(mean / std)
        return images

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Returns an image as the network takes it: float32 (3, size, size)."""
        return self.normalise(np.asarray(self.crop_and_resize(image)))

    def summary(self) -> str:
        """Returns a line for people: pixels, crop, interpolation, mean and std."""
        how = "the whole image squeezed" if self.squash else f"the central {self.crop:g}"
        mean, std = (", ".join(f"{v:.3g}" for v in each) for each in (self.mean, self.std))
        deep = (
            ""
            if self.value_range is None
            else ", grey values {:g} to {:g}".format(*self.value_range)
        )
        return f"{self.size} px, {how}, {self.interpolation}, mean {mean}, std {std}{deep}"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, complete and versioned."""
        return FORMAT.encode(self)

    @staticmethod
    def from_dict(data: Any, where: str = "the preprocessing") -> Preprocessing:
        """Returns the preprocessing of what `to_dict` gave. `where` names the source in messages.

        DataError: a field is unknown, missing or wrong.
        """
        return FORMAT.decode(data, where)


FORMAT = Format(
    Preprocessing,
    "phiscale_preprocessing",
    DataError,
    "Export the model again with this phiscale.",
)


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Returns red, green and blue. ValueError: there are more or fewer values."""
    red, green, blue = map(float, values)
    return red, green, blue


def _three(value: object, kind: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(kind(v) for v in value)
