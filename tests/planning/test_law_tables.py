"""Tables that laws are fitted to: published ones, CSV files, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import DataError, UsageError
from phiscale.planning.laws.checks import Checks, check, find_outliers
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.posterior import posterior
from phiscale.planning.laws.sheet import Axes, Sheet
from phiscale.planning.laws.sheet_file import parse_sheet, read_sheet
from phiscale.planning.laws.tables import FILES, PUBLISHED, published_sheet
from phiscale.planning.priors import PUBLISHED_ROWS


def read(text: str) -> Sheet:
    return parse_sheet(text, "table.csv")


def errors_of(name: str) -> list[float]:
    return [round(100 * row.error, 3) for row in published_sheet(name).rows]


# Published tables


@pytest.mark.parametrize(
    ("name", "per_cent"),
    [
        ("efficientnet", [22.9, 20.9, 19.9, 18.4, 17.1, 16.4, 16.0, 15.7]),
        ("efficientnet-v1", [23.7, 21.2, 20.2, 18.9, 17.4, 16.7, 16.0, 15.6]),
        ("efficientnet-advprop", [22.4, 20.4, 19.5, 18.1, 16.7, 15.7, 15.2, 14.8, 14.5]),
        ("efficientnet-noisy-student", [21.2, 18.5, 17.6, 15.9, 14.7, 13.9, 13.6, 13.1]),
        ("efficientnet-joint", [22.9, 20.9, 19.9, 18.4, 17.1, 16.4, 16.0, 15.7, 21.0, 21.1, 20.9]),
        ("table7", [22.7, 21.0, 21.1, 20.9, 18.9]),
        ("table7-v1", [23.7, 21.0, 21.1, 20.9, 18.9]),
        ("table3-mobilenetv2", [28.0, 23.2, 23.6, 25.2]),  # the compound's scaling is not stated
        ("efficientnet-lite", [24.9, 23.3, 22.4, 20.2, 18.5]),
        ("regnetx", [31.1, 27.3, 25.9, 24.8, 23.0, 21.7, 21.4, 20.8, 20.7, 20.3, 20.0, 19.5]),
        ("regnety", [29.6, 25.9, 24.5, 23.7, 22.0, 21.0, 20.6, 20.1, 20.1, 19.7, 19.6, 19.0]),
        ("pycls-efficientnet", [24.920, 24.068, 23.518, 22.470, 21.374, 21.674]),
    ],
)
def test_published_errors_are_those_that_were_printed(name: str, per_cent: list[float]) -> None:
    assert errors_of(name) == pytest.approx(per_cent)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_table_names_its_source_and_can_be_read_on_its_axes(name: str) -> None:
    sheet = published_sheet(name)
    assert any(
        word in sheet.source for word in ("arXiv:", "tensorflow/", "google/", "timm", "pycls")
    )
    assert sheet.axes and sheet.run_sd
    points = sheet.points(sheet.axes_over(sheet.axes))
    assert points.x[0] == pytest.approx(1)  # the base comes first
    assert not points.constant()


def test_only_rows_of_no_registered_model_are_in_files() -> None:
    assert {path.stem for path in FILES.glob("*.csv")} == {"pycls-efficientnet"} <= set(PUBLISHED)


def test_the_joint_table_is_the_prior_of_phiscale_counted_again() -> None:
    sheet = published_sheet("efficientnet-joint")
    points = sheet.points(sheet.axes_over(("depth", "width", "resolution")))
    for x, error, row in zip(points.x, points.error, PUBLISHED_ROWS, strict=True):
        assert x == pytest.approx((row.depth, row.width, row.resolution), abs=5e-5)
        assert error == pytest.approx(row.error)


def test_regnets_activations_are_those_that_pycls_lists() -> None:
    listed = {
        "regnetx": [2.2, 3.1, 4.0, 5.1, 7.9, 11.4, 12.2, 16.4, 14.1, 21.4, 25.5, 36.3],
        "regnety": [2.2, 3.9, 4.3, 5.2, 8.0, 11.3, 12.3, 16.4, 18.0, 21.4, 23.0, 30.3],
    }
    for name, millions in listed.items():
        counted = [cost(row.spec).activations / 1e6 for row in published_sheet(name).rows]  # type: ignore[arg-type]
        assert counted == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    ("name", "says"),
    [("effcientnet", "Did you mean efficientnet"), ("zzz", "Tables are efficientnet, ")],
)
def test_an_unknown_table_gets_the_nearest_names_or_all(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        published_sheet(name)


# CSV files


@pytest.mark.parametrize(
    ("column", "cells", "errors"),
    [
        ("error", ("0.3", "0.2", "0.15"), (0.3, 0.2, 0.15)),
        ("error", ("30", "20", "15.5"), (0.3, 0.2, 0.155)),
        ("error", ("0.5%", "0.4%", "0.3%"), (0.005, 0.004, 0.003)),
        ("top1", ("77.1", "79.1", "80.1"), (0.229, 0.209, 0.199)),
        ("top1", ("0.771", "0.791", "0.801"), (0.229, 0.209, 0.199)),
    ],
)
def test_errors_are_fractions_or_per_cent_all_alike(
    column: str, cells: tuple[str, ...], errors: tuple[float, ...]
) -> None:
    rows = "\n".join(f"{10 * 2**i},{cell}" for i, cell in enumerate(cells))
    assert [row.error for row in read(f"macs,{column}\n{rows}").rows] == pytest.approx(errors)


def test_a_file_has_comments_names_runs_and_any_axes(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeff# source: my photos\n# run_sd: 0.004\nname, latency_ms, error, runs, note\n"
        "one, 2, 30%, 3, fine\n\ntwo, 4, 25%, 1, slow\nthree, 9, 22%, 1,\n"
    )
    sheet = read_sheet(path)
    assert (sheet.source, sheet.run_sd) == ("my photos", 0.004)
    points = sheet.points(sheet.axes_over(("latency_ms",)))
    assert points.names == ("one", "two", "three")
    assert points.x[:, 0] == pytest.approx((1, 2, 4.5))  # over the first's
    assert points.runs == pytest.approx((3, 1, 1))


def test_models_are_counted_over_the_smallest_of_them_or_a_base() -> None:
    sheet = read("model,error\nefficientnet_b3,0.2\nefficientnet_b0,0.3\nefficientnet_b1,0.25")
    assert sheet.base().name == "efficientnet_b0"
    points = sheet.points(sheet.axes_over(("macs", "depth")))
    b0, b3 = cost(get_spec("efficientnet_b0")).macs, cost(get_spec("efficientnet_b3")).macs
    assert points.x[0] == pytest.approx((b3 / b0, 26 / 16))
    over_b3 = sheet.points(sheet.axes_over(("macs", "depth"), get_spec("efficientnet_b3")))
    assert over_b3.x[0] == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("rows", "axes"),
    [
        ("".join(f"efficientnet_b{i},0.{30 - i}\n" for i in range(8)), ("macs",)),  # one ray
        (
            "small,0.3\nsmall.json,0.29\nwide.json,0.28\ndeep.json,0.27\n",
            ("depth", "width", "resolution"),
        ),
    ],
)
def test_dimensions_are_the_axes_where_they_vary_apart(
    rows: str, axes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, by in (
        ("small", Scaling(resolution=2)),
        ("wide", Scaling(width=2)),
        ("deep", Scaling(depth=2)),
    ):
        Path(f"{name}.json").write_text(scale(get_spec("small"), by).to_json())
    assert read("model,error\n" + rows).choose_axes() == axes


def test_lengths_of_training_are_an_axis_where_they_differ() -> None:
    text = "macs,images_seen,error\n1,1e6,0.3\n2,1e6,0.25\n4,{},0.22\n8,1e6,0.2"
    assert read(text.format("1e6")).choose_axes() == ("macs",)
    assert read(text.format("2e6")).choose_axes() == ("macs", "images")
    points = read(text.format("2e6")).points(read(text.format("2e6")).axes_over(("macs", "images")))
    assert points.x[2] == pytest.approx((4, 2))  # millions


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"no header"),
        ("macs,macs,error\n1,1,0.1", r"no header of different names"),
        ("macs,loss\n1,2", r"no column error or top1"),
        ("macs,error,top1\n1,0.1,0.9", r"both error and top1"),
        ("macs,error\n1,0.1,3", r"row 1 .*3 cells, the header 2"),
        ("macs,error\n1,nan", r"error of row 1 .*'nan'"),
        ("macs,error\n1,", r"error of row 1 .*'empty'"),
        ("macs,error\n1,-3", r"error of row 1 .*'-3'"),
        ("macs,error\n1,0.9\n2,1.5", r"and 0\.9, a mixture of per cent and fractions\."),
        ("macs,error\n1,130", r"above 100 %"),
        ("macs,error\n0,0.1", r"macs of row 1 .*'0'.*above 0"),
        ("macs,error,runs\n1,0.1,0", r"runs of row 1"),
        ("model,error\nefficientnet_b00,0.1", r"model efficientnet_b00 .*Did you mean"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as refusal:
        read(text)
    assert "table.csv" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x\.csv cannot be read"):
        read_sheet(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        ("width", r"row 1 has no width.*column model and the argument `base`"),
        ("params", r"column params or mod"),
        ("images", r"no images_seen"),
        ("banana", r"no banana. Add a column banana"),
    ],
)
def test_an_axis_that_rows_have_no_value_for_is_refused(axis: str, says: str) -> None:
    sheet = read("macs,error\n1,0.3\n2,0.2")
    with pytest.raises(UsageError, match=says):
        sheet.points(Axes(names=(axis,)))


# Checks


def of(name: str) -> Points:
    sheet = published_sheet(name)
    return sheet.points(sheet.axes_over(sheet.axes))


def bent(rows: int = 16) -> Points:
    """Errors that no sum of saturating powers follows: they fall ever faster."""
    x = np.geomspace(1, 30, rows)
    error = 0.4 - 0.02 * np.log(x) ** 2 + 0.0005 * np.random.default_rng(0).normal(size=rows)
    return Points(
        ("macs",), x[:, None], error, np.ones(rows), tuple(f"row {i}" for i in range(rows))
    )


def test_the_row_whose_recipe_broke_is_named() -> None:
    """pycls trains B0-B5 without regularisation that grows: B5 is worse than B4."""
    (flag,) = find_outliers(posterior(of("pycls-efficientnet"), run_sd=0.0015))
    assert flag.name == "efficientnet_b5" and flag.error - flag.expected > 0.01
    assert "efficientnet_b5 is 1.0" in str(flag) and "worse" in str(flag)


@pytest.mark.parametrize(
    "name", ["efficientnet", "efficientnet-v1", "regnetx", "regnety", "efficientnet-joint"]
)
def test_no_row_is_named_where_all_fit_in(name: str) -> None:
    sheet = published_sheet(name)
    assert find_outliers(posterior(of(name), run_sd=sheet.run_sd)) == ()


def test_the_law_predicts_the_published_rows_best() -> None:
    sheet = published_sheet("efficientnet-joint")
    fit = posterior(of("efficientnet-joint"), run_sd=sheet.run_sd)
    checks = check(fit, sheet.points(sheet.axes_over(("macs",))))
    assert checks.rms["law"] < checks.rms["macs"] < checks.rms["quadratic"]
    assert (checks.winner, checks.better_models, checks.rows) == ("law", (), 11)
    checks.require_range(1000.0, "anything")


def test_a_law_of_the_wrong_form_goes_no_farther_than_eight_times_its_rows() -> None:
    checks = check(posterior(bent(), run_sd=0.0005))
    assert checks.better_models == ("quadratic",) and checks.winner == "quadratic"
    assert "Clearly better than the law" in checks.summary()
    checks.require_range(8.0, "near")
    with pytest.raises(UsageError, match=r"far has 9x .*quadratic .*Use at most 8x, or train"):
        checks.require_range(9.0, "far")


def test_a_gaussian_process_is_better_where_the_law_has_the_wrong_form() -> None:
    from phiscale.report.gp import gp_left_out

    fit = posterior(bent(), run_sd=0.0005)
    further = gp_left_out(fit)
    assert further is not None
    assert "gp" in check(fit, None, {"gp": further}).better_models
    law = posterior(of("efficientnet"), run_sd=0.0015)
    further = gp_left_out(law)
    assert further is not None
    assert check(law, None, {"gp": further}).better_models == ()
    assert gp_left_out(posterior(of("efficientnet-lite"), run_sd=0.0015)) is None  # 5 rows


def test_too_few_rows_compare_no_models_and_limit_no_prediction() -> None:
    checks = check(posterior(of("table3-resnet50"), run_sd=0.0025))
    assert checks == Checks() and checks.winner == "law"
    assert "Too few rows" in checks.summary()


def test_every_model_named_in_a_table_is_registered() -> None:
    names = {row.name for name in ("efficientnet", "regnetx") for row in published_sheet(name).rows}
    assert names <= set(MEMBERS)
