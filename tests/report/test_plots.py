"""The report's figures: small, the same every time, and true to their numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from phiscale.report.confusion import confusion, shortened, worst_pairs
from phiscale.report.plots import curves, pareto

MOST_BYTES = 150_000
TEN = [f"class {i}" for i in range(10)]


def log(total: int = 50_000, batch: int = 64) -> list[dict]:
    """A training of many steps with ten evaluations; the best is the eighth."""
    steps = [
        {"images_seen": seen, "loss": 0.4 + 2 / (1 + seen / 4000), "lr": 0.1, "images_per_s": 900.0}
        for seen in range(batch, total + 1, batch)
    ]
    tops = [0.31, 0.52, 0.6, 0.66, 0.7, 0.74, 0.77, 0.812, 0.8, 0.805]
    checks = [
        {
            "images_seen": total * (i + 1) // 10,
            "validation_top1": top,
            "validation_cross_entropy": 2 - top,
        }
        for i, top in enumerate(tops)
    ]
    return sorted(steps + checks, key=lambda record: record["images_seen"])


def networks(count: int = 12) -> list[dict]:
    return [
        {
            "no": i + 1,
            "name": f"net {i}",
            "macs": 10**6 * 2**i,
            "latency_ms": 0.1 * 1.5**i,
            "predicted_error": 0.1 + 0.2 / (i + 1),
            "excluded_by": "latency" if i > 7 else None,
        }
        for i in range(count)
    ]


def counts(classes: int, every: int = 3) -> list[list[int]]:
    """Dense enough to be the worst case for the size of the figure."""
    return (np.eye(classes, dtype=int) * 50 + every).tolist()


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("text")]


def every_kind() -> dict[str, str]:
    loss, top1 = curves(log(), 50_000, 5000)
    drawn = confusion(counts(10), TEN)
    assert drawn is not None
    return {
        "loss": loss,
        "top1": top1,
        "confusion": drawn,
        "pareto": pareto(networks(), "net 4", {"latency_ms": 1.5}, sd=0.01),
    }


@pytest.mark.parametrize("kind", ["loss", "top1", "pareto", "confusion"])
def test_a_figure_is_one_small_svg_without_links_scripts_or_pixels(kind: str):
    svg = every_kind()[kind]
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.get("role") == "img" and root.get("aria-label")
    assert len(svg) < MOST_BYTES / 3
    assert not re.search(r"https?:|<script|<image|<style|<metadata|@import|xmlns", svg)
    assert all(value.startswith("#") for value in re.findall(r'href="([^"]*)"', svg))


def test_the_same_numbers_give_the_same_figures():
    assert every_kind() == every_kind()


def test_ids_do_not_clash_in_one_page_and_every_reference_has_its_id():
    figures = every_kind().values()
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in figures]
    assert sum(map(len, ids)) == len(set().union(*ids))
    for svg, own_ids in zip(figures, ids, strict=True):
        assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg)) == own_ids


def test_curves_mark_the_selected_checkpoint_and_count_epochs():
    loss, top1 = curves(log(), 50_000, 5000)
    assert "kept: 81.2 %" in words(top1)
    assert {"images seen", "epochs", "40 k", "10"} <= set(words(top1))
    assert {"training, smoothed", "validation", "images seen"} <= set(words(loss))
    assert "epochs" not in words(curves(log(), 50_000)[0])


def test_a_curve_without_a_number_is_left_out():
    steps = [record for record in log() if "loss" in record]
    assert len(curves(steps, 50_000)) == 1
    assert curves([], 50_000) == ()
    assert curves([{"images_seen": 64, "loss": float("nan")}], 50_000) == ()
    assert len(curves([{"images_seen": 64, "loss": 2.3}], 64)) == 1


def test_a_long_log_gives_no_larger_figure_than_a_short_one():
    assert len(curves(log(3_000_000), 3_000_000)[0]) < 20_000


def test_pareto_says_what_its_marks_mean_and_numbers_them_as_the_table_does():
    texts = words(pareto(networks(), "net 4", {"latency_ms": 1.5}, sd=0.01))
    assert {"selected", "within the limits", "excluded", "your limit"} <= set(texts)
    assert {"1", "5", "12", "latency of one image, ms", "predicted error, %"} <= set(texts)
    plain = words(pareto(networks(4), "net 1"))
    assert not {"ruled out", "your limit", "statistically tied (law)"} & set(plain)


def test_pareto_counts_macs_where_a_latency_is_not_known():
    rows = networks()
    rows[3]["latency_ms"] = None
    texts = words(pareto(rows, "net 4", {"latency_ms": 1.5, "macs": 3e8}))
    assert "MACs of one image" in texts and "your limit" in texts
    assert any(text.endswith(" M") for text in texts)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_pareto_figure_can_be_drawn_of_few_networks_or_none(rows: int):
    assert pareto(networks(rows), "net 0").startswith("<svg")


@pytest.mark.parametrize("classes", [2, 3, 10, 21, 40])
def test_a_confusion_matrix_can_be_drawn_up_to_40_classes(classes: int):
    names = [f"class {i}" for i in range(classes)]
    svg = confusion(counts(classes), names)
    assert svg is not None and len(svg) < MOST_BYTES
    assert words(svg).count(names[-1]) == 2


def test_above_40_classes_and_below_2_there_is_no_matrix():
    assert confusion(counts(41), [f"c{i}" for i in range(41)]) is None
    assert confusion([[9]], ["only one"]) is None


def test_a_confusion_matrix_shows_per_cent_of_each_true_class():
    svg = confusion([[90, 10], [0, 40]], ["cat", "dog"])
    assert svg is not None
    assert sorted(words(svg)) == sorted(["cat", "cat", "dog", "dog", "90", "10", "100"])


def test_a_class_without_images_has_an_empty_row():
    svg = confusion([[5, 0], [0, 0]], ["cat", "dog"])
    assert svg is not None and "nan" not in svg
    assert "100" in words(svg)


def test_names_of_any_alphabet_or_markup_stand_in_a_matrix_as_they_are():
    names = ["<b>&", "$x^2$", "犬と猫", "حذاء", "tab\there", 'say "id="x"']
    svg = confusion(counts(6), names)
    assert svg is not None
    assert {"<b>&", "$x^2$", "犬と猫", "حذاء", "tab\\there", 'say "id="x"'} <= set(words(svg))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("dress", "dress"),
        ("a long name, which ends in blue", "a long name,…blue"),
        ("犬と猫の写真とても長い名前", "犬と猫の写真…名前"),
    ],
)
def test_long_names_are_cut_in_the_middle(name: str, short: str):
    assert shortened(name, 18) == short
    assert len(short) <= 18


def test_worst_pairs_are_the_most_frequent_confusions_first():
    matrix = [[8, 2, 0], [0, 9, 0], [5, 1, 4]]
    assert worst_pairs(matrix, ["a", "b", "c"], 2) == [
        {"truth": "c", "predicted": "a", "images": 5, "share": 0.5},
        {"truth": "a", "predicted": "b", "images": 2, "share": 0.2},
    ]
    assert worst_pairs([[3, 0], [0, 4]], ["a", "b"]) == []
