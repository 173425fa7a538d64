"""The progress of a training as a line of a terminal."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.cli.progress import clock, progress_line, shorten
from phiscale.training.callbacks import Progress

HALFWAY = Progress(
    images_seen=30_720,
    total=73_200,
    loss=0.69,
    images_per_s=923.0,
    validation_top1=0.983,
    raw_top1=0.98,
    learning_rate=0.05,
    wait_share=0.04,
    memory_bytes=1_700_000_000,
)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            120,
            "42% 30.7k/73.2k  923 img/s  loss 0.69  val 98.3%  ETA 0:46  lr 0.05  data wait 4%  "
            "1.7 GB",
        ),
        (80, "42% 30.7k/73.2k  923 img/s  loss 0.69  val 98.3%  ETA 0:46  data wait 4%  1.7 GB"),
        (60, "42% 30.7k/73.2k  923 img/s  loss 0.69  val 98.3%  ETA 0:46"),
        (40, "42% 30.7k/73.2k  val 98.3%  ETA 0:46"),
    ],
)
def test_what_matters_least_is_left_out_where_columns_are_few(columns: int, line: str):
    assert progress_line(HALFWAY, columns) == line


def test_an_evaluation_before_the_first_step_has_no_loss_and_no_end():
    start = replace(HALFWAY, images_seen=0, loss=math.nan, learning_rate=math.nan, images_per_s=0.0)
    assert progress_line(start, 60) == "0% 0/73.2k  val 98.3%  data wait 4%  1.7 GB"


def test_the_last_validation_stays_in_the_line():
    step = replace(HALFWAY, validation_top1=None, raw_top1=None)
    assert "val" not in progress_line(step, 80)
    assert "val 91.0%" in progress_line(step, 80, 0.91)


@given(
    columns=st.integers(40, 200),
    seen=st.integers(0, 10**9),
    total=st.integers(1, 10**9),
    speed=st.floats(0, 1e6),
    loss=st.one_of(st.floats(0, 1e4), st.just(math.nan)),
)
def test_no_line_is_wider_than_the_terminal(
    columns: int, seen: int, total: int, speed: float, loss: float
):
    progress = replace(HALFWAY, images_seen=seen, total=total, images_per_s=speed, loss=loss)
    assert 0 < len(progress_line(progress, columns)) <= columns


def test_counts_have_three_digits_and_times_minutes():
    assert [shorten(n) for n in (512, 9_994, 30_720, 999_999, 1_281_167)] == [
        "512",
        "9.99k",
        "30.7k",
        "1000k",
        "1.28M",
    ]
    assert [clock(s) for s in (46, 725, 3723)] == ["0:46", "12:05", "1:02:03"]
