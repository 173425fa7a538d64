"""The comparisons that the paper claims, and the rows that its scaling law must explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phiscale.arch.families.efficientnet import EFFICIENTNET
from phiscale.arch.families.paper import (
    RIVALS,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_7,
    TABLE_7_V1,
    V5,
    Latency,
    PaperArm,
    PaperRow,
    Rival,
    Transfer,
)
from phiscale.arch.rounding import Scaling

__all__ = [
    "HEADLINES", "LAW_ROWS", "RIVALS", "TABLE_2", "TABLE_3", "TABLE_4", "TABLE_5", "TABLE_7",
    "TABLE_7_V1", "Headline", "Latency", "PaperArm", "PaperRow", "PublishedLawRow", "Rival",
    "Transfer",
]  # fmt: skip

Quantity = Literal["params", "macs", "cpu latency", "backbone params", "top1"]


@dataclass(frozen=True)
class Headline:
    """A comparison in the paper: how many times less of `quantity` than the rival.

    For top1 it is the difference. `report.models.ratios` computes it again from exact counts.
    """

    member: str
    rival: str
    quantity: Quantity
    printed: float
    source: str
    data: str = "ImageNet"


HEADLINES: tuple[Headline, ...] = (
    Headline("efficientnet_b7", "GPipe", "params", 8.4, f"{V5}, abstract"),
    Headline("efficientnet_b7", "GPipe", "cpu latency", 6.1, f"{V5}, abstract and Table 4"),
    Headline("efficientnet_b1", "ResNet-152", "cpu latency", 5.7, f"{V5}, Table 4"),
    Headline("efficientnet_b1", "ResNet-152", "params", 7.6, f"{V5}, Table 2"),
    Headline("efficientnet_b1", "ResNet-152", "macs", 16, f"{V5}, Table 2"),
    Headline("efficientnet_b0", "ResNet-50", "params", 4.9, f"{V5}, Table 2"),
    Headline("efficientnet_b0", "ResNet-50", "macs", 11, f"{V5}, Table 2"),
    Headline("efficientnet_b3", "ResNeXt-101", "params", 7.0, f"{V5}, Table 2"),
    Headline("efficientnet_b3", "ResNeXt-101", "macs", 18, f"{V5}, Table 2"),
    Headline("efficientnet_b4", "NASNet-A", "params", 4.7, f"{V5}, Table 2"),
    Headline("efficientnet_b4", "NASNet-A", "macs", 5.7, f"{V5}, Table 2"),
    Headline("efficientnet_b5", "AmoebaNet-C", "params", 5.2, f"{V5}, Table 2"),
    Headline("efficientnet_b5", "AmoebaNet-C", "macs", 4.1, f"{V5}, Table 2"),
    # the introduction says 76.3 to 83.0, Table 2 has 76.0 and 82.9
    Headline("efficientnet_b4", "ResNet-50", "top1", 0.067, f"{V5}, introduction"),
    Headline("efficientnet_b0", "NASNet-A", "backbone params", 21, f"{V5}, Table 5", "CIFAR-10"),
)


@dataclass(frozen=True)
class PublishedLawRow:
    """One trained network of the published tables: its scaling of the base, and its error."""

    label: str
    base: str  # a model
    scaling: Scaling
    error: float  # 1 - top-1
    source: str


# B0 is Table 2's 77.1 %: Table 7 prints 77.3 for it, and its other arms have v1's recipe.
LAW_ROWS: tuple[PublishedLawRow, ...] = (
    *(
        PublishedLawRow(
            member.name, member.base, member.scaling, round(1 - row.v5[0], 4), f"{V5}, Table 2"
        )
        for row in TABLE_2
        for member in EFFICIENTNET
        if member.name == row.member
    ),
    *(
        PublishedLawRow(arm.name, arm.base, arm.scaling, round(1 - arm.top1, 4), arm.source)
        for arm in TABLE_7
        if arm.scaling is not None and arm.name in ("depth", "width", "resolution")
    ),
)
