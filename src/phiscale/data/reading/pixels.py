"""Any of Pillow's modes to RGB of eight bits: scaled; transparency on a background.

Depths above eight bits are scaled by one range for a whole image set, which the audit finds and
`Preprocessing` keeps; values beyond it are clipped. Where there is none, 16-bit files are scaled by
65,535, 12-bit TIFF by 4,095, floats by 1. Nothing is ever scaled by its own extremes: other floats
and 32-bit integers are refused then.
Colour profiles are not applied, neither here nor in training, evaluation or serving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from phiscale.errors import BadImage

WHITE = (255, 255, 255)
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_NO_ALPHA = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How what a file holds becomes RGB of eight bits."""

    background: tuple[int, int, int] = WHITE
    """What transparent pixels lie on."""
    value_range: tuple[float, float] | None = None
    """Values of black and white in grey images of more than eight bits; None: their format's."""


DEFAULT_OPTIONS = DecodeOptions()


@dataclass(frozen=True, eq=False)
class StoredValues:
    """A grey image of more than eight bits as its file counts."""

    values: NDArray[Any]
    white: int | None
    """Value of white by the file's format; None: the format states none."""


def stored_values(image: Image.Image, raw_mode: str = "") -> StoredValues | None:
    """Returns the values of a loaded grey image of more than eight bits; None for all others.

    `raw_mode` as for `to_rgb`. BadImage: some values are not numbers.
    """
    if image.mode not in _DEEP:
        return None
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise BadImage("has values that are not numbers")
    if raw_mode.startswith("I;32") and not raw_mode.endswith("S"):
        values = values.view(np.uint32)  # Pillow takes them for signed
    if image.mode.startswith("I;16"):
        return StoredValues(values, 4095 if raw_mode.startswith("I;12") else 65535)
    is_scaled = image.mode == "I" and image.format == "PPM"  # Pillow has scaled it to 65,535
    return StoredValues(values, 65535 if is_scaled else None)


def to_rgb(
    image: Image.Image, options: DecodeOptions = DEFAULT_OPTIONS, *, raw_mode: str = ""
) -> Image.Image:
    """Returns a loaded image in RGB. BadImage: its mode has no way to RGB.

    `raw_mode` is the depth in the file, where Pillow's mode does not tell it ("L;4", "I;12").
    """
    background = options.background
    if image.mode in _DEEP:
        grey, alpha = _eight_bits(image, raw_mode, options.value_range)
        return grey.convert("RGB") if alpha is None else _composite(grey, alpha, background)
    if image.mode not in (*_NO_ALPHA, *_ALPHA):
        raise BadImage(f"colour mode {image.mode} is not read; convert the file to RGB")
    if image.mode in _ALPHA or image.has_transparency_data:
        _rescale_transparent_colour(image, raw_mode)
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        return _composite(image, image.getchannel("A"), background)
    return image if image.mode == "RGB" else image.convert("RGB")


def _composite(
    image: Image.Image, alpha: Image.Image, background: tuple[int, int, int]
) -> Image.Image:
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image.convert("RGB"), mask=alpha)
    return canvas


def _rescale_transparent_colour(image: Image.Image, raw_mode: str) -> None:
    """Scales a PNG's transparent colour from the file's depth to Pillow's eight bits."""
    colour = image.info.get("transparency")
    if raw_mode in ("L;2", "L;4") and isinstance(colour, int):
        top = 3 if raw_mode == "L;2" else 15
        image.info["transparency"] = min(colour, top) * 255 // top
    elif raw_mode.startswith("RGB;16") and isinstance(colour, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _eight_bits(
    image: Image.Image, raw_mode: str, value_range: tuple[float, float] | None
) -> tuple[Image.Image, Image.Image | None]:
    """Returns a deep grey image in eight bits, and its transparency if it has any."""
    stored = stored_values(image, raw_mode)
    assert stored is not None
    low, high = value_range or _usual_range(stored)
    if stored.values.dtype.itemsize == 2:
        grey = _scale(np.arange(65536), low, high)[stored.values]
    else:
        grey = _scale(stored.values, low, high)
    if _white_is_zero(image):
        grey = 255 - grey
    alpha = None
    colour = image.info.get("transparency")
    if isinstance(colour, int):
        alpha = Image.fromarray(np.where(stored.values == colour, 0, 255).astype(np.uint8))
    return Image.fromarray(grey), alpha


def _usual_range(stored: StoredValues) -> tuple[float, float]:
    """Returns the values of black and white where no range was found for the whole set."""
    if stored.white is not None:
        return 0, stored.white
    low, high = float(stored.values.min()), float(stored.values.max())
    if stored.values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0, 1
    kind = "floats" if stored.values.dtype.kind == "f" else "integers"
    raise BadImage(
        f"{kind} from {low:g} to {high:g}, and nothing says which of them is white; "
        "`value_range=(LOW, HIGH)` does"
    )


def _scale(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    levels = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def _white_is_zero(image: Image.Image) -> bool:
    """Tells whether a TIFF counts from white, which Pillow inverts up to eight bits only."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0
