"""How far costs are from d w^2 r^2: selection of networks, rows, sentences, the committed page."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import phiscale
from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import compound, scale
from phiscale.cli import main
from phiscale.errors import UsageError
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint
from phiscale.report.deviation import DeviationRow, format_table, list_rows, list_slopes
from phiscale.report.deviation_networks import select_networks, smallest_of_families
from phiscale.report.deviation_page import TITLE, conclusions, list_sections
from phiscale.report.latencies import TimedNetwork, Timings, fit_times
from phiscale.report.page import Section, as_html, as_markdown

ROOT = Path(__file__).parent.parent.parent
HERE = DeviceFingerprint(
    device="a <test>", cores=2, threads=2, runtime="onnxruntime", torch="2", date="2026-01-01"
)


def timed(count: int = 12, macs: float = 0.3, activations: float = 0.7) -> tuple[TimedNetwork, ...]:
    """Networks whose time is exactly MACs^macs * activations^activations."""
    sizes = [(10**8 * 2**i, 10**6 * 3 ** (i % 4) * 2**i) for i in range(count)]
    return tuple(
        TimedNetwork(
            name=f"n{i}",
            family="ab"[i % 2],
            macs=m,
            activations=a,
            latency_ms=1e-6 * m**macs * a**activations,
        )
        for i, (m, a) in enumerate(sizes)
    )


# Which networks


@pytest.mark.parametrize(
    ("patterns", "networks", "bases"),
    [
        ([], "b1 b2 b3 b4 b5 b6 b7", {"efficientnet_b0"}),
        (["efficientnet_b4"], "b4", {"efficientnet_b0"}),
        (["*lite?"], "lite1 lite2 lite3 lite4", {"efficientnet_lite0"}),
        (["tf_*lite1"], "lite1", {"tf_efficientnet_lite0"}),
        (["resnet*"], "34 101 152", {"resnet18", "resnet50"}),
        (["efficientnetv2_?"], "s l", {"efficientnetv2_b0", "efficientnetv2_m"}),
        (["regnetx_00[24]", "resnet34"], "004 34", {"regnetx_002", "resnet18"}),
    ],
)
def test_models_are_compared_with_the_base_that_they_scale(
    patterns: list[str], networks: str, bases: set[str]
):
    pairs = select_networks(patterns)
    ends = [re.sub(r".*_|^resnet", "", pair.name) for pair in pairs]
    assert ends == networks.split()
    assert {pair.base_name for pair in pairs} == bases


def test_a_network_that_no_model_scales_is_scaled_by_phi():
    pairs = select_networks(["small"])
    assert [pair.name for pair in pairs] == [f"small phi {phi}" for phi in range(1, 8)]
    one, two = select_networks(["efficientnet_b0"], (0.5, 2))
    assert two.spec == scale(get_spec("efficientnet_b0"), compound(2)) and one.by == compound(0.5)


def test_coefficients_of_a_search_replace_the_papers():
    coefficients = Coefficients(alpha=1.5, beta=1.1, gamma=1.0)
    assert select_networks(["small"], (2,), coefficients)[0].by == coefficients.at(2)


@pytest.mark.parametrize(
    ("patterns", "phis", "message"),
    [
        (["zzz*"], (), "no model matches"),
        (["resnet*"], (1,), "names 5 networks, and `phi` scales one. Name one"),
        (["mobilenetv?_100"], (), "2 networks, none of which scales another. Name one"),
    ],
)
def test_a_pattern_that_names_nothing_to_compare_is_refused(
    patterns: list[str], phis: tuple[float, ...], message: str
):
    with pytest.raises(UsageError, match=message):
        select_networks(patterns, phis)


# Rows and sentences


def test_the_causes_multiply_to_the_deviation_of_the_macs():
    for row in list_rows(select_networks()):
        causes = (
            row["structure"],
            row["depth_rounding"],
            row["channel_rounding"],
            row["map_rounding"],
        )
        assert math.prod(1 + cause for cause in causes) == pytest.approx(1 + row["off"])
        assert row["exact"] == pytest.approx(row["monomial"] * (1 + row["off"]))
        network, base = get_spec(row["network"]), get_spec(row["over"])
        assert row["saved_bytes_ratio"] == cost(network).saved_bytes / cost(base).saved_bytes


def test_the_table_of_efficientnet_has_its_published_values():
    [b1, *_, b7] = format_table(list_rows(select_networks()))
    columns = ("d w² r²", "MACs", "off %", "structure", "depth", "channels", "maps")
    assert " ".join(b1[column] for column in columns) == "1.26 1.78 +41.0 +0.2 +33.9 +0.0 +5.1"
    assert (b7["off %"], b7["depth as built"], b7["saved"], b7["peak"], b7["params"]) == (
        "+10.0",
        "3.438",
        "43.6",
        "14.3",
        "12.5",
    )


def test_networks_that_no_scaling_made_have_one_cause():
    [row] = list_rows(select_networks(["resnet34"]))
    assert row["depth"] == row["real_depth"] == 2.0 and row["depth_rounding"] is None
    assert row["structure"] == row["off"] == pytest.approx(0.0098, abs=1e-4)
    assert "one cause: structure" in " ".join(conclusions([row]))
    assert list_slopes([row]) == []


def test_the_conclusions_come_from_the_numbers():
    text = " ".join(conclusions(list_rows(select_networks())))
    assert "are +5.6 to +41.0 % off" in text
    assert "structure -3.7 to +0.2 %, rounding up blocks +8.5 to +33.9 %" in text
    assert "The largest single cause is rounding up blocks." in text
    assert "should be 1.1 times as deep as its base and is 1.44 times" in text
    assert "d^1.025 w^1.890 r^1.992 at efficientnet_b0" in text
    assert "d^1.012 w^1.951 r^1.999 at efficientnet_b7" in text
    assert "d w² r² = 89 times efficientnet_b0's, but training keeps 43.6 times" in text
    other = " ".join(conclusions(list_rows(select_networks(["small"], (1,)))))
    assert "+32.4 %" in other and "41.0" not in other


def rows_scaled_by(
    name: str, phi: float, alpha: float, beta: float, gamma: float
) -> list[DeviationRow]:
    """The row of one network, scaled by other coefficients."""
    coefficients = Coefficients(alpha=alpha, beta=beta, gamma=gamma)
    return list_rows(select_networks([name], (phi,), coefficients))


def test_memory_of_networks_with_more_pixels_alone_grows_as_d_w2_r2():
    text = " ".join(conclusions(rows_scaled_by("resnet50", 2, 1.0, 1.0, 1.2)))
    assert "Memory grows as d w² r² here." in text and "does not grow" not in text


def test_rounding_of_blocks_is_not_blamed_where_it_brings_the_macs_nearer_to_d_w2_r2():
    text = " ".join(conclusions(rows_scaled_by("resnet50", 2, 1.2, 1.0, 1.0)))
    assert "should be 1.44 times as deep as its base and is 1.56 times as deep." in text
    assert "Without the rounding of blocks" not in text


def test_a_network_that_is_not_scaled_has_no_cause_and_no_growth():
    text = " ".join(conclusions(list_rows(select_networks(["small"], (0,)))))
    assert "largest single cause" not in text and "grow as" not in text and "grows as" not in text


def test_of_networks_that_shrink_the_smallest_is_named():
    text = " ".join(conclusions(list_rows(select_networks(["small"], (-1, -2)))))
    assert "small phi -2 has d w² r² = 0.267 times" in text


def test_blocks_that_are_rounded_to_nearest_are_not_called_rounded_up():
    nearest = replace(get_spec("small"), depth_rounding="round")
    pairs = select_networks([nearest], (1,))
    text = " ".join(conclusions(list_rows(pairs)))
    assert "rounding blocks" in text and "rounding up blocks" not in text


def test_the_note_names_only_layers_and_causes_of_these_networks():
    assert "first blocks, depthwise and squeeze-and-excite layers" in note(["efficientnet_b1"])
    assert "first blocks, depthwise layers" in note(["efficientnet_lite1"])
    assert "first blocks, squeeze-and-excite layers" in note(["regnety_004"])
    assert "structure (stem, head, first blocks follow" in note(["resnet101"])
    assert "three roundings" not in note(["resnet101"])


def note(patterns: list[str]) -> str:
    return list_sections(list_rows(select_networks(patterns)))[0].note


def test_every_family_and_kind_of_block_has_its_powers():
    assert smallest_of_families().keys() >= {
        "efficientnet_b0",
        "efficientnetv2_b0",
        "efficientnet_lite0",
        "mobilenetv1_100",
        "mobilenetv2_100",
        "resnet18",
        "resnet50",
        "regnety_002",
    }


# Time


def test_the_powers_of_invented_times_are_recovered():
    [overall, *groups] = fit_times(timed())
    assert overall["networks"] == "all" and overall["count"] == 12
    assert {group["networks"]: group["count"] for group in groups} == {"a": 6, "b": 6}
    assert overall["both"] == pytest.approx(1)
    assert (overall["power_of_macs"], overall["power_of_activations"]) == pytest.approx((0.3, 0.7))
    assert overall["macs"] < 1 and overall["activations"] < 1
    assert fit_times(timed(macs=0, activations=1))[0]["activations"] == pytest.approx(1)


def test_few_networks_give_no_fit_and_a_single_family_gives_one():
    assert fit_times(timed(4)) == []
    one = [network for network in timed(12) if network.family == "a"]
    assert [fit["networks"] for fit in fit_times(one)] == ["a"]


def test_timings_are_read_as_they_were_written(tmp_path: Path):
    timings = Timings(fingerprint=HERE, rounds=3, networks=timed())
    timings.write(tmp_path / "timings.json")
    assert Timings.read(tmp_path / "timings.json") == timings


@pytest.mark.parametrize(
    "change",
    [
        {"networks": [{"name": "x"}]},
        {"rounds": 1, "more": 2},
        {"phiscale_timings": 9},
        {"networks": None},
        {"fingerprint": {}},
    ],
)
def test_a_file_that_holds_no_timings_is_refused(change: dict[str, Any], tmp_path: Path):
    path = tmp_path / "timings.json"
    Timings(fingerprint=HERE, rounds=3, networks=timed()).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=r"timings\.json .*phiscale deviation --measure"):
        Timings.read(path)


def test_measured_networks_are_timed_beside_their_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    main(shlex.split("deviation small --phi -2 -1 --measure --rounds 1 --timings t.json"))
    assert "measured ms" in capsys.readouterr().out
    timings = Timings.read(tmp_path / "t.json")
    assert [network.name for network in timings.networks] == [
        "small",
        "small phi -2",
        "small phi -1",
    ]
    assert all(network.latency_ms > 0 for network in timings.networks)
    main(shlex.split("deviation small --phi -2 --timings t.json --json"))
    [row] = json.loads(capsys.readouterr().out)["networks"]
    assert row["measured_ms"] == timings.by_name["small phi -2"]


# The page


def test_the_function_gives_what_the_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    report = phiscale.deviation("small", phi=1)
    main(["deviation", "small", "--phi", "1"])
    assert f"{report}\n" == capsys.readouterr().out
    main(["deviation", "small", "--phi", "1", "--json", "--html", str(tmp_path / "page.html")])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report.to_dict()))
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert "Made by `phiscale.deviation('small', phi=1)`" in report.to_markdown()
    [row] = phiscale.deviation(phiscale.get_spec("small"), phi=[1]).rows
    assert row == report.rows[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds=0 is out of range"),
        ({"coefficients": "found.json"}, "`coefficients` scale one network"),
        ({"networks": "small", "phi": 1e9}, "phi=1000000000.0 is out of range"),
        ({"networks": "small", "phi": 100}, r"phi=100 makes depth x8\.28e\+07"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        phiscale.deviation(**arguments)


def test_the_page_is_one_file_with_tables_figures_and_no_script(tmp_path: Path):
    timings = Timings(fingerprint=HERE, rounds=3, networks=timed())
    page = as_html(TITLE, "phiscale <b>", list_sections(list_rows(select_networks()), timings))
    assert page.count("<svg") == 3 and page.count("<table") == 3
    assert not re.search(r"<script|https?:|<img|<link", page)
    assert "phiscale &lt;b&gt;" in page and "a &lt;test&gt;" in page


def test_a_section_leaves_out_empty_columns_and_escapes_markup():
    part = Section(title="T", text=["<i>"], rows=[{"a": "x", "b": None}, {"a": "y", "b": None}])
    assert as_markdown("P", "c", [part]) == (
        "# P\n\nMade by `c`.\n\n## T\n\n<i>\n\n| a |\n|---|\n| x |\n| y |\n"
    )
    assert "&lt;i&gt;" in as_html("P", "c", [part])


def test_the_committed_page_is_what_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    page = (ROOT / "docs" / "flops.md").read_text(encoding="utf-8")
    command = re.findall(r"Made by `(phiscale deviation .*)`", page)[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", shlex.split(command))
    main(shlex.split(command)[1:])
    assert capsys.readouterr().out == page, f"run `{command} > docs/flops.md`"
