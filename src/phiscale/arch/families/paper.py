"""The published tables of EfficientNet's paper (arXiv:1905.11946), first and last version, as data.

Accuracies are fractions. Sizes are rounded as in the paper; `cost` counts exact ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from phiscale.arch.rounding import Scaling

V1 = "arXiv:1905.11946v1"
V5 = "arXiv:1905.11946v5"


@dataclass(frozen=True)
class PaperRow:
    """One of the paper's networks in Table 2. v5 adds AutoAugment and a held-out split."""

    member: str
    params: float
    macs: float
    v1: tuple[float, float]  # top-1, top-5
    v5: tuple[float, float]


TABLE_2: tuple[PaperRow, ...] = (
    PaperRow("efficientnet_b0", 5.3e6, 0.39e9, (0.763, 0.932), (0.771, 0.933)),
    PaperRow("efficientnet_b1", 7.8e6, 0.70e9, (0.788, 0.944), (0.791, 0.944)),
    PaperRow("efficientnet_b2", 9.2e6, 1.0e9, (0.798, 0.949), (0.801, 0.949)),
    PaperRow("efficientnet_b3", 12e6, 1.8e9, (0.811, 0.955), (0.816, 0.957)),
    PaperRow("efficientnet_b4", 19e6, 4.2e9, (0.826, 0.963), (0.829, 0.964)),
    PaperRow("efficientnet_b5", 30e6, 9.9e9, (0.833, 0.967), (0.836, 0.967)),
    PaperRow("efficientnet_b6", 43e6, 19e9, (0.840, 0.969), (0.840, 0.968)),
    PaperRow("efficientnet_b7", 66e6, 37e9, (0.844, 0.971), (0.843, 0.970)),
)


@dataclass(frozen=True)
class Rival:
    """A network with which the paper compares EfficientNet."""

    name: str
    top1: float
    top5: float
    params: float
    macs: float | None
    source: str
    member: str = ""  # the registered model that is the same network


_TABLE_2 = f"{V5}, Table 2"
RIVALS: tuple[Rival, ...] = (
    Rival("ResNet-50", 0.760, 0.930, 26e6, 4.1e9, _TABLE_2, "resnet50"),
    Rival("DenseNet-169", 0.762, 0.932, 14e6, 3.5e9, _TABLE_2),
    Rival("ResNet-152", 0.778, 0.938, 60e6, 11e9, _TABLE_2, "resnet152"),
    Rival("DenseNet-264", 0.779, 0.939, 34e6, 6.0e9, _TABLE_2),
    Rival("Inception-v3", 0.788, 0.944, 24e6, 5.7e9, _TABLE_2),
    Rival("Xception", 0.790, 0.945, 23e6, 8.4e9, _TABLE_2),
    Rival("Inception-v4", 0.800, 0.950, 48e6, 13e9, _TABLE_2),
    Rival("Inception-ResNet-v2", 0.801, 0.951, 56e6, 13e9, _TABLE_2),
    Rival("ResNeXt-101", 0.809, 0.956, 84e6, 32e9, _TABLE_2),
    Rival("PolyNet", 0.813, 0.958, 92e6, 35e9, _TABLE_2),
    Rival("SENet", 0.827, 0.962, 146e6, 42e9, _TABLE_2),
    Rival("NASNet-A", 0.827, 0.962, 89e6, 24e9, _TABLE_2),
    Rival("AmoebaNet-A", 0.828, 0.961, 87e6, 23e9, _TABLE_2),
    Rival("PNASNet", 0.829, 0.962, 86e6, 23e9, _TABLE_2),
    Rival("AmoebaNet-C", 0.835, 0.965, 155e6, 41e9, _TABLE_2),
    Rival("GPipe", 0.843, 0.970, 557e6, None, _TABLE_2),
)


@dataclass(frozen=True)
class PaperArm:
    """A base network and one scaling of it, as trained for Tables 3 and 7."""

    name: str
    base: str  # a model
    scaling: Scaling | None  # None: the paper does not say which
    macs: float
    top1: float
    source: str


def _arms(
    base: str, source: str, *rows: tuple[str, Scaling | None, float, float]
) -> list[PaperArm]:
    return [PaperArm(name, base, by, macs, top1, source) for name, by, macs, top1 in rows]


