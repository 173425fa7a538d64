"""Published tables by name: what `phiscale law fit NAME` fits.

They are built from the figures of the members and of the paper's tables. A file in
`tables/published/` holds what is nowhere else. Heavy imports wait until a table is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from phiscale.errors import UsageError
from phiscale.text import did_you_mean

if TYPE_CHECKING:
    from phiscale.arch.families.paper import PaperArm
    from phiscale.planning.laws.sheet import Sheet, TrainedNetwork

FILES = Path(__file__).parent.parent / "tables" / "published"

# Assumed for one training on ImageNet where the source does not say: trainings that differ in their
# seed alone differ by about sqrt(error / 2n) on n = 50,000 images (arXiv:2304.01910).
RUN_SD = 0.0015
RUN_SD_MIXED = 0.0025  # where recipes differ between rows
LAW_AXES = ("depth", "width", "resolution")

PUBLISHED: dict[str, str] = {
    "efficientnet": "B0-B7 with AutoAugment, arXiv:1905.11946v5, Table 2",
    "efficientnet-v1": "B0-B7, arXiv:1905.11946v1, Table 2",
    "efficientnet-plain": "B0-B5 without AutoAugment",
    "efficientnet-advprop": "B0-B8 with AdvProp",
    "efficientnet-noisy-student": "B0-B7 with 300M more images",
    "efficientnet-timm": "B0-B7, AutoAugment weights measured again by timm",
    "efficientnet-joint": "B0-B7 and B0 scaled in one dimension, arXiv:1905.11946v5",
    "table7": "B0 scaled in one dimension and in all, arXiv:1905.11946v5, Table 7",
    "table7-v1": "the same in arXiv:1905.11946v1",
    "table3-mobilenetv1": "MobileNetV1 scaled, arXiv:1905.11946v5, Table 3",
    "table3-mobilenetv2": "MobileNetV2 scaled, Table 3",
    "table3-resnet50": "ResNet-50 scaled, Table 3",
    "efficientnet-lite": "Lite0-Lite4, fp32",
    "efficientnet-lite-int8": "Lite0-Lite4, int8 after training",
    "efficientnetv2-b": "V2-B0 to V2-B3",
    "efficientnetv2": "V2-S, M, L on ImageNet-1k",
    "regnetx": "RegNetX 200MF-32GF, mean of 5 runs",
    "regnety": "RegNetY 200MF-32GF, mean of 5 runs",
    "pycls-efficientnet": "B0-B5 after 100 epochs without augmentation",
}

# Tables of members: the start of their names, and the condition of the figure.
_SERIES: dict[str, tuple[str, str]] = {
    "efficientnet": ("efficientnet_b", "AutoAugment"),
    "efficientnet-v1": ("efficientnet_b", "the first version's recipe"),
    "efficientnet-plain": ("efficientnet_b", "no AutoAugment"),
    "efficientnet-advprop": ("efficientnet_b", "AdvProp"),
    "efficientnet-noisy-student": ("efficientnet_b", "NoisyStudent, 300M more images"),
    "efficientnet-timm": ("efficientnet_b", "the AutoAugment weights, measured again"),
    "efficientnet-lite": ("efficientnet_lite", "fp32"),
    "efficientnet-lite-int8": ("efficientnet_lite", "int8 after training"),
    "efficientnetv2-b": ("efficientnetv2_b", "ImageNet-1k alone"),
    "efficientnetv2": ("efficientnetv2_", "ImageNet-1k alone"),
    "regnetx": ("regnetx_", "100 epochs, mean of 5 runs"),
    "regnety": ("regnety_", "100 epochs, mean of 5 runs"),
}


def published_sheet(name: str) -> Sheet:
    """Returns a published table. UsageError: there is no such table."""
    from phiscale.planning.laws.sheet import Sheet
    from phiscale.planning.laws.sheet_file import read_sheet

    if name not in PUBLISHED:
        advice = did_you_mean(name.lower(), PUBLISHED, f"Tables are {', '.join(PUBLISHED)}.")
        raise UsageError(f"{name} is no file, folder or published table. {advice}")
    if (FILES / f"{name}.csv").is_file():
        return read_sheet(FILES / f"{name}.csv")
    if name in _SERIES:
        source, rows = _series(name)
        return Sheet(source=source, rows=rows, axes=("macs",), run_sd=RUN_SD)
    source, rows = _joint() if name == "efficientnet-joint" else _scaled(name)
    return Sheet(source=source, rows=rows, axes=LAW_AXES, run_sd=RUN_SD_MIXED)


def _series(name: str) -> tuple[str, tuple[TrainedNetwork, ...]]:
    from phiscale.arch.families import MEMBERS
    from phiscale.planning.laws.sheet import TrainedNetwork

    begins, condition = _SERIES[name]
    figures = [
        (member, figure)
        for member in MEMBERS.values()
        if member.name.startswith(begins)
        and not (name == "efficientnetv2" and member.name.startswith("efficientnetv2_b"))
        for figure in member.published
        if figure.condition == condition
    ]
    runs = 5.0 if "mean of 5" in condition else 1.0
    rows = (
        TrainedNetwork(
            name=member.name, error=round(1 - figure.top1, 6), runs=runs, spec=member.spec
        )
        for member, figure in figures
    )
    return f"{figures[0][1].source}; {condition}", tuple(rows)


def _joint() -> tuple[str, tuple[TrainedNetwork, ...]]:
    from phiscale.arch.families import get_spec
    from phiscale.arch.families.published import LAW_ROWS
    from phiscale.arch.scaling import scale
    from phiscale.planning.laws.sheet import TrainedNetwork

    rows = (
        TrainedNetwork(name=row.label, error=row.error, spec=scale(get_spec(row.base), row.scaling))
        for row in LAW_ROWS
    )
    return "arXiv:1905.11946v5, Table 2 (so B0 has 77.1) and the arms of Table 7", tuple(rows)


def _scaled(name: str) -> tuple[str, tuple[TrainedNetwork, ...]]:
    from phiscale.arch.families.published import TABLE_3, TABLE_7, TABLE_7_V1

    tables = {
        "table7": ("efficientnet_b0", TABLE_7),
        "table7-v1": ("efficientnet_b0", TABLE_7_V1),
        "table3-mobilenetv1": ("mobilenetv1_100", TABLE_3),
        "table3-mobilenetv2": ("mobilenetv2_100", TABLE_3),
        "table3-resnet50": ("resnet50", TABLE_3),
    }
    base, arms = tables[name]
    scaled = [arm for arm in arms if arm.base == base and arm.scaling is not None]
    return scaled[0].source, tuple(_arms(scaled))


def _arms(arms: Iterable[PaperArm]) -> Iterable[TrainedNetwork]:
    from phiscale.arch.families import get_spec
    from phiscale.arch.scaling import scale
    from phiscale.planning.laws.sheet import TrainedNetwork

    for arm in arms:
        assert arm.scaling is not None
        spec = scale(get_spec(arm.base), arm.scaling)
        yield TrainedNetwork(name=arm.name, error=round(1 - arm.top1, 6), spec=spec)
