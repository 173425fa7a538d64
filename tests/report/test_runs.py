"""`runs` compares runs, finished or not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.cli import main
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError
from phiscale.report.runs import read_runs, rows_of, write_page
from phiscale.training.loop import train
from phiscale.training.recipes.table import RECIPES
from phiscale.training.runtime import Runtime
from support.browser import layout_problems

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    for name, rate in (("slow", 0.01), ("<fast>", 0.1)):
        recipe = replace(RECIPES["characters"], epochs=0.3, evaluations=2)
        recipe = replace(recipe, optim=replace(recipe.optim, lr_peak=rate))
        train(
            home / name,
            SPEC,
            open_dataset("digits"),
            recipe,
            Preprocessing(size=8, crop=1.0),
            Runtime(),
        )
    return home


def test_a_folder_of_runs_is_a_row_for_each(two: Path, capsys: pytest.CaptureFixture[str]):
    main(["runs", str(two), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == ["<fast>", "slow"]
    for row in rows:
        assert row["done"] == "100 %" and row["left_s"] is None and row["network"]
        assert 0 <= row["top1"] <= 1 and 0 <= row["raw_top1"] <= 1 and row["images"] == 448
        assert row["images_per_s"] > 0 and 0 <= row["wait_share"] <= 1 and row["memory_bytes"] > 1e7
    main(["runs", str(two / "slow"), str(two / "<fast>")])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "run",
        "slow",
        "<fast>",
    ]


def test_a_recipe_field_that_differs_is_a_column(two: Path):
    fast, slow = rows_of(read_runs([two]))
    assert (fast["optim.lr_peak"], slow["optim.lr_peak"]) == (0.1, 0.01)
    assert "batch" not in fast and "optim.lr_peak" not in rows_of(read_runs([two / "slow"]))[0]


def test_an_unfinished_run_shows_how_much_is_left(two: Path):
    (run,) = read_runs([two / "slow"])
    half = replace(run, log=run.log[: len(run.log) // 2])
    row = half.row()
    assert row["done"] not in ("0 %", "100 %") and row["left_s"] is not None
    assert replace(run, log=()).row()["top1"] is None


def test_the_page_has_every_curve_and_escapes_names(two: Path, tmp_path: Path):
    write_page(tmp_path / "runs.html", read_runs([two]))
    page = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4 and "&lt;fast&gt;" in page and "<fast>" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_nothing_on_the_page_is_too_wide_or_overlaps(two: Path, tmp_path: Path):
    write_page(tmp_path / "runs.html", read_runs([two]))
    assert layout_problems(tmp_path / "runs.html") == []


def test_runs_of_the_same_name_are_shown_with_their_paths(two: Path, tmp_path: Path):
    (tmp_path / "slow").symlink_to(two / "slow")
    assert [run.name for run in read_runs([two / "slow", tmp_path / "slow"])] == [
        str(two / "slow"),
        str(tmp_path / "slow"),
    ]


def test_a_run_that_has_only_just_begun_is_left_out(two: Path, tmp_path: Path):
    (tmp_path / "done").symlink_to(two / "slow")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "recipe.json").write_text("{}")
    assert [run.name for run in read_runs([tmp_path])] == ["done"]
    with pytest.raises(PhiscaleError, match="no training has begun there yet"):
        read_runs([tmp_path / "new"])


def test_a_folder_without_runs_is_one_line(tmp_path: Path):
    with pytest.raises(PhiscaleError, match="is no run and holds none"):
        read_runs([tmp_path])