TABLE_3: tuple[PaperArm, ...] = (
    *_arms(
        "mobilenetv1_100", f"{V5}, Table 3",
        ("baseline", Scaling(), 0.6e9, 0.706),
        ("width", Scaling(width=2), 2.2e9, 0.742),
        ("resolution", Scaling(resolution=2), 2.2e9, 0.727),
        ("compound", Scaling(depth=1.4, width=1.2, resolution=1.3), 2.3e9, 0.756),
    ),
    *_arms(
        "mobilenetv2_100", f"{V5}, Table 3",
        ("baseline", Scaling(), 0.3e9, 0.720),
        ("depth", Scaling(depth=4), 1.2e9, 0.768),
        ("width", Scaling(width=2), 1.1e9, 0.764),
        ("resolution", Scaling(resolution=2), 1.2e9, 0.748),
        ("compound", None, 1.3e9, 0.774),
    ),
    *_arms(
        "resnet50", f"{V5}, Table 3",
        ("baseline", Scaling(), 4.1e9, 0.760),
        ("depth", Scaling(depth=4), 16.2e9, 0.781),
        ("width", Scaling(width=2), 14.7e9, 0.777),
        ("resolution", Scaling(resolution=2), 16.4e9, 0.775),
        ("compound", None, 16.7e9, 0.788),
    ),
)  # fmt: skip

# The networks of the activation maps. v5 refreshed the baseline alone (AutoAugment): its gaps to
# the other arms are understated, and it is not Table 2's 77.1.
TABLE_7: tuple[PaperArm, ...] = tuple(
    _arms(
        "efficientnet_b0", f"{V5}, Table 7",
        ("baseline", Scaling(), 0.4e9, 0.773),
        ("depth", Scaling(depth=4), 1.8e9, 0.790),
        ("width", Scaling(width=2), 1.8e9, 0.789),
        ("resolution", Scaling(resolution=2), 1.9e9, 0.791),
        ("compound", Scaling(depth=1.4, width=1.2, resolution=1.3), 1.8e9, 0.811),
    )
)  # fmt: skip
TABLE_7_V1: tuple[PaperArm, ...] = tuple(
    replace(arm, source=f"{V1}, Table 7", top1=0.763 if arm.name == "baseline" else arm.top1)
    for arm in TABLE_7
)


@dataclass(frozen=True)
class Latency:
    """Seconds for one image on one core of a Xeon E5-2690, mean of 20 runs (Table 4)."""

    rival: str
    rival_s: float
    member: str
    top1: float  # v5 prints the value of v1
    seconds: float
    source: str


TABLE_4: tuple[Latency, ...] = (
    Latency("ResNet-152", 0.554, "efficientnet_b1", 0.788, 0.098, f"{V5}, Table 4"),
    Latency("GPipe", 19.0, "efficientnet_b7", 0.844, 3.1, f"{V5}, Table 4"),
)


@dataclass(frozen=True)
class Transfer:
    """EfficientNet's accuracy on another data set, beside the size of a rival.

    Sizes are without ImageNet's classifier.
    """

    data: str
    rival: str
    rival_params: float | None
    member: str
    top1: float
    source: str = f"{V5}, Table 5"


TABLE_5: tuple[Transfer, ...] = (
    # against the best that anyone may download
    Transfer("CIFAR-10", "NASNet-A", 85e6, "efficientnet_b0", 0.981),
    Transfer("CIFAR-100", "NASNet-A", 85e6, "efficientnet_b0", 0.881),
    Transfer("Birdsnap", "Inception-v4", 41e6, "efficientnet_b5", 0.820),
    Transfer("Stanford Cars", "Inception-v4", 41e6, "efficientnet_b3", 0.936),
    Transfer("Flowers", "Inception-v4", 41e6, "efficientnet_b5", 0.985),
    Transfer("FGVC Aircraft", "Inception-v4", 41e6, "efficientnet_b3", 0.907),
    Transfer("Oxford-IIIT Pets", "ResNet-152", 58e6, "efficientnet_b4", 0.948),
    Transfer("Food-101", "Inception-v4", 41e6, "efficientnet_b4", 0.915),
    # against the best that anyone reported
    Transfer("CIFAR-10", "GPipe", 556e6, "efficientnet_b7", 0.989),
    Transfer("CIFAR-100", "GPipe", 556e6, "efficientnet_b7", 0.917),
    Transfer("Birdsnap", "GPipe", 556e6, "efficientnet_b7", 0.843),
    Transfer("Stanford Cars", "DAT", None, "efficientnet_b7", 0.947),
    Transfer("Flowers", "DAT", None, "efficientnet_b7", 0.988),
    Transfer("FGVC Aircraft", "DAT", None, "efficientnet_b7", 0.929),
    Transfer("Oxford-IIIT Pets", "GPipe", 556e6, "efficientnet_b6", 0.954),
    Transfer("Food-101", "GPipe", 556e6, "efficientnet_b7", 0.930),
)
