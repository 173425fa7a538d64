"""phiscale's network for images of at most 64 pixels a side."""

from __future__ import annotations

from functools import partial

from phiscale.arch.families.member import Member
from phiscale.arch.spec import Spec, Stage

SMALL_PIXELS = 64  # images up to this size are not cropped, and scalings of `small` compete

_mbconv = partial(Stage, "mbconv", se_ratio=0.25)

# EfficientNet's stem and stages halve an image five times: 32 pixels become one. This one keeps 4.
# Two blocks a stage let depth grow in steps of a half, a divisor of 4 lets width grow finely.
SMALL_SPEC = Spec(
    stem_channels=8,
    stem_stride=1,
    head_channels=128,
    resolution=32,
    classes=10,
    channel_divisor=4,
    stages=(
        #       repeats kernel stride expand channels
        _mbconv(2, 3, 1, 1, 8),
        _mbconv(2, 3, 2, 4, 12),
        _mbconv(2, 3, 2, 4, 20),
        _mbconv(2, 3, 1, 4, 28),
        _mbconv(2, 3, 2, 4, 48),
    ),
)

SMALL: tuple[Member, ...] = (
    Member(name="small", spec=SMALL_SPEC, family="small", target="mobile/edge", base="small",
           train_resolution=32, dropout=0.0, drop_path=0.0),
)  # fmt: skip
