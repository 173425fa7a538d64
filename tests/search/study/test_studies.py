"""A study from its images to its report. Results come from a formula, in the files that a study
reads them from; `test_workers.py` runs real trainings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phiscale.arch.spec import Spec
from phiscale.cli.output import log_to
from phiscale.errors import UsageError
from phiscale.search.caveats import machine_notes
from phiscale.search.engine.folder import dataset_info
from phiscale.search.engine.plan import PlanProgress
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial
from phiscale.search.study.completed import CompletedStudy
from phiscale.search.study.output import StudyOutput, measure_once
from phiscale.search.study.presets import PRESETS
from phiscale.search.study.report import build_report
from phiscale.search.study.request import StudyRequest, plan_study
from phiscale.search.study.run import run_study
from support.browser import layout_problems
from support.studies import CIFAR, REQUEST, all_trials, plan_preset
from support.synthetic import ErrorFormula, complete_plan, synthetic_result


def errors_by_arm(errors: Mapping[str, float]) -> ErrorFormula:
    """Test errors by arm, least at a learning rate of 0.4, with chance between seeds."""

    def error_of(trial: Trial) -> float:
        chance = np.random.default_rng(trial.recipe.seed + 1).normal(0, 0.003)
        rate = np.log2(trial.recipe.optim.lr_peak / 0.4)
        return float(errors[str(trial.attrs["arm"])] + 0.01 * rate**2 + chance)

    return error_of


EQUAL = dict.fromkeys(
    ("base", "depth", "width", "resolution", "compound", "symmetric", "inverse", "longer"), 0.3
)
LARGE_GAIN = {
    **EQUAL,
    "compound": 0.2,
    "symmetric": 0.2,
    "depth": 0.4,
    "width": 0.4,
    "resolution": 0.4,
}


def stub_latencies(specs: Mapping[str, Spec]) -> dict[str, float]:
    return dict.fromkeys(specs, 1.0)


def run(
    data: str, out: Path, errors: Mapping[str, float], request: StudyRequest = REQUEST
) -> StudyOutput:
    """A whole smoke study whose results a formula gives."""
    dataset = dataset_info(data, out)
    plan = plan_study(data, PRESETS["smoke"], request, dataset)
    complete_plan(plan, out, errors_by_arm(errors), dataset.test_labels)
    return run_study(data, "smoke", request, RunnerConfig(out=out), latencies=stub_latencies)


@pytest.fixture(scope="module")
def equal(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke study whose arms are equal; tests only read it."""
    out = tmp_path_factory.mktemp("study") / "s"
    run(data, out, EQUAL)
    return out


def test_four_seeds_are_inconclusive_whatever_the_numbers(data, tmp_path):
    out = tmp_path / "s"
    output = run(data, out, {**EQUAL, "compound": 0.05, "symmetric": 0.05})
    assert output.lines[0].startswith("inconclusive: ") and "seeds needed" in output.lines[0]
    assert json.loads((out / "study.json").read_text())["settled"]["seeds"] == 4


def test_seven_seeds_of_a_large_gain_are_better(data, tmp_path):
    output = run(data, tmp_path / "s", LARGE_GAIN, replace(REQUEST, seeds=7))
    assert output.verdict is not None and output.verdict.verdict == "better"
    assert output.lines[0].startswith("better: compound minus ")


def test_a_verdict_names_its_scope_in_the_same_sentence(data, tmp_path):
    output = run(data, tmp_path / "s", LARGE_GAIN, replace(REQUEST, seeds=7))
    scope = "6 epochs (3 updates), 16 to 32 px, 7 seeds, under-trained: depth"
    assert scope in output.lines[0]
    statement = (tmp_path / "s" / "report.md").read_text().split("## Verdict\n\n")[1]
    assert statement.startswith("Compound scaling is better than scaling ")
    assert scope in statement.splitlines()[0]


def test_the_output_ends_with_the_path_of_the_report(data, tmp_path):
    output = run(data, tmp_path / "s", EQUAL)
    assert output.data["report"] == output.lines[-1] == str(output.report)
    assert str(output).splitlines() == list(output.lines)


def test_each_arm_has_the_learning_rate_with_the_least_validation_error(equal):
    rows = list(csv.DictReader(io.StringIO((equal / "runs.csv").read_text())))
    assert {row["rate"] for row in rows} == {"0.4"}
    assert len(rows) == 8 * 4


def test_the_predictions_give_the_accuracies_of_the_report(equal):
    rows = list(csv.DictReader(io.StringIO((equal / "predictions.csv").read_text())))
    arms = json.loads((equal / "study.json").read_text())["settled"]["arms"]
    for arm in arms:
        correct = [
            row[f"{arm['name']} {seed}"] == row["truth"] for seed in range(4) for row in rows
        ]
        assert np.mean(correct) == pytest.approx(arm["accuracy"])


def test_nothing_in_the_report_is_too_wide_or_overlaps(equal, tmp_path):
    page = tmp_path / "report.html"
    page.write_bytes((equal / "report.html").read_bytes())
    assert layout_problems(page) == []


def test_the_report_says_which_arms_are_one_network(equal):
    assert "compound and symmetric are one network here" in (equal / "report.md").read_text()


