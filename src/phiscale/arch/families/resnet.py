"""ResNet (arXiv:1512.03385) and Wide ResNet (arXiv:1605.07146)."""

from __future__ import annotations

from functools import partial

from phiscale.arch.families.member import Figure, Member
from phiscale.arch.families.paper import RIVALS
from phiscale.arch.spec import Spec, Stage


def _spec(stages: tuple[Stage, ...]) -> Spec:
    return Spec(
        stem_channels=64,
        stem_kernel=7,
        stem_pool=True,
        head_channels=0,
        resolution=224,
        activation="relu",
        stages=stages,
    )


def _basic(*repeats: int) -> Spec:
    basic = partial(Stage, "basic", kernel=3, expand=1)
    return _spec(
        tuple(
            basic(repeats=count, stride=1 if number == 0 else 2, channels=64 * 2**number)
            for number, count in enumerate(repeats)
        )
    )


def _bottleneck(*repeats: int, expand: float = 0.25) -> Spec:
    """The stride stands in the 3 x 3, as torchvision and timm have it. Wide ones expand more."""
    bottleneck = partial(Stage, "bottleneck", kernel=3, expand=expand)
    return _spec(
        tuple(
            bottleneck(repeats=count, stride=1 if number == 0 else 2, channels=256 * 2**number)
            for number, count in enumerate(repeats)
        )
    )


def _member(name: str, family: str, spec: Spec, top1: float, top5: float) -> Member:
    paper = tuple(
        Figure(rival.top1, rival.top5, rival.source, "as the paper quotes it")
        for rival in RIVALS
        if rival.member == name
    )
    torchvision = Figure(top1, top5, "torchvision 0.29, IMAGENET1K_V1", "224 px")
    return Member(
        name=name,
        spec=spec,
        family=family,
        target="server",
        base=name,
        train_resolution=224,
        dropout=0.0,
        drop_path=0.0,
        published=(torchvision, *paper),
    )


RESNET: tuple[Member, ...] = (
    _member("resnet18", "resnet", _basic(2, 2, 2, 2), 0.69758, 0.89078),
    _member("resnet34", "resnet", _basic(3, 4, 6, 3), 0.73314, 0.91420),
    _member("resnet50", "resnet", _bottleneck(3, 4, 6, 3), 0.76130, 0.92862),
    _member("resnet101", "resnet", _bottleneck(3, 4, 23, 3), 0.77374, 0.93546),
    _member("resnet152", "resnet", _bottleneck(3, 8, 36, 3), 0.78312, 0.94046),
    _member("wide_resnet50_2", "wide_resnet", _bottleneck(3, 4, 6, 3, expand=0.5),
            0.78468, 0.94086),
    _member("wide_resnet101_2", "wide_resnet", _bottleneck(3, 4, 23, 3, expand=0.5),
            0.78848, 0.94284),
)  # fmt: skip
