"""AutoAugment and RandAugment: which operations, how likely, how strong. The operations themselves
are Pillow's, as torchvision's are on its images.

`v0` and `randaugment` follow tensorflow/tpu, models/official/efficientnet/autoaugment.py, the code
behind the published EfficientNets, with two properties that its papers do not tell: its contrast
blends with the number of pixels over 256 instead of their mean, and the probability that its
RandAugment draws for an operation is not used. `paper` is the ImageNet policy as the paper of
AutoAugment prints it (Cubuk et al., arXiv:1805.09501, table 9).

Lengths in pixels are as printed from 224 px a side on; below, where a hundred pixels would be all
of an image, ours shrink along with it, which tensorflow/tpu's do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

GREY = (128, 128, 128)  # fills what moves in or is cut out
NUMBERS = 12  # random ones that a policy may use
NATIVE = 224  # pixels a side for which lengths are given; on smaller images they shrink along

Op = tuple[str, float, float]  # name, probability, level
Levels = Callable[[str, float, float, int], float]


@dataclass(frozen=True)
class Lengths:
    """Pixels at level 10."""

    cutout: int
    translate: int


AUTOAUGMENT_LENGTHS = Lengths(cutout=100, translate=250)
RANDAUGMENT_LENGTHS = Lengths(cutout=40, translate=100)

RANDAUGMENT = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
    "SolarizeAdd",
)

V0: tuple[tuple[Op, Op], ...] = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)

PAPER: tuple[tuple[Op, Op], ...] = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


def autoaugment_v0(image: Image.Image, uniforms: Sequence[float]) -> Image.Image:
    """Applies one of the 25 pairs of tensorflow/tpu's policy `v0` to an RGB image.

    `uniforms`: `NUMBERS` numbers in [0, 1), which decide all that is random.
    """
    return _pair(image, V0, tf_argument(AUTOAUGMENT_LENGTHS), tf_contrast, uniforms)


def autoaugment_paper(image: Image.Image, uniforms: Sequence[float]) -> Image.Image:
    """Applies one of the 25 pairs of the paper (arXiv:1805.09501, table 9) to an RGB image.

    Levels 0 to 9 span the ranges of its table 6. `uniforms`: `NUMBERS` numbers in [0, 1).
    """
    return _pair(image, PAPER, paper_argument, pillow_contrast, uniforms)


def randaugment(
    image: Image.Image, layers: int, magnitude: float, uniforms: Sequence[float]
) -> Image.Image:
    """Applies `layers` operations of level `magnitude` to an RGB image, each any of the 16.

    Levels above 10 are used (EfficientNet-B7: 28). `uniforms`: `NUMBERS` numbers in [0, 1).
    Source: Cubuk et al., arXiv:1909.13719.
    """
    argument = tf_argument(RANDAUGMENT_LENGTHS)
    for layer, name in enumerate(pick_operations(layers, uniforms)):
        sign, *position = uniforms[4 * layer + 1 : 4 * layer + 4]
        value = argument(name, magnitude, 1 if sign < 0.5 else -1, image.width)
        image = apply_operation(image, name, value, position, contrast=tf_contrast)
    return image


def pick_operations(layers: int, uniforms: Sequence[float]) -> list[str]:
    """Returns the names of RandAugment's operations: each of the 16 is equally likely."""
    return [RANDAUGMENT[int(uniforms[4 * layer] * len(RANDAUGMENT))] for layer in range(layers)]


def _pair(
    image: Image.Image,
    policy: Sequence[tuple[Op, Op]],
    argument: Levels,
    contrast: Callable[[Image.Image, float], Image.Image],
    uniforms: Sequence[float],
) -> Image.Image:
    for number, (name, probability, level) in enumerate(policy[int(uniforms[0] * len(policy))]):
        chance, sign, *position = uniforms[1 + 4 * number : 5 + 4 * number]
        if chance < probability:
            value = argument(name, level, 1 if sign < 0.5 else -1, image.width)
            image = apply_operation(image, name, value, position, contrast=contrast)
    return image


