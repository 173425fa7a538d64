"""`phiscale.fit_law` and `phiscale.predict_errors`, as a Python user meets them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import phiscale
from phiscale.errors import UsageError
from phiscale.planning.laws.tables import published_sheet
from phiscale.report.law_report import LawReport


@pytest.fixture(scope="module")
def fitted() -> LawReport:
    return phiscale.fit_law("efficientnet", hold_out=["efficientnet_b6", "efficientnet_b7"])


def test_a_fitted_law_prints_draws_and_writes_itself(fitted: LawReport, tmp_path: Path):
    assert str(fitted).startswith("error % = ")
    assert [row["network"] for row in fitted.rows() if row["held_out"]] == [
        "efficientnet_b6",
        "efficientnet_b7",
    ]
    fitted.draw(tmp_path / "law.svg")
    fitted.law.write(tmp_path / "law.json")
    assert (tmp_path / "law.svg").read_text().startswith("<?xml")
    from_file = phiscale.predict_errors(tmp_path / "law.json", "efficientnet_b4")
    assert from_file == phiscale.predict_errors(fitted.law, "efficientnet_b4")


def test_a_table_is_a_name_a_file_or_a_sheet(tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("macs,error\n1,0.3\n2,0.25\n4,0.22\n8,0.2\n")
    assert phiscale.fit_law(path).law.axes.names == phiscale.fit_law([path]).law.axes.names
    by_name, by_value = (
        phiscale.fit_law(table, axes=axes).rows()
        for table, axes in (
            ("efficientnet-joint", "depth, width, resolution"),
            (published_sheet("efficientnet-joint"), ("depth", "width", "resolution")),
        )
    )
    assert by_name == by_value


def test_networks_are_names_specs_or_scalings_of_the_laws_base(fitted: LawReport):
    b0 = phiscale.get_spec("efficientnet_b0")
    [by_name] = phiscale.predict_errors(fitted.law, "efficientnet_b0")
    [by_spec] = phiscale.predict_errors(fitted.law, b0)
    [base] = phiscale.predict_errors(fitted.law)
    assert by_name == by_spec == base and base["gain"] == 0
    [scaled] = phiscale.predict_errors(fitted.law, [phiscale.scale(b0, phiscale.compound(2))])
    [by_phi] = phiscale.predict_errors(fitted.law, phi=2)
    assert by_phi["error"] == scaled["error"] < base["error"]
    own = phiscale.Coefficients(alpha=1.5, beta=1.0, gamma=1.0)
    [other] = phiscale.predict_errors(fitted.law, phi=[2], coefficients=own)
    assert other["error"] != by_phi["error"]


def test_a_network_of_another_family_is_warned_of(
    fitted: LawReport, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "phiscale"):
        phiscale.predict_errors(fitted.law, "resnet50")
    assert "resnet50 is of another family" in caplog.text


def test_arguments_out_of_range_are_named(fitted: LawReport):
    with pytest.raises(UsageError, match=r"compute_ratio=1 scales nothing"):
        phiscale.fit_law("efficientnet", compute_ratio=1)
    with pytest.raises(UsageError, match=r"`table` is empty"):
        phiscale.fit_law([])
    with pytest.raises(UsageError, match=r"phi=inf is out of range"):
        phiscale.predict_errors(fitted.law, phi=float("inf"))
    with pytest.raises(UsageError, match=r"Add `phi`, such as phi=1"):
        phiscale.predict_errors(fitted.law, coefficients="found.json")
