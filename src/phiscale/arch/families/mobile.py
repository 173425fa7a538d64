"""For phones and accelerators: EfficientNet-Lite and -EdgeTPU, MnasNet, MobileNetV1 and V2."""

from __future__ import annotations

from functools import partial

from phiscale.arch.families import efficientnet
from phiscale.arch.families.member import Figure, Member, as_tensorflow, scaled_member
from phiscale.arch.families.paper import TABLE_3
from phiscale.arch.spec import Spec, Stage, lite

_mbconv = partial(Stage, "mbconv")
_squeezed = partial(Stage, "mbconv", se_ratio=0.25)
_fused = partial(Stage, "fused_mbconv")
_separable = partial(Stage, "separable")

# Searched for Google's Edge TPU; its first block expands to 4 * 24 although the stem gives 32.
EDGE_S = Spec(
    stem_channels=32,
    head_channels=1280,
    resolution=224,
    activation="relu",
    stages=(
        #       repeats kernel stride expand channels
        _fused(1, 3, 1, 4, 24, expand_from=24, skip=False),
        _fused(2, 3, 2, 8, 32),
        _fused(4, 3, 2, 8, 48),
        _mbconv(5, 5, 2, 8, 96),
        _mbconv(4, 5, 1, 8, 144),
        _mbconv(2, 5, 2, 8, 192),
    ),
)
MNASNET_B1 = Spec(  # arXiv:1807.11626, without squeeze-and-excite
    stem_channels=32,
    head_channels=1280,
    resolution=224,
    activation="relu",
    stages=(
        _mbconv(1, 3, 1, 1, 16),
        _mbconv(3, 3, 2, 3, 24),
        _mbconv(3, 5, 2, 3, 40),
        _mbconv(3, 5, 2, 6, 80),
        _mbconv(2, 3, 1, 6, 96),
        _mbconv(4, 5, 2, 6, 192),
        _mbconv(1, 3, 1, 6, 320),
    ),
)
MNASNET_A1 = Spec(  # arXiv:1807.11626, Figure 7
    stem_channels=32,
    head_channels=1280,
    resolution=224,
    activation="relu",
    stages=(
        _mbconv(1, 3, 1, 1, 16),
        _mbconv(2, 3, 2, 6, 24),
        _squeezed(3, 5, 2, 3, 40),
        _mbconv(4, 3, 2, 6, 80),
        _squeezed(2, 3, 1, 6, 112),
        _squeezed(3, 5, 2, 6, 160),
        _mbconv(1, 3, 1, 6, 320),
    ),
)
MOBILENET_V1 = Spec(  # arXiv:1704.04861, Table 1
    stem_channels=32,
    head_channels=0,
    resolution=224,
    activation="relu6",
    stages=(
        _separable(1, 3, 1, 1, 64),
        _separable(2, 3, 2, 1, 128),
        _separable(2, 3, 2, 1, 256),
        _separable(6, 3, 2, 1, 512),
        _separable(2, 3, 2, 1, 1024),
    ),
)
MOBILENET_V2 = Spec(  # arXiv:1801.04381, Table 2
    stem_channels=32,
    head_channels=1280,
    resolution=224,
    activation="relu6",
    stages=(
        _mbconv(1, 3, 1, 1, 16),
        _mbconv(2, 3, 2, 6, 24),
        _mbconv(3, 3, 2, 6, 32),
        _mbconv(4, 3, 2, 6, 64),
        _mbconv(3, 3, 1, 6, 96),
        _mbconv(3, 3, 2, 6, 160),
        _mbconv(1, 3, 1, 6, 320),
    ),
)

_LITE_README = "tensorflow/tpu, models/official/efficientnet/lite/README.md"
_EDGE_README = "tensorflow/tpu, models/official/efficientnet/edgetpu/README.md"
_MNASNET_README = "tensorflow/tpu, models/official/mnasnet/README.md"
_TORCHVISION = "torchvision 0.29, IMAGENET1K_V1"


