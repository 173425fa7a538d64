"""The table of known pretrained weights, and the preprocessing of their images."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from phiscale.arch.families import MEMBERS
from phiscale.files import read_json

if TYPE_CHECKING:  # numpy is not needed to list what there is
    from phiscale.data.preprocessing import Interpolation, Preprocessing

TABLE = Path(__file__).parents[1] / "planning" / "tables" / "pretrained.json"


@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """Weights that somebody published for a model."""

    source: str
    """What `pretrained` takes: hf-hub:NAME or torchvision:NAME."""
    member: str
    tag: str
    pixels: int
    """The side of images in evaluation."""
    crop: float
    train_pixels: int
    train_crop: float
    """The crop at `train_pixels`, which timm's configuration has by default."""
    squash: bool
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: int
    top1: float | None
    """Accuracy on ImageNet's validation images, from 0 to 1, as the library states it."""
    licence: str

    @property
    def preprocessing(self) -> Preprocessing:
        from phiscale.data.preprocessing import Preprocessing

        return Preprocessing(
            size=self.pixels,
            crop=self.crop,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            squash=self.squash,
        )


@cache
def pretrained_weights() -> tuple[PretrainedWeights, ...]:
    """Returns all known weights; of one model, its library's default comes first."""
    rows = read_json(TABLE)["rows"]
    return tuple(
        PretrainedWeights(**{**row, "mean": tuple(row["mean"]), "std": tuple(row["std"])})
        for row in rows
    )


def weights_of_member(name: str) -> tuple[PretrainedWeights, ...]:
    """Returns the known weights of a model, or of `MODEL.TAG`; the tag may be a pattern."""
    member, _, tag = name.partition(".")
    return tuple(
        row
        for row in pretrained_weights()
        if row.member == member and fnmatchcase(row.tag, tag or "*")
    )


def default_weights() -> tuple[PretrainedWeights, ...]:
    """Returns the default ImageNet weights of each EfficientNet, the family that the laws fit."""
    first: dict[str, PretrainedWeights] = {}
    for row in pretrained_weights():
        if "efficientnet" in row.member and row.classes == 1000:
            first.setdefault(row.member, row)
    return tuple(first.values())


def original_preprocessing(member: str) -> Preprocessing:
    """Returns the preprocessing of a model's authors (tensorflow/tpu, google/automl).

    It is assumed for a file that does not state one.
    """
    from phiscale.data.preprocessing import Preprocessing, triple

    spec = MEMBERS[member].spec
    name, pixels = member.removeprefix("tf_"), spec.resolution
    if name.startswith(("efficientnet_lite", "efficientnet_e")):
        return Preprocessing(size=pixels, mean=triple([127 / 255] * 3), std=triple([128 / 255] * 3))
    if name in ("efficientnetv2_s", "efficientnetv2_m", "efficientnetv2_l", "efficientnetv2_xl"):
        grey = triple([128 / 255] * 3)
        return Preprocessing(size=pixels, crop=1.0, mean=grey, std=grey, squash=pixels >= 320)
    return Preprocessing(size=pixels)
