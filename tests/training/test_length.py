"""A training keeps its time limit: its length is checked, changed and written down."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families import get_spec
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.training import loop
from phiscale.training.callbacks import Progress
from phiscale.training.length import Change, Pace, TrainingLength, images_in_all
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.recipes.recipe import Growth, Recipe
from phiscale.training.runtime import Runtime
from phiscale.weights.store import read

RECIPE = Recipe(epochs=10, batch=10, evaluations=5)  # of 100 images: 1,000 in all


def length(run: Path, limit_s: float | None = 100.0, recipe: Recipe = RECIPE) -> TrainingLength:
    return TrainingLength(run, recipe, 100, 32, limit_s)


def pace(seconds: float, images_per_s: float, steps: int = 10) -> Pace:
    return Pace(seconds=seconds, images_per_s=images_per_s, steps=steps, evaluation_s=0.0)


@pytest.mark.parametrize(
    ("seen", "speed", "total"),
    [
        (20, 10.0, None),  # as planned
        (20, 9.5, None),  # a little slow
        (20, 5.0, 510),  # half as fast: 98 s for 490 images
        (20, 20.0, 1980),  # twice as fast, seen at once
        (500, 20.0, None),  # later on a training is only shortened
        (500, 5.0, 750),
    ],
)
def test_the_length_follows_the_speed(tmp_path: Path, seen: int, speed: float, total: int | None):
    plan = length(tmp_path)
    assert plan.check(seen, pace(seen / 10, speed)) == total
    assert images_in_all(tmp_path, plan.planned) == (total or 1000)


def test_without_a_limit_or_a_measured_speed_nothing_changes(tmp_path: Path):
    assert length(tmp_path, limit_s=None).check(20, pace(2, 1.0)) is None
    assert length(tmp_path).check(20, pace(2, 1.0, steps=3)) is None
    assert not list(tmp_path.iterdir())


def test_a_limit_that_is_over_ends_the_training_with_the_next_step(tmp_path: Path):
    assert length(tmp_path).check(500, pace(120, 10.0)) == 510


def test_later_images_that_are_larger_count_for_more(tmp_path: Path):
    growing = replace(RECIPE, growth=Growth(first_size=0.5, until=1.0))
    plan = length(tmp_path, recipe=growing)
    changed = plan.check(20, pace(2, 10.0))
    assert changed is not None and changed < 1000


def test_what_was_written_down_holds_after_a_stop(tmp_path: Path):
    first = length(tmp_path)
    assert first.check(20, pace(2, 5.0)) == 510
    again = length(tmp_path)
    assert again.changes == [Change(images_seen=20, total=510)]
    assert again.total_at(10) == 1000 and again.total_at(20) == again.total_at(300) == 510
    assert again.check(20, pace(2, 10.0)) == 510  # whatever the speed is now


@given(st.lists(st.floats(0.2, 5), min_size=11, max_size=11))
def test_a_training_of_changing_speed_ends_near_its_limit(
    tmp_path_factory: pytest.TempPathFactory, speeds: list[float]
):
    """Speeds between a fifth and five times the planned one; steps after a check are as fast."""
    plan = length(tmp_path_factory.mktemp("run"))
    images, seconds, total, speed = 0, 0.0, plan.planned, 10.0 * speeds[0]
    following = iter(speeds)
    while images < total:
        images += 10
        seconds += 10 / speed
        if images in plan.checks:
            total = plan.check(images, pace(seconds, speed)) or total
            changed_speed = next(following, speeds[-1]) * 10.0
            last, speed = speed, changed_speed
            slowest_part = 0.1 * 1000 / min(last, changed_speed)
    assert seconds <= 100 * 1.1 + slowest_part


def test_a_training_that_is_slower_than_planned_is_shortened_and_resumes_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
):
    """The speed is made up; a stop before and one after the change end with the same weights."""
    digits = open_dataset("digits")
    spec = replace(get_spec("small"), resolution=8, classes=10)
    recipe = Recipe(epochs=1, batch=64, evaluations=2)
    slow = Pace(seconds=1.0, images_per_s=64.0, steps=10, evaluation_s=0.0)
    monkeypatch.setattr(loop.Meter, "pace", lambda *_: slow)

    def run(name: str, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        def stop(progress: Progress) -> None:
            if progress.images_seen == stop_at:
                raise KeyboardInterrupt

        callbacks = [stop] if stop_at else []
        runtime = Runtime(limit_s=11.0, save_every_s=0, callbacks=callbacks)
        train(tmp_path / name, spec, digits, recipe, Preprocessing(size=8), runtime)
        return read(tmp_path / name / "best.safetensors")[1]

    whole = run("whole")
    records = [record["images_seen"] for record in read_log(tmp_path / "whole")]
    assert max(records) == images_in_all(tmp_path / "whole", 1408) < 1000
    for stop_at in (64, 256):
        with pytest.raises(KeyboardInterrupt):
            run("cut", stop_at)
    cut = run("cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