def _lite_figures(float_top1: float, int8_top1: float) -> tuple[Figure, ...]:
    return (
        Figure(float_top1, None, _LITE_README, "fp32"),
        Figure(int8_top1, None, _LITE_README, "int8 after training"),
    )


def _edge_figures(float_top1: float, int8_top1: float) -> tuple[Figure, ...]:
    return (
        Figure(float_top1, None, _EDGE_README, "float"),
        Figure(int8_top1, None, _EDGE_README, "quantised"),
    )


def _from_paper(member: str) -> Figure:
    """Returns the accuracy of the baseline that Table 3 scales."""
    arm = next(arm for arm in TABLE_3 if arm.base == member and arm.name == "baseline")
    return Figure(arm.top1, None, arm.source, "as the paper quotes it")


def _literal(
    name: str,
    spec: Spec,
    family: str,
    *published: Figure,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> Member:
    return Member(
        name=name,
        spec=spec,
        family=family,
        target="mobile/edge",
        base=name,
        train_resolution=224,
        dropout=dropout,
        drop_path=drop_path,
        published=published,
    )


_LITE0 = _literal(
    "efficientnet_lite0",
    lite(efficientnet.B0),
    "efficientnet_lite",
    *_lite_figures(0.751, 0.744),
    drop_path=0.2,
)
_ES = _literal(
    "efficientnet_es", EDGE_S, "efficientnet_edgetpu", *_edge_figures(0.7723, 0.770), drop_path=0.2
)

_LITE: tuple[tuple[str, float, float, int, float, float, float], ...] = (
    # size width depth pixels dropout, top-1 fp32 and int8; timm runs lite3 at 300, lite4 at 380
    ("lite1", 1.0, 1.1, 240, 0.2, 0.767, 0.759),
    ("lite2", 1.1, 1.2, 260, 0.3, 0.776, 0.770),
    ("lite3", 1.2, 1.4, 280, 0.3, 0.798, 0.790),
    ("lite4", 1.4, 1.8, 300, 0.3, 0.815, 0.802),
)

_TENSORFLOWS: tuple[Member, ...] = (
    _LITE0,
    *(
        scaled_member(_LITE0, f"efficientnet_{size}", width=width, depth=depth, pixels=pixels,
               dropout=dropout, target="mobile/edge", published=_lite_figures(fp32, int8))
        for size, width, depth, pixels, dropout, fp32, int8 in _LITE
    ),
    _ES,
    scaled_member(_ES, "efficientnet_em", width=1.0, depth=1.1, pixels=240, dropout=0.2,
           target="mobile/edge", published=_edge_figures(0.7869, 0.786)),
    scaled_member(_ES, "efficientnet_el", width=1.2, depth=1.4, pixels=300, dropout=0.3,
           target="mobile/edge", published=_edge_figures(0.8062, 0.802)),
)  # fmt: skip

MOBILE: tuple[Member, ...] = (
    *_TENSORFLOWS,
    # 0.01 is TensorFlow's 0.99, with which these were trained; timm's tf_ builds keep torch's 0.1.
    *(as_tensorflow(member, norm_momentum=0.01) for member in _TENSORFLOWS),
    _literal("semnasnet_100", MNASNET_A1, "mnasnet",
             Figure(0.752, 0.925, _MNASNET_README, "224 px")),
    _literal("mnasnet_100", MNASNET_B1, "mnasnet",
             Figure(0.73456, 0.91510, _TORCHVISION, "224 px")),
    _literal("mobilenetv1_100", MOBILENET_V1, "mobilenetv1",
             _from_paper("mobilenetv1_100"), dropout=0.001),
    _literal("mobilenetv2_100", MOBILENET_V2, "mobilenetv2",
             _from_paper("mobilenetv2_100"),
             Figure(0.71878, 0.90286, _TORCHVISION, "224 px")),
)  # fmt: skip
