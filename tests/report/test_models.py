"""The table of models, the paper's claims counted again, the figure."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from phiscale.arch.families import MEMBERS
from phiscale.errors import UsageError
from phiscale.report import models, models_plot


def test_a_row_has_exact_costs_and_the_figure_with_its_source():
    (row,) = models.rows("efficientnet_b0")
    assert (row["params"], row["macs"], row["activations"]) == (5_288_548, 385_814_752, 6_748_036)
    assert (row["resolution"], row["target"], row["family"]) == (224, "mobile/edge", "efficientnet")
    assert row["top1"] == 0.771 and row["source"] == "arXiv:1905.11946v5, Table 2"
    assert row["weights_mib"] == pytest.approx(4 * 5_288_548 / 2**20)
    assert row["saved_mib"] == pytest.approx(84.3, abs=0.1)
    assert row["peak_mib"] == pytest.approx(5.7, abs=0.1)


def test_all_models_are_rows_and_a_pattern_selects_some():
    assert [row["name"] for row in models.rows()] == list(MEMBERS)
    assert [row["name"] for row in models.rows("efficientnet_lite?")] == [
        f"efficientnet_lite{size}" for size in range(5)
    ]


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UsageError, match=r"no model matches 'vgg\*'\. Quote a pattern"):
        models.rows("vgg*")


# Member, rival and quantity: what the paper prints, and what the counts give.
RATIOS = {
    ("efficientnet_b7", "GPipe", "params"): (8.4, 8.395),
    ("efficientnet_b7", "GPipe", "cpu latency"): (6.1, 6.129),
    ("efficientnet_b1", "ResNet-152", "cpu latency"): (5.7, 5.653),
    ("efficientnet_b1", "ResNet-152", "params"): (7.6, 7.723),
    ("efficientnet_b1", "ResNet-152", "macs"): (16, 16.764),
    ("efficientnet_b0", "ResNet-50", "params"): (4.9, 4.833),
    ("efficientnet_b0", "ResNet-50", "macs"): (11, 10.599),
    ("efficientnet_b3", "ResNeXt-101", "macs"): (18, 17.514),
    ("efficientnet_b4", "ResNet-50", "top1"): (0.067, 0.069),
    ("efficientnet_b0", "NASNet-A", "backbone params"): (21, 21.21),
}


@pytest.mark.parametrize("claim", RATIOS, ids="-".join)
def test_the_papers_claims_come_out_of_the_counts(claim: tuple[str, str, str]):
    rows = {(row["member"], row["rival"], row["quantity"]): row for row in models.ratios()}
    assert (rows[claim]["printed"], pytest.approx(rows[claim]["ratio"], abs=6e-4)) == RATIOS[claim]


def test_no_claim_is_further_than_six_per_cent_from_its_count():
    for row in models.ratios():
        assert row["ratio"] == pytest.approx(row["printed"], rel=0.06), row
        assert row["source"].startswith("arXiv:1905.11946v")


def test_a_ratio_says_whether_both_counts_are_exact():
    exact = {row["rival"] for row in models.ratios() if row["exact"]}
    assert exact == {"ResNet-152", "ResNet-50"}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (5_288_548, "5.29M"),
        (385_814_752, "386M"),
        (1_827_141_392, "1.83G"),
        (475.7e9, "476G"),
        (999_999_999, "1G"),
        (72_306, "72.3k"),
        (12, "12"),
        (1.7074e12, "1707G"),
    ],
)
def test_counts_are_short_and_have_the_units_of_the_command_line(count: float, text: str):
    assert models.short(count) == text


def test_the_markdown_table_has_a_line_for_each_model_and_as_many_cells_in_each():
    lines = models.markdown_table("efficientnet_b?").splitlines()
    assert len(lines) == 2 + 9
    assert {line.count("|") for line in lines} == {12}
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:6] == ["efficientnet_b0", "mobile/edge", "224", "5.29M", "386M", "6.75M"]
    weights = "ra_in1k, 224 px, crop 0.875 + 2"  # the default, and how many others
    assert cells[6:] == ["84.3", "5.74", "20.2", "77.1 %", weights]


def test_a_model_without_a_published_figure_leaves_its_cell_empty():
    assert models.markdown_table("small").splitlines()[-1].endswith("|  |")


@pytest.fixture(scope="module")
def figure():
    return models_plot.draw_models()


def test_the_figure_has_accuracy_against_size_and_against_compute(figure):
    size, compute = figure.axes
    assert (size.get_xlabel(), compute.get_xlabel()) == ("parameters", "MACs per image")
    assert size.get_xscale() == compute.get_xscale() == "log"
    for panel in (size, compute):
        labels = {text.get_text() for text in panel.texts}
        assert {"B0", "B7", "V2-L", "ResNet-50", "PNASNet"} <= labels
        assert panel.lines[0].get_label() == "EfficientNet B0 to B7"
        assert len(panel.lines[0].get_xdata()) == 8
    assert "GPipe" in {text.get_text() for text in size.texts}  # it states no MACs


def test_no_label_of_the_figure_covers_another_or_leaves_it(figure):
    for panel in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in panel.texts]
        boxes = [(label, box) for label, box in boxes if label]
        for (one, its), (other, others) in combinations(boxes, 2):
            assert not its.overlaps(others), (one, other)
        for label, box in boxes:
            assert panel.bbox.x0 <= box.x0 and box.x1 <= panel.bbox.x1, label


@pytest.mark.parametrize(("name", "starts"), [("models.png", b"\x89PNG"), ("models.svg", b"<?xml")])
def test_the_figure_is_written_in_the_format_of_its_name(
    name: str, starts: bytes, tmp_path: Path, figure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(models_plot, "draw_models", lambda: figure)
    models_plot.plot(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(starts) and len(content) > 20_000


def test_a_figure_of_another_format_is_refused_and_the_error_says_which_to_use(tmp_path: Path):
    with pytest.raises(UsageError, match=r"Let the name end in \.png or \.svg"):
        models_plot.plot(tmp_path / "models.pdf")
