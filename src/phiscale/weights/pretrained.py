"""The table of known pretrained weights, and what their images go through. No torch here."""

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
    """Weights that somebody published for a member."""

    source: str
    """What `pretrained` takes: hf-hub:NAME or torchvision:NAME."""
    member: str
    tag: str
    pixels: int
    """A side, in evaluation."""
    crop: float
    train_pixels: int
    train_crop: float
    """What timm's configuration of a network says unless the test size is asked for."""
    squash: bool
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: int
    top1: float | None
    """On ImageNet's validation images, as its library says."""
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
    """All of them; of one member, its library's default comes first."""
    rows = read_json(TABLE)["rows"]
    return tuple(
        PretrainedWeights(**{**row, "mean": tuple(row["mean"]), "std": tuple(row["std"])})
        for row in rows
    )


def weights_of_member(name: str) -> tuple[PretrainedWeights, ...]:
    """Those of a member, or of `member.tag`, where the tag may be a pattern."""
    member, _, tag = name.partition(".")
    return tuple(
        p for p in pretrained_weights() if p.member == member and fnmatchcase(p.tag, tag or "*")
    )


def default_weights() -> tuple[PretrainedWeights, ...]:
    """Of each EfficientNet the weights that its library takes by default: ImageNet's classes, and a
    family whose errors the laws know."""
    first: dict[str, PretrainedWeights] = {}
    for each in pretrained_weights():
        if "efficientnet" in each.member and each.classes == 1000:
            first.setdefault(each.member, each)
    return tuple(first.values())


def original_preprocessing(member: str) -> Preprocessing:
    """How the member's first authors prepare images (tensorflow/tpu, google/automl): what is
    taken for a file that says nothing."""
    from phiscale.data.preprocessing import Preprocessing, triple

    spec = MEMBERS[member].spec
    name, pixels = member.removeprefix("tf_"), spec.resolution
    if name.startswith(("efficientnet_lite", "efficientnet_e")):
        return Preprocessing(size=pixels, mean=triple([127 / 255] * 3), std=triple([128 / 255] * 3))
    if name in ("efficientnetv2_s", "efficientnetv2_m", "efficientnetv2_l", "efficientnetv2_xl"):
        grey = triple([128 / 255] * 3)
        return Preprocessing(size=pixels, crop=1.0, mean=grey, std=grey, squash=pixels >= 320)
    return Preprocessing(size=pixels)
