"""EfficientNetV2 (arXiv:2104.00298): fused blocks early, smaller images to train on."""

from __future__ import annotations

from functools import partial

from phiscale.arch.families.member import Figure, Member, Target, as_tensorflow, scaled_member
from phiscale.arch.spec import Spec, Stage

_fused = partial(Stage, "fused_mbconv")
_mbconv = partial(Stage, "mbconv", se_ratio=0.25)
_spec = partial(Spec, head_channels=1280, channel_rounding="nearest")

B0 = _spec(
    stem_channels=32,
    resolution=224,
    stages=(
        #       repeats kernel stride expand channels
        _fused(1, 3, 1, 1, 16),
        _fused(2, 3, 2, 4, 32),
        _fused(2, 3, 2, 4, 48),
        _mbconv(3, 3, 2, 4, 96),
        _mbconv(5, 3, 1, 6, 112),
        _mbconv(8, 3, 2, 6, 192),
    ),
)
S = _spec(
    stem_channels=24,
    resolution=384,
    stages=(
        _fused(2, 3, 1, 1, 24),
        _fused(4, 3, 2, 4, 48),
        _fused(4, 3, 2, 4, 64),
        _mbconv(6, 3, 2, 4, 128),
        _mbconv(9, 3, 1, 6, 160),
        _mbconv(15, 3, 2, 6, 256),
    ),
)
M = _spec(
    stem_channels=24,
    resolution=480,
    stages=(
        _fused(3, 3, 1, 1, 24),
        _fused(5, 3, 2, 4, 48),
        _fused(5, 3, 2, 4, 80),
        _mbconv(7, 3, 2, 4, 160),
        _mbconv(14, 3, 1, 6, 176),
        _mbconv(18, 3, 2, 6, 304),
        _mbconv(5, 3, 1, 6, 512),
    ),
)
L = _spec(
    stem_channels=32,
    resolution=480,
    stages=(
        _fused(4, 3, 1, 1, 32),
        _fused(7, 3, 2, 4, 64),
        _fused(7, 3, 2, 4, 96),
        _mbconv(10, 3, 2, 4, 192),
        _mbconv(19, 3, 1, 6, 224),
        _mbconv(25, 3, 2, 6, 384),
        _mbconv(7, 3, 1, 6, 640),
    ),
)
XL = _spec(
    stem_channels=32,
    resolution=512,
    stages=(
        _fused(4, 3, 1, 1, 32),
        _fused(8, 3, 2, 4, 64),
        _fused(8, 3, 2, 4, 96),
        _mbconv(16, 3, 2, 4, 192),
        _mbconv(24, 3, 1, 6, 256),
        _mbconv(32, 3, 2, 6, 512),
        _mbconv(8, 3, 1, 6, 640),
    ),
)

README = "google/automl, efficientnetv2/README.md"
_1K = "ImageNet-1k alone"
_21K = "pretrained on ImageNet-21k"


def _literal(
    size: str, spec: Spec, train: int, dropout: float, target: Target, *published: Figure
) -> Member:
    name = f"efficientnetv2_{size}"
    return Member(
        name=name,
        spec=spec,
        family="efficientnetv2",
        target=target,
        base=name,
        train_resolution=train,
        dropout=dropout,
        drop_path=0.2,
        published=published,
    )


_B0 = _literal("b0", B0, 192, 0.2, "mobile/edge", Figure(0.787, None, README, _1K))

_SCALED: tuple[tuple[str, float, float, int, int, float, Target, float], ...] = (
    # size width depth train evaluate dropout, top-1
    ("b1", 1.0, 1.1, 192, 240, 0.2, "mobile/edge", 0.798),
    ("b2", 1.1, 1.2, 208, 260, 0.3, "mobile/edge", 0.805),
    ("b3", 1.2, 1.4, 240, 300, 0.3, "server", 0.821),
)

_SYMMETRIC: tuple[Member, ...] = (
    _B0,
    *(
        scaled_member(_B0, f"efficientnetv2_{size}", width=width, depth=depth, pixels=pixels,
               train_pixels=train, dropout=dropout, target=target,
               published=(Figure(top1, None, README, _1K),))
        for size, width, depth, train, pixels, dropout, target, top1 in _SCALED
    ),
    _literal("s", S, 300, 0.2, "server",
             Figure(0.839, None, README, _1K), Figure(0.849, None, README, _21K)),
    _literal("m", M, 384, 0.3, "high accuracy",
             Figure(0.852, None, README, _1K), Figure(0.862, None, README, _21K)),
    _literal("l", L, 384, 0.4, "high accuracy",
             Figure(0.857, None, README, _1K), Figure(0.869, None, README, _21K)),
    _literal("xl", XL, 384, 0.4, "high accuracy", Figure(0.872, None, README, _21K)),
)  # fmt: skip

# 0.1 is TensorFlow's 0.9: google/automl's code, where the paper has 0.99.
EFFICIENTNET_V2: tuple[Member, ...] = (
    *_SYMMETRIC,
    *(as_tensorflow(member, norm_momentum=0.1) for member in _SYMMETRIC),
)
