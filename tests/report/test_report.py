"""The page of a `fit`, for ordinary runs and odd ones."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.nn.cam import overlay
from phiscale.report.numbers import (
    amount,
    duration,
    milliseconds,
    percent,
    quantity,
    size,
)
from phiscale.report.report import render, write_report
from phiscale.report.report_data import (
    BudgetRow,
    CandidateRow,
    FileRow,
    ReportData,
    Sample,
    Snippet,
    layer_rows,
)
from phiscale.training.metrics import measure
from support.browser import layout_problems

EVIL = "<script>alert('x')</script>"
ODD = (
    EVIL,
    '"><img src=x onerror=alert(1)>',
    "حذاء رياضي",
    "犬と猫の写真",
    "$x^2$ & <b>bold</b>",
    "a" * 200,
    "many words " * 20,
    "line\nbreak\x1b[2J\u202e",
    "{{ report.command }}",
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


def metrics(classes: tuple[str, ...], images: int = 400, *, right: float = 0.8) -> dict:
    random = np.random.default_rng(0)
    labels = random.integers(len(classes), size=images)
    predicted = np.where(random.random(images) < right, labels, (labels + 1) % len(classes))
    logits = random.normal(size=(images, len(classes)))
    logits[np.arange(images), predicted] += 9
    return measure(logits, labels, classes).to_dict()


def samples(classes: tuple[str, ...], side: int, right: int, wrong: int) -> tuple[Sample, ...]:
    random = np.random.default_rng(0)
    drawn_samples = []
    for i in range(right + wrong):
        # smooth, as photographs are: noise would not compress
        low = random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        image = low.repeat(8, 0).repeat(8, 1)
        predicted = classes[i % len(classes)] if i < right else classes[(i + 1) % len(classes)]
        drawn_samples.append(
            Sample(
                image=image,
                cam_overlay=overlay(image, random.random((4, 4))),
                truth=classes[i % len(classes)],
                predicted=predicted,
                probability=0.876,
                right=i < right,
                key=f"test/{i}.jpg",
            )
        )
    return tuple(drawn_samples)


def audit(classes: tuple[str, ...], **changed) -> dict:
    spread = {"minimum": 28.0, "median": 32.0, "maximum": 640.0}
    return {
        "source": "pets",
        "classes": classes,
        "notes": ("split by content",),
        "bad": (),
        "counts": {
            "train": (80,) * len(classes),
            "validation": (10,) * len(classes),
            "test": (10,) * len(classes),
        },
        "shorter_side": spread,
        "aspect": {**spread, "minimum": 1.0},
        "modes": {"JPEG RGB": 900},
        "duplicates": (),
        "imbalance": 1.0,
        "advice": ("Add some.",),
        **changed,
    }


def candidate(name: str, error: float, **changed) -> CandidateRow:
    return CandidateRow(
        **{
            "name": name,
            "depth": 1.2,
            "width": 1.1,
            "pixels": 32,
            "params": 5_288_548,
            "macs": 385_000_000,
            "latency_ms": 0.41,
            "images_per_s": 1234.0,
            "epochs": 30.0,
            "predicted_error": error,
            **changed,
        }
    )


def report_data(classes: tuple[str, ...] = ("cat", "dog"), side: int = 32, **changed) -> ReportData:
    """A whole run; its network's numbers are those of `small`."""
    limits = (
        BudgetRow(limit="latency_ms", asked=0.5, predicted=0.38, measured=0.412, met=True),
        BudgetRow(limit="weight_bytes", asked=2e6, predicted=1.2e6, measured=1.3e6, met=True),
        BudgetRow(limit="train_minutes", asked=30, predicted=28, measured=26.5, met=True),
        BudgetRow(limit="macs", predicted=3.3e6, measured=3.3e6),
    )
    values = {
        "title": "pets",
        "source": "data/pets",
        "model": "chosen one",
        "seed": 7,
        "date": "2025-01-31",
        "command": "phiscale fit data/pets --latency-ms 0.5",
        "metrics": metrics(classes),
        "validation_top1": 0.873,
        "latency_ms": 0.412,
        "model_bytes": 1_304_000,
        "train_s": 1590.0,
        "budget": limits,
        "why": "The least predicted error of 812 networks.",
        "candidates": (
            candidate("second", 0.15),
            candidate("chosen one", 0.123, chosen=True),
            candidate("too slow", 0.1, excluded_by="latency_ms 0.9 > 0.5"),
            candidate("tiny", 1.7),
        ),
        "pareto": (candidate("second", 0.15), candidate("third", 0.17, latency_ms=0.2)),
        "law_sd": 0.012,
        "short_runs": (
            {
                "name": "chosen one",
                "validation_error": 0.31,
                "predicted_short": 0.3,
                "predicted": 0.123,
                "corrected": 0.133,
            },
        ),
        "log": (
            {"images_seen": 64, "loss": 2.3, "lr": 0.1, "images_per_s": 900.0},
            {"images_seen": 128, "loss": 1.3, "lr": 0.1, "images_per_s": 900.0},
            {"images_seen": 128, "validation_top1": 0.873, "validation_cross_entropy": 0.5},
        ),
        "planned_images": 128,
        "audit": audit(classes),
        "samples": samples(classes, side, 3, 3),
        "layers": layer_rows(get_spec("small")),
        "parity": {
            "images": 256,
            "largest_difference": 4e-6,
            "relative_difference": 1e-7,
            "same_top1": 1.0,
        },
        "files": (FileRow("model.onnx", 1_304_000, "the model"),),
        "usage": (Snippet("Command line", "phiscale predict out photo.jpg"),),
        "environment": {"cpu": "one of them", "threads": 2},
        "notes": ("The law is a prior.",),
    }
    return ReportData(**{**values, **changed})