def test_the_report_has_the_papers_table_7_beside_ours(equal):
    text = (equal / "report.md").read_text()
    assert "| depth | 1.8G | 1.58G | 79.0 | +1.70 |" in text
    assert (equal / "report.html").read_text().count("<svg") >= 4


def test_a_finished_study_trains_nothing_again_and_writes_the_same_report(data, equal):
    before = (equal / "report.md").read_bytes()
    run_study(data, "smoke", REQUEST, RunnerConfig(out=equal))
    assert (equal / "report.md").read_bytes() == before
    assert not (equal / "trainings").exists()


def test_a_study_continues_with_more_seeds_and_says_so(data, tmp_path):
    out = tmp_path / "s"
    run(data, out, EQUAL)
    output = run(data, out, EQUAL, replace(REQUEST, seeds=7))
    assert not output.lines[0].startswith("inconclusive: 7 seeds")
    assert "Looked at before with 4 seeds, then continued" in (out / "report.md").read_text()


def test_latencies_of_an_earlier_version_are_not_measured_again(tmp_path):
    path = tmp_path / "latencies.json"
    path.write_text('{"base": 0.5}')
    assert measure_once(path, lambda: {"base": 1.0}) == {"base": 0.5}


def test_damaged_latencies_are_measured_again(tmp_path):
    path = tmp_path / "latencies.json"
    assert measure_once(path, lambda: {"base": 1.0}) == {"base": 1.0}
    path.write_text(path.read_text().replace("1.0", "3.0"))
    assert measure_once(path, lambda: {"base": 2.0}) == {"base": 2.0}


@pytest.mark.parametrize(
    ("changes", "names"),
    [({"seeds": 3}, "seeds"), ({"epochs": 2}, "epochs"), ({"train_images": 20}, "train_images")],
)
def test_another_study_in_its_folder_is_refused_and_the_setting_named(data, equal, changes, names):
    with pytest.raises(UsageError, match=f"settings.*{names}"):
        run_study(data, "smoke", replace(REQUEST, **changes), RunnerConfig(out=equal))


def test_a_folder_of_other_files_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        run_study(data, "smoke", REQUEST, RunnerConfig(out=tmp_path))


def test_one_seed_is_refused():
    with pytest.raises(
        UsageError, match=r"seeds=1 has no spread.*a verdict of a scaling study needs 7"
    ):
        replace(REQUEST, seeds=1)


def test_a_plan_alone_is_only_logged(data, tmp_path):
    lines: list[str] = []
    with log_to(lines.append):
        run_study(data, "smoke", REQUEST, RunnerConfig(out=tmp_path / "s"), train=False)
    assert any(line.startswith("compound") for line in lines)
    assert not (tmp_path / "s").exists()


def test_another_first_seed_is_another_study_and_0_is_not_written(data, equal):
    plan = plan_preset("smoke")
    other = replace(plan, conditions=replace(plan.conditions, seed=5))
    assert "seed" not in plan.to_dict() and other.to_dict()["seed"] == 5
    seeds = {t.attrs["seed"] for t in all_trials(other) if t.attrs["stage"] == "study"}
    assert seeds == {5, 6, 7, 8}
    with pytest.raises(UsageError, match=r"settings.*seed"):
        run_study(data, "smoke", replace(REQUEST, seed=5), RunnerConfig(out=equal))


def test_the_seed_of_a_failed_training_counts_for_no_arm_and_is_named(data, tmp_path):
    dataset = dataset_info(data, tmp_path)
    plan = plan_study(data, PRESETS["smoke"], StudyRequest(seeds=8), dataset)
    errors = {"resolution": 0.1, "depth": 0.2}
    outcome = complete_plan(
        plan, tmp_path, lambda trial: errors.get(str(trial.attrs["arm"]), 0.4), dataset.test_labels
    )
    failed = replace(
        outcome.runs["resolution", 3],
        validation_error=None,
        validation_loss=None,
        test_predictions=None,
        test_error=None,
        failed="its loss is not a number",
    )
    study = CompletedStudy(
        plan=plan,
        outcome=outcome,
        dataset=dataset,
        runner=RunnerConfig(out=tmp_path),
        latencies_ms={arm.name: 1.0 for arm in plan.arms},
    )
    runs = {**outcome.runs, ("resolution", 3): failed}
    whole = build_report(study, "c")
    report = build_report(replace(study, outcome=replace(outcome, runs=runs)), "c")
    assert (whole.verdict.seeds, report.verdict.seeds) == (8, 7)
    assert report.verdict.verdict == whole.verdict.verdict == "worse"
    assert report.verdict.best_single == "resolution"
    assert "resolution, seed 3 (its loss is not a number)" in str(report.files["report.md"])


def test_trainings_from_several_kinds_of_machine_are_a_caveat():
    trials = PlanProgress(plan_preset("smoke")).stage_trials[:3]
    results = [
        replace(synthetic_result(trial, 0.3, CIFAR.test_labels), made_by={"processor": name})
        for trial, name in zip(trials, ("EPYC", "EPYC", "Xeon"), strict=True)
    ]
    [note] = machine_notes([*results, results[0]])
    assert "2 on EPYC; 1 on Xeon" in note
    assert machine_notes(results[:2]) == []
