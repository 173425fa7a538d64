"""Whether one learning rate serves the scalings of a network: trainings, a parabola, a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families import get_spec
from phiscale.cli import main
from phiscale.files import read_json
from phiscale.search.rates import Net, compare_rates, report
from phiscale.training.recipes.sizing import RecipeScaling
from phiscale.training.recipes.table import RECIPE_ENTRIES, RecipeEntry
from phiscale.training.runtime import Runtime


def net(best: float, width: float = 1.0, rule: float = 0.1, steps: int = 2) -> Net:
    """One whose errors are a parabola around `best`."""
    errors = {s: 0.2 + 0.01 * (s - best) ** 2 for s in range(-steps, steps + 1)}
    return Net(depth=1.0, width=width, rule=rule, errors=errors)


@given(st.floats(-1.4, 1.4))
def test_the_best_rate_lies_at_the_bottom_of_the_parabola(best: float):
    assert net(best).best == pytest.approx(best, abs=1e-6)


def test_a_best_rate_at_the_end_of_the_grid_is_said_to_be_perhaps_beyond_it():
    assert net(3.0).best == 2.0
    assert "use steps=3" in report([net(0.0), net(3.0, width=2)], "")[-1]


def test_drift_is_of_the_rate_and_the_verdict_of_the_rule():
    """A rule that halves the rate of a wider network, whose best rate is a quarter: drift of two
    steps, one of which the rule foresees."""
    lines = report([net(0.0), net(-1.0, width=2.0, rule=0.05)], "command")
    row = next(line for line in lines if "width x2" in line)
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["-1.00", "-2.00"]
    assert lines[-1].startswith("The rule holds") and "1.00 steps" in lines[-1]
    assert report([net(0.0), net(-1.2, width=2.0)], "")[-1].startswith("The rule does not hold")
    both = report([net(2.0), net(2.0, width=2.0)], "")  # alike, but not what the rule says
    assert both[-2].startswith("The rule does not hold") and "steps=3" in both[-1]


def test_two_widths_at_three_rates_go_on_where_they_were(tmp_path: Path):
    """Trained for real, on the rates of a rule that halves with each doubling of the size."""
    spec = replace(get_spec("small"), resolution=8)
    named = RECIPE_ENTRIES["characters"]
    scaling = RecipeScaling(base=replace(spec, classes=10), images=1438, log2_rate=-1.0)
    named = RecipeEntry(recipe=named.recipe, source=named.source, scaling=scaling)
    recipe = replace(named.recipe, epochs=0.4, evaluations=1)

    def compared() -> list[Net]:
        return compare_rates(
            spec,
            "digits",
            tmp_path / "out",
            recipe,
            Runtime(),
            named=named,
            depths=(0.5,),
            widths=(0.5, 1.0),
            steps=1,
            device="cpu",
            command="rates ...",
        )

    one, two = compared()
    assert two.rule < one.rule / 2 and set(one.errors) == {-1, 0, 1}
    trained = read_json(tmp_path / "out" / "depth0.5-width1-rate2" / "recipe.json")
    assert trained["optim"]["lr_peak"] == pytest.approx(2 * two.rule)
    said = read_json(tmp_path / "out" / "rates.json")["networks"]
    assert [row["width"] for row in said] == [0.5, 1.0]
    assert "Does the learning rate transfer?" in (tmp_path / "out" / "rates.md").read_text()
    assert compared() == [one, two]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rates nope --model small --data digits --out r", "unknown recipe 'nope'"),
        ("rates characters --model small --data digits --out r --steps 0", "--steps 0"),
        ("rates characters --model small --data digits --out r --widths 0", "--widths needs"),
    ],
)
def test_a_mistake_is_one_line(
    words: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
