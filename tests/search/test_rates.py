"""One learning rate for the scalings of a network: trainings, the parabola, the report."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.families import get_spec
from phiscale.cli import main
from phiscale.files import read_json
from phiscale.search.rates import RateComparison, RateRequest, compare_rates, train_at_rates
from phiscale.search.rates_report import ScalingRates, rate_report
from phiscale.training.recipes.sizing import RecipeScaling
from phiscale.training.recipes.table import RECIPE_ENTRIES, RecipeEntry
from phiscale.training.runtime import Runtime


def net(best: float, width: float = 1.0, rule: float = 0.1, steps: int = 2) -> ScalingRates:
    """A scaling whose errors are a parabola around `best`."""
    errors = {s: 0.2 + 0.01 * (s - best) ** 2 for s in range(-steps, steps + 1)}
    return ScalingRates(depth=1.0, width=width, recipe_rate=rule, errors=errors)


@given(st.floats(-1.4, 1.4))
def test_the_best_rate_is_at_the_minimum_of_the_parabola(best: float):
    assert net(best).best_step == pytest.approx(best, abs=1e-6)


def test_the_report_says_where_the_best_rate_may_be_beyond_the_grid():
    assert net(3.0).best_step == 2.0
    assert "use steps=3" in rate_report([net(0.0), net(3.0, width=2)], "")[-1]


def test_drift_is_measured_in_rates_and_the_conclusion_in_steps_from_the_rule():
    """The rule halves the rate of a wider network, whose best rate is a quarter. The best rate
    drifts by two steps; the rule predicts one of them."""
    lines = rate_report([net(0.0), net(-1.0, width=2.0, rule=0.05)], "command")
    row = next(line for line in lines if "width x2" in line)
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["-1.00", "-2.00"]
    assert lines[-1].startswith("The rule holds") and "1.00 steps" in lines[-1]
    assert rate_report([net(0.0), net(-1.2, width=2.0)], "")[-1].startswith(
        "The rule does not hold"
    )
    both = rate_report([net(2.0), net(2.0, width=2.0)], "")  # equal, but not at the rule's rate
    assert both[-2].startswith("The rule does not hold") and "steps=3" in both[-1]


def test_two_widths_at_three_rates_resume(tmp_path: Path):
    """Real trainings, with a rule that halves the rate at each doubling of the size."""
    spec = replace(get_spec("small"), resolution=8)
    entry = RECIPE_ENTRIES["characters"]
    scaling = RecipeScaling(base=replace(spec, classes=10), images=1438, log2_rate=-1.0)
    entry = RecipeEntry(recipe=entry.recipe, source=entry.source, scaling=scaling)
    recipe = replace(entry.recipe, epochs=0.4, evaluations=1)

    request = RateRequest(
        spec=spec,
        data="digits",
        recipe=recipe,
        entry=entry,
        depths=(0.5,),
        widths=(0.5, 1.0),
        steps=1,
    )

    def compare() -> RateComparison:
        return train_at_rates(
            request, tmp_path / "out", Runtime(), device="cpu", command="rates ..."
        )

    first = compare()
    one, two = first.scalings
    assert two.recipe_rate < one.recipe_rate / 2 and set(one.errors) == {-1, 0, 1}
    trained = read_json(tmp_path / "out" / "depth0.5-width1-rate2" / "recipe.json")
    assert trained["optim"]["lr_peak"] == pytest.approx(2 * two.recipe_rate)
    rows = read_json(tmp_path / "out" / "rates.json")["networks"]
    assert [row["width"] for row in rows] == [0.5, 1.0]
    assert rows[0].keys() == {"depth", "width", "rule", "errors", "best"}
    assert "Does the learning rate transfer?" in (tmp_path / "out" / "rates.md").read_text()
    assert compare() == first


def test_the_public_function_compares_rates_by_a_named_recipe(tmp_path: Path):
    spec = replace(get_spec("small"), resolution=8)
    comparison = compare_rates(
        spec,
        "digits",
        tmp_path / "out",
        "characters",
        depths=(0.5,),
        widths=(0.5,),
        steps=1,
        epochs=0.4,
        device="cpu",
    )
    [scaling] = comparison.scalings
    assert set(scaling.errors) == {-1, 0, 1}
    assert comparison.report.read_text() == f"{comparison}\n"
    assert "phiscale.compare_rates(Spec(...), 'digits'" in str(comparison)
    assert "The rule" in comparison.lines()[-1] or "end of the grid" in comparison.lines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rates nope --model small --data digits --out r", "unknown recipe 'nope'"),
        ("rates characters --model small --data digits --out r --steps 0", "--steps 0"),
        ("rates characters --model small --data digits --out r --widths 0", "--widths needs"),
    ],
)
def test_a_mistake_is_one_line(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
