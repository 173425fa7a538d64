"""RegNet X and Y (arXiv:2003.13678): widths that grow linearly with depth, quantised."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log

from phiscale.arch.families.member import Figure, Member, Target
from phiscale.arch.rounding import round_channels
from phiscale.arch.spec import Spec, Stage


def regnet_stages(
    w0: int,
    wa: float,
    wm: float,
    depth: int,
    group_width: int,
    *,
    se_ratio: float = 0.0,
    at_least_90: bool = False,
) -> tuple[Stage, ...]:
    """Returns the stages of a RegNet (arXiv:2003.13678, equations 2 to 4).

    Block j should have w0 + wa * j channels; it gets the nearest w0 * wm^k, to a multiple of 8.
    Equal blocks make a stage. Its width becomes a multiple of the group width: the nearest in
    pycls and timm (ties to the even one), never below 90 % in torchvision.
    """

    def fit(width: int, group: int) -> int:
        return round_channels(width, group) if at_least_90 else round(width / group) * group

    powers = (round(log(1 + wa * block / w0) / log(wm)) for block in range(depth))
    widths = Counter(round(w0 * wm**power / 8) * 8 for power in powers)
    stages: list[Stage] = []
    for width, repeats in sorted(widths.items()):
        group = min(group_width, width)
        stages.append(
            Stage(
                block="bottleneck",
                repeats=repeats,
                kernel=3,
                stride=2,
                expand=1,
                channels=fit(width, group),
                se_ratio=se_ratio,
                group_width=group,
            )
        )
    return tuple(stages)


_Row = tuple[str, int, float, float, int, int, Target, float | None]

_X: tuple[_Row, ...] = (
    # MMACs/100  w0   wa     wm depth group, target, top-1
    ("002", 24, 36.44, 2.49, 13, 8, "mobile/edge", 0.689),
    ("004", 24, 24.48, 2.54, 22, 16, "mobile/edge", 0.727),
    ("006", 48, 36.97, 2.24, 16, 24, "mobile/edge", 0.741),
    ("008", 56, 35.73, 2.28, 16, 16, "mobile/edge", 0.752),
    ("016", 80, 34.01, 2.25, 18, 24, "server", 0.770),
    ("032", 88, 26.31, 2.25, 25, 48, "server", 0.783),
    ("040", 96, 38.65, 2.43, 23, 40, "server", 0.786),
    ("064", 184, 60.83, 2.07, 17, 56, "server", 0.792),
    ("080", 80, 49.56, 2.88, 23, 120, "server", 0.793),
    ("120", 168, 73.36, 2.37, 19, 112, "server", 0.797),
    ("160", 216, 55.59, 2.10, 22, 128, "high accuracy", 0.800),
    ("320", 320, 69.86, 2.00, 23, 168, "high accuracy", 0.805),
)
_Y: tuple[_Row, ...] = (
    ("002", 24, 36.44, 2.49, 13, 8, "mobile/edge", 0.704),
    ("004", 48, 27.89, 2.09, 16, 8, "mobile/edge", 0.741),
    ("006", 48, 32.54, 2.32, 15, 16, "mobile/edge", 0.755),
    ("008", 56, 38.84, 2.40, 14, 16, "mobile/edge", 0.763),
    ("016", 48, 20.71, 2.65, 27, 24, "server", 0.780),
    ("032", 80, 42.63, 2.66, 21, 24, "server", 0.790),
    ("040", 96, 31.41, 2.24, 22, 64, "server", 0.794),
    ("064", 112, 33.22, 2.27, 25, 72, "server", 0.799),
    ("080", 192, 76.82, 2.19, 17, 56, "server", 0.799),
    ("120", 168, 73.36, 2.37, 19, 112, "server", 0.803),
    ("160", 200, 106.23, 2.48, 18, 112, "high accuracy", 0.804),
    ("320", 232, 115.89, 2.53, 20, 232, "high accuracy", 0.810),
    ("1280", 456, 160.83, 2.52, 27, 264, "high accuracy", None),
)
_PYCLS = "facebookresearch/pycls, MODEL_ZOO.md"
_TORCHVISION = "torchvision 0.29, IMAGENET1K_V1"


def _member(letter: str, row: _Row, at_least_90: bool = False) -> Member:
    size, w0, wa, wm, depth, group, target, top1 = row
    name = f"regnet{letter}_{size}"
    stages = regnet_stages(
        w0, wa, wm, depth, group, at_least_90=at_least_90, se_ratio=0.25 if letter == "y" else 0.0
    )
    spec = Spec(stem_channels=32, head_channels=0, resolution=224, activation="relu", stages=stages)
    figure = (
        Figure(top1, None, _PYCLS, "100 epochs, mean of 5 runs")
        if top1 is not None
        else Figure(0.86068, 0.97844, "torchvision 0.29, IMAGENET1K_SWAG_LINEAR_V1",
                    "trunk pretrained on Instagram's hashtags and frozen")
    )  # fmt: skip
    return Member(
        name=name,
        spec=spec,
        family=f"regnet{letter}",
        target=target,
        base=name,
        train_resolution=224,
        dropout=0.0,
        drop_path=0.0,
        published=(figure,),
    )


# Three sizes have widths that the two roundings bring to different multiples; timm's names.
_ROUNDED_UP: tuple[tuple[str, _Row, float, float], ...] = (
    ("x", _X[1], 0.72834, 0.90950),
    ("y", _Y[3], 0.76420, 0.93136),
    ("y", _Y[8], 0.80032, 0.95048),
)


def _rounded_up(letter: str, row: _Row, top1: float, top5: float) -> Member:
    member = _member(letter, row, at_least_90=True)
    name = f"{member.name}_tv"
    return replace(
        member, name=name, base=name, published=(Figure(top1, top5, _TORCHVISION, "224 px"),)
    )


REGNET: tuple[Member, ...] = (
    *(_member("x", row) for row in _X),
    *(_member("y", row) for row in _Y),
    *(_rounded_up(*each) for each in _ROUNDED_UP),
)
