"""Candidates' names in reports."""

from __future__ import annotations

import pytest

from phiscale.report.names import speakable


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("depth x0.62, width x0.29, 80 px", "b0-d0.62-w0.29-80px"),
        ("efficientnetv2_b0, depth x1.20, width x0.50, 96 px", "v2-b0-d1.20-w0.50-96px"),
        ("phi 1: depth x1.20, width x1.10, 256 px", "phi 1: b0-d1.20-w1.10-256px"),
        ("Tied, depth x2.00, width x1.00, 64 px.", "Tied, b0-d2.00-w1.00-64px."),
        ("efficientnet_lite0", "efficientnet_lite0"),
    ],
)
def test_a_network_named_by_multipliers_gets_a_name_that_can_be_said(stored: str, shown: str):
    assert speakable(stored, "efficientnet_b0") == shown