def tf_argument(lengths: Lengths) -> Levels:
    """Returns what a level means in tensorflow/tpu, as a function.

    Its values are degrees, bits, thresholds, factors, slopes or pixels.
    """

    def argument(name: str, level: float, sign: float, side: int) -> float:
        share = level / 10
        shrunk = min(1.0, side / NATIVE)
        match name:
            case "Rotate":
                return sign * 30 * share
            case "Posterize":
                return int(4 * share)
            case "Solarize":
                return int(256 * share)
            case "SolarizeAdd":
                return int(110 * share)
            case "Color" | "Contrast" | "Brightness" | "Sharpness":
                return 0.1 + 1.8 * share
            case "ShearX" | "ShearY":
                return sign * 0.3 * share
            case "TranslateX" | "TranslateY":
                return sign * lengths.translate * shrunk * share
            case "Cutout":
                return int(lengths.cutout * shrunk * share)
            case _:
                return 0.0

    return argument


def paper_argument(name: str, level: float, sign: float, side: int) -> float:
    """Returns what a level of 0 to 9 means in AutoAugment's paper (arXiv:1805.09501, table 6)."""
    share = level / 9
    match name:
        case "Rotate":
            return sign * 30 * share
        case "Posterize":
            return 8 - round(4 * share)
        case "Solarize":
            return 255 * (1 - share)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return 1 + sign * 0.9 * share
        case "ShearX" | "ShearY":
            return sign * 0.3 * share
        case "TranslateX" | "TranslateY":
            return sign * 150 / 331 * side * share
        case _:
            return 0.0


def apply_operation(
    image: Image.Image,
    name: str,
    value: float,
    position: Sequence[float] = (0.5, 0.5),
    *,
    contrast: Callable[[Image.Image, float], Image.Image],
) -> Image.Image:
    """Applies one operation to an RGB image.

    `position`: where it cuts out, as shares of the height and the width.
    ValueError: there is no operation `name`.
    """
    match name:
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Rotate":
            return image.rotate(value, Image.Resampling.NEAREST, fillcolor=GREY)
        case "Posterize":
            keep = 0xFF << max(0, 8 - int(value)) & 0xFF  # no bit at level 2, which Pillow refuses
            return image.point([i & keep for i in range(256)] * 3)
        case "Solarize":
            return ImageOps.solarize(image, int(value))
        case "SolarizeAdd":
            table = [min(255, i + int(value)) if i < 128 else i for i in range(256)]
            return image.point(table * 3)
        case "Color":
            return ImageEnhance.Color(image).enhance(value)
        case "Contrast":
            return contrast(image, value)
        case "Brightness":
            return ImageEnhance.Brightness(image).enhance(value)
        case "Sharpness":
            return ImageEnhance.Sharpness(image).enhance(value)
        case "ShearX":
            return _transform(image, (1, value, -value / 2, 0, 1, 0))
        case "ShearY":
            return _transform(image, (1, 0, 0, value, 1, -value / 2))
        case "TranslateX":
            return _transform(image, (1, 0, value, 0, 1, 0))
        case "TranslateY":
            return _transform(image, (1, 0, 0, 0, 1, value))
        case "Cutout":
            return _cut_out(image, int(value), *position)
    raise ValueError(f"{name} is no operation")


def pillow_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Changes the contrast around the mean of the image."""
    return ImageEnhance.Contrast(image).enhance(factor)


def tf_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Changes the contrast around the mean of the histogram: 196 for any 224 x 224 pixels."""
    level = min(255, image.width * image.height // 256)
    return Image.blend(Image.new("RGB", image.size, (level,) * 3), image, factor)


def _transform(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Moves pixels: `matrix` takes one of the result to one of the image.

    Both are counted from corner pixels' centres; the terms -slope / 2 above are there since Pillow
    counts from the corner.
    """
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GREY
    )


def _cut_out(image: Image.Image, half: int, down: float, across: float) -> Image.Image:
    """Covers a square of twice `half` pixels a side, its centre anywhere in the image."""
    y, x = int(down * image.height), int(across * image.width)
    cut = image.copy()
    cut.paste(
        GREY,
        (
            max(0, x - half),
            max(0, y - half),
            min(image.width, x + half),
            min(image.height, y + half),
        ),
    )
    return cut
