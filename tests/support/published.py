"""Points of the published tables that tests of laws fit."""

from __future__ import annotations

from phiscale.planning.laws.points import Points, points_of
from phiscale.planning.laws.tables import published_sheet
from phiscale.planning.priors import PUBLISHED_ROWS

JOINT = points_of(PUBLISHED_ROWS)
B0_TO_B3_AND_ARMS = (0, 1, 2, 3, 8, 9, 10)
PAPER = (1.2, 1.1, 1.15)
"""The paper's alpha, beta and gamma."""


def table_points(name: str, *axes: str) -> Points:
    """Points of a published table over these axes, or over MACs."""
    sheet = published_sheet(name)
    return sheet.points(sheet.axes_over(axes or ("macs",)))


def paper_arms() -> Points:
    """Base, depth, width and resolution of Table 7: not the compound row."""
    return table_points("table7", "depth", "width", "resolution").select(range(4))
