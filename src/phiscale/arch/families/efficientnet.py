"""EfficientNet B0 to B8 and L2 (arXiv:1905.11946): a searched network and its scalings."""

from __future__ import annotations

from functools import partial

from phiscale.arch.families.member import Figure, Member, Target, as_tensorflow, scaled_member
from phiscale.arch.families.paper import TABLE_2, V1, V5
from phiscale.arch.spec import Spec, Stage

_mbconv = partial(Stage, "mbconv", se_ratio=0.25)

B0 = Spec(
    stem_channels=32,
    head_channels=1280,
    resolution=224,
    stages=(  # Table 1; its column of resolutions is each stage's input
        #       repeats kernel stride expand channels
        _mbconv(1, 3, 1, 1, 16),
        _mbconv(2, 3, 2, 6, 24),
        _mbconv(2, 5, 2, 6, 40),
        _mbconv(3, 3, 2, 6, 80),
        _mbconv(3, 5, 1, 6, 112),
        _mbconv(4, 5, 2, 6, 192),
        _mbconv(1, 3, 1, 6, 320),
    ),
)

README = "tensorflow/tpu, models/official/efficientnet/README.md"
TIMM = "timm, results-imagenet.csv"

# Top-1 of the checkpoints, by the recipe that made them.
_PLAIN = {"b0": 0.767, "b1": 0.787, "b2": 0.798, "b3": 0.811, "b4": 0.825, "b5": 0.831}
_ADVPROP = {
    "b0": 0.776, "b1": 0.796, "b2": 0.805, "b3": 0.819, "b4": 0.833, "b5": 0.843, "b6": 0.848,
    "b7": 0.852, "b8": 0.855,
}  # fmt: skip
_NOISY_STUDENT = {
    "b0": 0.788, "b1": 0.815, "b2": 0.824, "b3": 0.841, "b4": 0.853, "b5": 0.861, "b6": 0.864,
    "b7": 0.869, "l2": 0.884,
}  # fmt: skip
_MEASURED_AGAIN = {
    "b0": 0.7688, "b1": 0.7884, "b2": 0.8007, "b3": 0.8165, "b4": 0.8304, "b5": 0.8370,
    "b6": 0.8412, "b7": 0.8442,
}  # fmt: skip


def _figures(size: str) -> tuple[Figure, ...]:
    figures: list[Figure] = []
    for row in TABLE_2:
        if row.member == f"efficientnet_{size}":
            figures.append(Figure(*row.v5, f"{V5}, Table 2", "AutoAugment"))
            figures.append(Figure(*row.v1, f"{V1}, Table 2", "the first version's recipe"))
    for top1, source, condition in (
        (_PLAIN, README, "no AutoAugment"),
        (_ADVPROP, README, "AdvProp"),
        (_NOISY_STUDENT, README, "NoisyStudent, 300M more images"),
        (_MEASURED_AGAIN, TIMM, "the AutoAugment weights, measured again"),
    ):
        if size in top1:
            figures.append(Figure(top1[size], None, source, condition))
    if size == "l2":
        figures.append(Figure(0.882, None, README, "NoisyStudent, 300M more images, at 475 px"))
    return tuple(figures)


_B0 = Member(
    name="efficientnet_b0", spec=B0, family="efficientnet", target="mobile/edge",
    base="efficientnet_b0", train_resolution=224, dropout=0.2, drop_path=0.2,
    published=_figures("b0"),
)  # fmt: skip

_SCALED: tuple[tuple[str, float, float, int, float, Target], ...] = (
    # size width depth pixels dropout
    ("b1", 1.0, 1.1, 240, 0.2, "mobile/edge"),
    ("b2", 1.1, 1.2, 260, 0.3, "mobile/edge"),
    ("b3", 1.2, 1.4, 300, 0.3, "server"),
    ("b4", 1.4, 1.8, 380, 0.4, "server"),
    ("b5", 1.6, 2.2, 456, 0.4, "server"),
    ("b6", 1.8, 2.6, 528, 0.5, "high accuracy"),
    ("b7", 2.0, 3.1, 600, 0.5, "high accuracy"),
    ("b8", 2.2, 3.6, 672, 0.5, "high accuracy"),
    ("l2", 4.3, 5.3, 800, 0.5, "high accuracy"),
)

_SYMMETRIC: tuple[Member, ...] = (
    _B0,
    *(
        scaled_member(_B0, f"efficientnet_{size}", width=width, depth=depth, pixels=pixels,
               dropout=dropout, target=target, published=_figures(size))
        for size, width, depth, pixels, dropout, target in _SCALED
    ),
)  # fmt: skip

# 0.01 is TensorFlow's 0.99, with which these were trained; timm's tf_ builds keep torch's 0.1.
EFFICIENTNET: tuple[Member, ...] = (
    *_SYMMETRIC,
    *(as_tensorflow(member, norm_momentum=0.01) for member in _SYMMETRIC),
)
