"""How a network is selected: what competes, what measurements exclude, what short runs decide."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.errors import BudgetError, UsageError, WeightsError
from phiscale.pipeline.choice import missed_by_limits
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.request import pretrained_sources
from phiscale.pipeline.run import FitRuntime, prepare_fit, run_fit
from phiscale.planning.budget import Budget, PlanningTask, Pretraining, estimate, ray
from phiscale.planning.coefficients import Coefficients
from phiscale.training.recipes.recipe import Growth
from phiscale.weights.pretrained import pretrained_weights
from support.fits import BUDGET, fixed_measurements, made_up_device, made_up_law, request


def test_a_run_folder_competes_as_pretrained_and_counts_what_it_has_seen(
    fitted: Path, plan_files: Path, tmp_path: Path
):
    out = tmp_path / "again"
    arguments = request(plan_files, from_scratch=False, pretrained=(str(fitted),))
    run_fit(arguments, out, FitRuntime(measurements=fixed_measurements()))
    choice = json.loads((out / "choice.json").read_text())
    assert choice["pretrained"] == str(fitted / "best.safetensors")
    assert choice["name"] == fitted.name  # not "best", as all such files are called
    before = load_file(fitted / "best.safetensors")
    assert before.keys() == load_file(out / "best.safetensors").keys()


def test_auto_lets_the_best_known_weights_compete(
    fitted: Path, plan_files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fetched: list[str] = []

    def fetch(name: str) -> Path:
        fetched.append(name)
        if name.endswith("huge"):
            raise WeightsError("the hub cannot be reached")
        return fitted / "best.safetensors"

    one = replace(pretrained_weights()[0], member="small", tag="ours", pixels=32)
    three = (replace(one, tag="huge"), one, replace(one, member="efficientnet_b7", pixels=600))
    measurements = fixed_measurements(known_weights=lambda: three, fetch_weights=fetch)
    budget = replace(BUDGET, macs=1_000_000_000)
    arguments = request(plan_files, from_scratch=False, pretrained=("auto",), budget=budget)
    with caplog.at_level(logging.INFO):
        plan = prepare_fit(arguments, tmp_path / "auto", measurements)
    assert fetched == ["small.huge", "small.ours"]  # the third breaks the limits: not fetched
    refused = "known pretrained weights that cannot be fetched: the hub cannot be reached"
    assert refused in caplog.messages
    assert plan.choice.name == "small.ours"


def test_a_latency_that_no_measured_network_keeps_names_the_users_own_limit(
    plan_files: Path, tmp_path: Path
):
    measurements = fixed_measurements(latency_ms=lambda spec: 50.0)
    here = request(plan_files, device_model=None)
    with pytest.raises(
        BudgetError, match=r"within latency_ms=5; the last one took 50 ms\. Raise it to 55"
    ):
        prepare_fit(here, tmp_path / "slow", measurements)


def test_with_coefficients_two_budgets_give_two_networks_of_their_ray(
    plan_files: Path, tmp_path: Path
):
    coefficients = Coefficients.read(plan_files / "found.json")
    on_the_ray = [net.stages for net in ray(get_spec("small"), coefficients, native_pixels=8)]
    names: list[str] = []
    for macs in (200_000, 800_000):
        arguments = request(
            plan_files,
            law=None,
            coefficients=str(plan_files / "found.json"),
            budget=replace(BUDGET, macs=macs),
        )
        out = tmp_path / str(macs)
        choice = prepare_fit(arguments, out, fixed_measurements()).choice
        stored_request, stored_choice = (
            json.loads((out / name).read_text()) for name in ("request.json", "choice.json")
        )
        assert stored_request["coefficients"] == f"{plan_files}/found.json"
        assert stored_choice["coefficients"] == coefficients.to_dict()
        assert choice.law_source == "theirs"
        assert "ray of the coefficients 1.3^phi" in choice.why
        assert choice.name.startswith("phi ")
        assert Spec.from_dict(stored_choice["spec"]).stages in on_the_ray
        names.append(choice.name)
    assert len(set(names)) == 2


def test_short_runs_correct_the_laws_predictions(plan_files: Path, tmp_path: Path):
    """The finalist whose short run is far better than predicted wins."""

    def error_after(_request, _evidence, candidate, _epochs, run: Path) -> float:  # type: ignore
        return 0.01 if run.name == "1" else 0.5

    measurements = fixed_measurements(
        error_after=error_after, least_short_run_s=0.0, least_short_run_epochs=0.0
    )
    choice = prepare_fit(request(plan_files), tmp_path / "out", measurements).choice
    rows = choice.short_runs["rows"]
    assert choice.name == rows[1]["name"] and len(rows) >= 2
    assert all(
        row["corrected"] == row["predicted"] + row["validation_error"] - row["predicted_short"]
        for row in rows
    )
    assert re.search(r"short runs: .* 50\.0 %.* 1\.0 %.*Selected: ", choice.why)


def test_minutes_that_are_too_few_for_short_runs_are_reported(plan_files: Path, tmp_path: Path):
    choice = prepare_fit(request(plan_files), tmp_path / "out", fixed_measurements()).choice
    assert not choice.short_runs and "too few for short runs" in choice.why


def test_a_pretrained_network_that_only_lacks_time_is_named_beside_the_winner():
    spec = replace(get_spec("small"), classes=10)
    budget = Budget(train_minutes=1.0)
    task = PlanningTask(train_images=6000, native_pixels=32, batch=32, law_base=get_spec("small"))
    late = estimate(
        spec,
        budget,
        task=task,
        name="theirs",
        pretraining=Pretraining("w.safetensors", 10**9),
        images_per_s=10,
    )
    winner = estimate(spec, budget, task=task, name="ours", images_per_s=1000)
    assert late.excluded_by and not winner.excluded_by and late.error < winner.error
    text = missed_by_limits(winner, [late])
    assert "theirs has a predicted top-1 error of" in text
    assert "train_minutes" in text and text.endswith("or a training of fewer epochs.")
    assert missed_by_limits(late, [winner]) == "" and missed_by_limits(winner, []) == ""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"from_scratch": False}, r"`from_scratch=False` leaves no network"),
        ({"min_epochs": 0}, r"min_epochs=0 trains nothing"),
        ({"seed": -1}, r"seed=-1 is out of range"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    plan_files: Path, changes: dict[str, object], says: str
):
    with pytest.raises(UsageError, match=says):
        request(plan_files, **changes).check()


def test_the_device_model_is_measured_where_none_is_named(plan_files: Path, tmp_path: Path):
    plan = prepare_fit(
        request(plan_files, device_model=None), tmp_path / "out", fixed_measurements()
    )
    assert plan.device_model == made_up_device()


def test_a_probe_that_was_measured_replaces_the_prediction(
    fitted: Path, plan_files: Path, tmp_path: Path
):
    """It is named, it fits into any time, and its network starts from the weights."""
    good = Probe(error=0.01, train_images=1000, validation_images=100, seconds=0.01)
    measurements = fixed_measurements(
        packaged_weights=lambda: {"ours": fitted / "best.safetensors"}, probe=lambda *_: good
    )
    arguments = request(
        plan_files, pretrained=("auto",), budget=replace(BUDGET, macs=10**9), min_epochs=None
    )
    choice = prepare_fit(arguments, tmp_path / "out", measurements).choice
    assert choice.name == "ours" and choice.pretrained == str(fitted / "best.safetensors")
    assert choice.predicted["probe_error"] == 0.01 and choice.predicted["predicted_error"] <= 0.01
    assert "its linear probe has 1.0 %, measured" in choice.why
    assert choice.recipe.head == "probe" and choice.recipe.growth == Growth()


def test_a_budget_under_which_nothing_beats_guessing_is_refused(plan_files: Path, tmp_path: Path):
    hopeless = replace(made_up_law(), e0=0.95)
    hopeless.write(tmp_path / "law.json")
    arguments = request(
        plan_files,
        law=str(tmp_path / "law.json"),
        budget=replace(BUDGET, train_minutes=5),
        min_epochs=None,
    )
    with pytest.raises(BudgetError, match=r"better than always naming the largest class\. .*Raise"):
        prepare_fit(arguments, tmp_path / "out", fixed_measurements())


@pytest.mark.parametrize(
    ("named", "sources"),
    [((), ("auto",)), (("none",), ()), (("a.safetensors", "auto"), ("a.safetensors", "auto"))],
)
def test_pretrained_weights_at_hand_compete_unless_others_or_none_are_named(
    named: tuple[str, ...], sources: tuple[str, ...]
):
    assert pretrained_sources(named) == sources


def test_none_beside_other_weights_is_refused():
    with pytest.raises(UsageError, match="Drop one"):
        pretrained_sources(("none", "auto"))