class Page(HTMLParser):
    """Text, tags and addresses of a page; fails where tags do not nest."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def plain(self) -> str:
        return " ".join(self.text.replace("\N{NO-BREAK SPACE}", " ").split())


HUNDRED = tuple(f"class {i:03}" for i in range(100))
DIGITS = tuple("0123456789")
REPORTS = {
    "ordinary": report_data(),
    "ten classes, photos": report_data(DIGITS, 256, samples=samples(DIGITS, 256, 12, 12)),
    "odd names": report_data(ODD, title=EVIL, source=EVIL, command=EVIL, why=EVIL, notes=ODD),
    "a hundred classes": report_data(HUNDRED, metrics=metrics(HUNDRED, 4000)),
    "digits of 8 px, all right": report_data(
        DIGITS, metrics=metrics(DIGITS, right=1.0), samples=samples(DIGITS, 8, 9, 0)
    ),
    "no budget": report_data(budget=()),
    "nothing but what must be": ReportData(
        title="t",
        source="s",
        model="m",
        command="c",
        date="d",
        seed=0,
        why="w",
        metrics=metrics(("a", "b")),
        audit=audit(("a", "b"), shorter_side=None, aspect=None, modes={}),
    ),
}
PAGES = {kind: render(each) for kind, each in REPORTS.items()}
each_report = pytest.mark.parametrize("kind", REPORTS)


@each_report
def test_the_page_is_well_formed_and_every_id_is_used_once(kind: str):
    page = Page(PAGES[kind])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert links and links <= {f"#{each}" for each in ids}


@each_report
def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(kind: str):
    page = Page(PAGES[kind])
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "link", "object", "embed"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:image/")), (tag, address[:40])
    styles = re.sub(r"url\(#[\w-]+\)", "", PAGES[kind])
    assert not re.search(r"https?:|url\(|@import", styles)


@each_report
def test_nothing_is_wider_than_the_page_or_overlaps(kind: str, tmp_path: Path):
    (tmp_path / "report.html").write_text(PAGES[kind], encoding="utf-8")
    assert layout_problems(tmp_path / "report.html") == []


@each_report
def test_the_page_is_small(kind: str):
    assert len(PAGES[kind].encode()) < 2_500_000


@each_report
def test_the_verdict_comes_first_and_holds_the_interval_and_the_baseline(kind: str):
    text, expected = Page(PAGES[kind]).plain, REPORTS[kind].metrics
    low, high = expected["interval"]
    for number in (
        percent(expected["top1"]),
        f"[{100 * low:.1f}, {100 * high:.1f}]",
        percent(expected["majority"]),
    ):
        place = text.find(number.replace("\N{NO-BREAK SPACE}", " "))
        assert 0 <= place < text.index("Budget: requested and measured")


def test_markup_in_names_is_shown_and_never_obeyed():
    page = Page(PAGES["odd names"])
    assert page.text.count(EVIL) >= 8
    assert "<script" not in PAGES["odd names"]
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in Page(PAGES["ordinary"]).tags}
    assert "{{ report.command }}" in page.text
    assert "line\\nbreak\\x1b[2J\\u202e" in page.text


def test_undecodable_names_do_not_stop_the_page(tmp_path: Path):
    write_report(
        tmp_path / "report.html", report_data(command="phiscale fit \udcff", source="\udcff")
    )
    assert "\\udcff" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_numbers_stand_with_their_units():
    text = Page(PAGES["ordinary"]).plain
    for passage in (
        "0.412 ms within the 0.500 ms allowed",
        "1.30 MB within the 2 MB allowed",
        "26.5 min within the 30 min allowed",
        "5.29 M",
        "385 M",
        "Within all 3 limits that you set.",
        "Validation accuracy, by which the checkpoint was selected: 87.3 %.",
        "MACs of one image no limit",
        "Top-1 error: 12.3 % predicted (from other trainings, not from these images)",
        "256 images: the same class for 100 %",
        "seed 7",
        "phiscale predict out photo.jpg",
        "latency_ms 0.9 > 0.5",
        "over 100",
        "probability 88 %",
        "The law is a prior.",
        "Add some.",
        "threads 2",
    ):
        assert passage in text, passage


def test_sections_stand_in_the_order_of_a_reader():
    page = Page(PAGES["ordinary"])
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == [
        "budget",
        "choice",
        "training",
        "classes",
        "samples",
        "data",
        "cost",
        "use",
        "notes",
    ]


def test_a_limit_that_was_exceeded_is_shown_at_the_top():
    over = (BudgetRow(limit="latency_ms", asked=0.3, predicted=0.29, measured=0.412, met=False),)
    text = Page(render(report_data(budget=over))).plain
    assert "Over the limit: latency of one image (0.412 ms, allowed 0.300 ms)." in text
    assert "✗ no" in text and "limits that you set" not in text


def test_a_network_that_learnt_nothing_is_called_so():
    text = Page(render(report_data(metrics=metrics(("cat", "dog"), 60, right=0.5)))).plain
    assert "Not significantly better than always predicting the largest class" in text
    assert "Not significantly better" not in Page(PAGES["ordinary"]).plain


def test_without_a_budget_the_page_says_so():
    assert "No limit was set" in Page(PAGES["no budget"]).plain


def test_a_perfect_result_shows_no_mistakes():
    text = Page(PAGES["digits of 8 px, all right"]).plain
    assert "Every test image was classified correctly." in text
    assert "Most frequent confusions" not in text and "✗ predicted" not in text


def test_many_classes_show_the_hardest_and_fold_the_rest():
    page = Page(PAGES["a hundred classes"])
    assert "The ten classes with the lowest recall" in page.plain
    assert "All 100 classes" in page.plain
    assert "Confusion matrix" not in page.plain
    assert "Most frequent confusions" in page.plain


def test_bad_files_and_duplicates_are_named_but_not_by_the_thousand():
    bad = [{"split": "train", "key": f"{EVIL}{i}.jpg", "reason": "cut off"} for i in range(5000)]
    duplicates = [
        [{"split": s, "key": f"{s}.jpg", "class_name": "cat"} for s in ("train", "test")]
    ] * 900
    html = render(report_data(audit=audit(("cat", "dog"), bad=bad, duplicates=duplicates)))
    text = Page(html).plain
    assert "5,000 files cannot be read." in text and "and 4800 more" in text
    assert "900 images more than once" in text and "and 800 more" in text
    assert len(html) < 500_000


def test_small_images_keep_their_pixels():
    html = PAGES["digits of 8 px, all right"]
    assert html.count("data:image/png;base64,") == 18 and 'class="small"' in html
    assert "data:image/jpeg" not in html
    assert PAGES["ten classes, photos"].count("data:image/jpeg;base64,") == 48


def test_layer_rows_add_up_to_the_cost():
    for name in ("small", "efficientnet_b0", "resnet50"):
        counted, rows = cost(get_spec(name)), layer_rows(get_spec(name))
        assert sum(row.params for row in rows) == counted.params
        assert sum(row.macs for row in rows) == counted.macs
        assert [r.path for row in rows for r in row.layers] == [r.path for r in counted.layers]
    assert [row.path for row in rows][:2] == ["stem", "stages.0"]


def test_a_row_of_choice_json_is_a_row_of_the_table():
    row = {
        "name": "n",
        "depth_x": 1.0,
        "width_x": 1.1,
        "resolution_x": 1.0,
        "pixels": 32,
        "predicted_error": 0.2,
        "macs": 10,
        "params": 5,
        "weight_bytes": 20,
        "latency_ms": None,
        "epochs": None,
        "train_images_per_s": 9.5,
        "images_seen": None,
        "pretrained": None,
        "excluded_by": None,
    }
    made = CandidateRow.of(row, chosen=True)
    assert (made.predicted_error, made.images_per_s, made.chosen) == (0.2, 9.5, True)
    assert "9.50" in Page(render(report_data(candidates=(made,)))).plain


@pytest.mark.parametrize(
    ("formatted", "text"),
    [
        (amount(812), "812"),
        (amount(5_288_548), "5.29 M"),
        (amount(999_600), "1.00 M"),
        (amount(999.6), "1.00 k"),
        (amount(0), "0"),
        (size(21_154_192), "21.2 MB"),
        (size(64), "64 bytes"),
        (milliseconds(0.4123), "0.412 ms"),
        (milliseconds(123.4), "123 ms"),
        (percent(0.8612), "86.1 %"),
        (percent(1), "100 %"),
        (percent(0.99999), "> 99.9 %"),
        (percent(0.00001), "< 0.1 %"),
        (percent(0), "0 %"),
        (duration(9.2), "9.20 s"),
        (duration(44.6), "45 s"),
        (duration(859), "14.3 min"),
        (duration(3600), "1 h"),
        (duration(3599), "1 h"),
        (duration(11_100), "3 h 05 min"),
        (quantity(None, "macs"), "–"),
        (quantity(0.5, "train_minutes"), "30 s"),
        (quantity(2e9, "train_memory_bytes"), "2 GB"),
    ],
)
def test_numbers_are_written_for_people(formatted: str, text: str):
    assert formatted.replace("\N{NO-BREAK SPACE}", " ") == text


def test_the_page_takes_the_place_of_an_older_one(tmp_path: Path):
    path = tmp_path / "report.html"
    write_report(path, report_data())
    write_report(path, replace(report_data(), title="newer"))
    assert "<title>newer</title>" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
