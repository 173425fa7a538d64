"""Any of Pillow's modes to RGB of eight bits: scaled, never clipped; transparency on a background.

Depths above eight bits are scaled by their whole range: 16-bit files by 65,535, 12-bit TIFF by
4,095. Floats and 32-bit integers do not say their range; it is then the smallest of 1 (floats
only), 255 and 65,535 that holds every value, else the image's own minimum to maximum.
Colour profiles are not applied, neither here nor in training, evaluation or serving.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from phiscale.errors import BadImage

WHITE = (255, 255, 255)
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_NO_ALPHA = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")


def to_rgb(
    image: Image.Image, background: tuple[int, int, int] = WHITE, *, raw_mode: str = ""
) -> Image.Image:
    """Returns a loaded image in RGB. BadImage: its mode has no way to RGB.

    `raw_mode` is the depth in the file, where Pillow's mode does not tell it ("L;4", "I;12").
    """
    if image.mode in _DEEP:
        grey, alpha = _eight_bits(image, raw_mode)
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


def _eight_bits(image: Image.Image, raw_mode: str) -> tuple[Image.Image, Image.Image | None]:
    """Returns a deep grey image in eight bits, and its transparency if it has any."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        top = 4095 if raw_mode.startswith("I;12") else 65535
        table = np.minimum((np.arange(65536) * 255 + top // 2) // top, 255).astype(np.uint8)
        grey = table[values]
    else:
        grey = _scale(values, *_value_range(image, values))
    if _white_is_zero(image):
        grey = 255 - grey
    alpha = None
    colour = image.info.get("transparency")
    if isinstance(colour, int):
        alpha = Image.fromarray(np.where(values == colour, 0, 255).astype(np.uint8))
    return Image.fromarray(grey), alpha


def _value_range(image: Image.Image, values: np.ndarray) -> tuple[float, float]:
    """Returns the values that black and white stand for."""
    if not np.isfinite(values).all():
        raise BadImage("has values that are not numbers")
    if image.mode == "I" and image.format == "PPM":
        return 0, 65535  # Pillow has already scaled them to this
    low, high = float(values.min()), float(values.max())
    for top in (1, 255, 65535) if image.mode == "F" else (255, 65535):
        if low >= 0 and high <= top:
            return 0, top
    return low, high


def _scale(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((values.astype(np.float64) - low) * scale).astype(np.uint8)


def _white_is_zero(image: Image.Image) -> bool:
    """Tells whether a TIFF counts from white, which Pillow inverts up to eight bits only."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0
