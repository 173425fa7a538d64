"""A study from its pictures to its report. Trainings are answered by formula here, in the files
that a study takes for the truth; `test_workers.py` does them for real."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.cli.output import log_to
from phiscale.errors import UsageError
from phiscale.search.engine.folder import DatasetInfo, dataset_info, machine_notes
from phiscale.search.engine.plan import PlanProgress
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial, TrialConditions
from phiscale.search.engine.tuning import Tuning, edge_rate_notes, successive_halving
from phiscale.search.spaces.compare_spaces import SpaceComparison, sample_networks
from phiscale.search.spaces.family import FamilyPlan
from phiscale.search.spaces.lattice import cost_metric, lattice
from phiscale.search.study import replication
from phiscale.search.study import report as settle_report
from phiscale.search.study import run as studies
from phiscale.search.study.critique import critique
from phiscale.search.study.plan import ScalingStudy, arms_for
from phiscale.search.study.presets import PRESETS
from support.synthetic import complete_plan, synthetic_result

CIFAR = DatasetInfo(
    source="cifar10",
    fingerprint="f",
    classes=tuple("abcdefghij"),
    native_pixels=32,
    train=45_000,
    validation=5_000,
    test_labels=np.arange(2000) % 10,
)
ASKED = studies.StudyRequest(base=get_spec("small"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three classes of 32 px, 60 pictures to train on and 30 to test with."""
    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate("abc"):
        for number in range(30):
            folder = root / ("train" if number < 20 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 150, (32, 32, 3), np.uint8)
            pixels[8 * label : 8 * label + 8] += 100
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(root)


# Arms


@pytest.mark.parametrize(
    ("arm", "over_base", "pixels"),
    [
        ("base", 1.0, 16),
        ("depth", 3.89, 16),
        ("width", 4.11, 16),
        ("resolution", 3.96, 32),
        ("compound", 4.02, 20),
        ("inverse", 3.99, 18),
    ],
)
def test_arms_of_small_at_16_px_have_four_times_its_macs(arm, over_base, pixels):
    plan = studies.plan_for("x", PRESETS["smoke"], ASKED, CIFAR)
    found = {each.name: each for each in plan.arms}[arm]
    assert found.compute == pytest.approx(over_base, abs=0.01)
    assert found.spec.resolution == pixels


def test_all_arms_but_the_base_are_within_three_percent_of_each_other():
    for preset in ("smoke", "standard", "gpu"):
        plan = studies.plan_for("x", PRESETS[preset], ASKED, CIFAR)
        compared = [a for a in plan.arms if a.name not in ("base", "longer", "beyond")]
        for arm in compared:
            assert cost(arm.spec).macs == pytest.approx(4 * cost(plan.arms[0].spec).macs, rel=0.031)


def test_the_longer_arm_is_the_base_for_as_many_times_the_epochs():
    plan = studies.plan_for("x", PRESETS["smoke"], ASKED, CIFAR)
    base, longer = plan.arms[0], plan.arms[-1]
    assert longer.spec == base.spec
    assert longer.epochs == 4 * base.epochs


def test_an_arm_with_more_pixels_than_the_pictures_is_refused_with_the_mend():
    with pytest.raises(UsageError, match=r"needs 64 px, the pictures have 32.*resolution=16"):
        arms_for(
            get_spec("small"), compute=4, epochs=1, names=("base", "resolution"), native_pixels=32
        )


def test_the_beyond_arm_has_half_as_many_pixels_more_than_the_pictures():
    arms = arms_for(
        replace(get_spec("small"), resolution=16),
        compute=4,
        epochs=1,
        names=("base", "beyond"),
        native_pixels=32,
    )
    assert arms[1].spec.resolution == 48


# What speaks against a study


def test_the_replication_that_saw_nothing_is_told_what_was_wrong_with_it():
    said = list(replication.faults(replication.as_published("x", CIFAR), CIFAR))
    assert any("54-60 % of the compute of its rivals" in line for line in said)
    assert any("learning rate ends at 64 % of its peak" in line for line in said)
    assert any(line.startswith("one seed") for line in said)
    assert any("more pixels than the 32" in line for line in said)


def test_the_replication_is_counted_as_it_printed():
    """Its FLOPs are twice the MACs and a few per cent of element-wise operations."""
    for arm in replication.as_published("x", CIFAR).arms:
        printed = replication.PRINTED_FLOPS[arm.name]
        assert 1.03 < printed / (2 * cost(arm.spec).macs) < 1.08


def test_nothing_but_its_seeds_speaks_against_the_smoke_study():
    plan = studies.plan_for("x", PRESETS["smoke"], ASKED, CIFAR)
    assert list(critique(plan, CIFAR)) == ["4 seeds: under 7 no difference can be told from chance"]


def test_nothing_speaks_against_the_standard_and_gpu_studies():
    for preset in ("standard", "gpu"):
        assert not list(critique(studies.plan_for("x", PRESETS[preset], ASKED, CIFAR), CIFAR))


# From results to a report


def by_arm(errors: dict[str, float]):
    """Test errors by arm, best at a rate of 0.4, with chance between seeds."""

    def truth(trial: Trial) -> float:
        chance = np.random.default_rng(trial.recipe.seed + 1).normal(0, 0.003)
        rate = np.log2(trial.recipe.optim.lr_peak / 0.4)
        return float(errors[trial.attrs["arm"]] + 0.01 * rate**2 + chance)

    return truth


EQUAL = dict.fromkeys(
    ("base", "depth", "width", "resolution", "compound", "symmetric", "inverse", "longer"), 0.3
)


def at_once(specs: Mapping[str, Spec]) -> dict[str, float]:
    """Latencies that nobody measured."""
    return dict.fromkeys(specs, 1.0)


def run(data: str, out: Path, errors: dict[str, float], **asked) -> tuple[list[str], Path]:
    """A whole smoke study whose trainings are answered beforehand."""
    dataset = dataset_info(data, out)
    # more test pictures than there are files: labels are all that statistics need
    settings = replace(ASKED, **asked)
    plan = studies.plan_for(data, PRESETS["smoke"], settings, dataset)
    complete_plan(plan, out, by_arm(errors), dataset.test_labels)
    said = studies.study(
        data, "smoke", settings, RunnerConfig(out=out), command="phiscale study", latencies=at_once
    )
    assert said.data["report"] == said.lines[-1]
    return said.lines, out


@pytest.fixture(scope="module")
def equal(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke study in which all arms are equal: to be read."""
    return run(data, tmp_path_factory.mktemp("study") / "s", EQUAL)[1]


def test_four_seeds_are_undecided_whatever_they_say(data, tmp_path):
    said, out = run(data, tmp_path / "s", {**EQUAL, "compound": 0.05, "symmetric": 0.05})
    assert said[0].startswith("undecided: need S'=")
    assert json.loads((out / "study.json").read_text())["settled"]["seeds"] == 4


def test_seven_seeds_of_a_large_gain_are_a_benefit(data, tmp_path):
    errors = {
        **EQUAL,
        "compound": 0.2,
        "symmetric": 0.2,
        "depth": 0.4,
        "width": 0.4,
        "resolution": 0.4,
    }
    said, _ = run(data, tmp_path / "s", errors, seeds=7)
    assert said[0].startswith("benefit")


def test_each_arm_takes_the_rate_that_validation_prefers(equal):
    rows = list(csv.DictReader(io.StringIO((equal / "runs.csv").read_text())))
    assert {row["rate"] for row in rows} == {"0.4"}
    assert len(rows) == 8 * 4


def test_the_raw_answers_give_the_accuracies_of_the_report(equal):
    rows = list(csv.DictReader(io.StringIO((equal / "predictions.csv").read_text())))
    said = {
        arm["name"]: arm
        for arm in json.loads((equal / "study.json").read_text())["settled"]["arms"]
    }
    for name, arm in said.items():
        right = [row[f"{name} {seed}"] == row["truth"] for seed in range(4) for row in rows]
        assert np.mean(right) == pytest.approx(arm["accuracy"])


def test_the_report_says_which_arms_rounding_made_one(equal):
    assert "compound and symmetric are one network here" in (equal / "report.md").read_text()


def test_the_report_stands_beside_the_papers_table_7(equal):
    text = (equal / "report.md").read_text()
    assert "| depth | 1.8G | 1.58G | 79.0 | +1.70 |" in text
    assert (equal / "report.html").read_text().count("<svg") >= 4


def test_a_finished_study_trains_nothing_again_and_writes_the_same_report(data, equal):
    before = (equal / "report.md").read_bytes()
    studies.study(data, "smoke", ASKED, RunnerConfig(out=equal), command="phiscale study")
    assert (equal / "report.md").read_bytes() == before
    assert not (equal / "trainings").exists()


def test_a_study_goes_on_with_more_seeds_and_says_so(data, tmp_path):
    _, out = run(data, tmp_path / "s", EQUAL)
    said, _ = run(data, out, EQUAL, seeds=7)
    assert not said[0].startswith("undecided: need S'=7")
    assert "Looked at before with 4 seeds, then continued" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("asked", "names"),
    [({"seeds": 3}, "seeds"), ({"epochs": 2}, "epochs"), ({"train_images": 20}, "train_images")],
)
def test_another_study_in_its_folder_is_refused_by_what_differs(data, equal, asked, names):
    with pytest.raises(UsageError, match=f"begun with other settings.*{names}"):
        studies.study(data, "smoke", replace(ASKED, **asked), RunnerConfig(out=equal), command="")


def test_a_folder_of_other_things_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        studies.study(data, "smoke", ASKED, RunnerConfig(out=tmp_path), command="")


def test_a_plan_alone_is_only_told(data, tmp_path):
    told: list[str] = []
    with log_to(told.append):
        studies.study(
            data, "smoke", ASKED, RunnerConfig(out=tmp_path / "s"), command="", train=False
        )
    assert any(line.startswith("compound") for line in told)
    assert not (tmp_path / "s").exists()


# A family, and design spaces


def test_a_family_predicts_what_it_did_not_train(data, tmp_path):
    out = tmp_path / "f"
    dataset = dataset_info(data, out)
    told: list[str] = []
    small = replace(ASKED, seeds=2)

    def truth(trial: Trial) -> float:
        return 0.2 + 0.1 * (cost(trial.spec).macs / 838_464) ** -0.5

    with log_to(told.append):
        studies.family(
            data, (0.0, 1.0, 2.0), None, small, RunnerConfig(out=out), command="", train=False
        )
    preset = PRESETS["smoke"]
    plan = FamilyPlan(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            crop=1.0,
            recipe=replace(preset.recipe, epochs=preset.epochs),
            train_images=None,
        ),
        base=small.sized(dataset, preset),
        alpha=1.2,
        beta=1.1,
        gamma=1.15,
        phis=(0.0, 1.0, 2.0),
        seeds=2,
        tuning=preset.tuning,
    )
    complete_plan(plan, out, truth, dataset.test_labels)
    studies.family(data, (0.0, 1.0, 2.0), None, small, RunnerConfig(out=out), command="")
    rows = [
        line.split(" | ")
        for line in (out / "report.md").read_text().splitlines()
        if line.startswith("| ") and "phi" not in line
    ]
    assert [row[0].strip("| ") for row in rows] == [str(phi) for phi in range(-3, 8)]
    assert [row[-1].strip("| ") for row in rows] == ["-"] * 3 + ["2"] * 3 + ["-"] * 5
    members = json.loads((out / "family.json").read_text())["members"]
    told = {each["phi"]: each["predicted"] for each in members}
    largest = next(each["macs"] for each in members if each["phi"] == 2)
    for each in members:  # a law is not to be trusted beyond eight times its largest row
        assert (told[each["phi"]] is None) == (each["macs"] > 8 * largest), each["phi"]
    assert told[7] is None and told[3] is not None
    text = (out / "report.md").read_text()
    assert "Nothing is predicted beyond 8 times the MACs of phi 2" in text
    assert "through the 3 members" in text and "Fewer than 5 members" in text


def test_a_space_of_better_networks_has_its_distribution_to_the_left(data, tmp_path):
    out = tmp_path / "e"
    dataset = dataset_info(data, out)
    preset = PRESETS["smoke"]
    plan = SpaceComparison(
        conditions=TrialConditions(
            data=data,
            fingerprint=dataset.fingerprint,
            crop=1.0,
            train_images=None,
            recipe=replace(preset.recipe, epochs=3.0),
        ),
        base=ASKED.sized(dataset, preset),
        networks=8,
        spaces=("free", "compound"),
        compute=2.0,
        native_pixels=32,
    )

    def truth(trial: Trial) -> float:
        return 0.5 if trial.name.startswith("free") else 0.3

    complete_plan(plan, out, truth, dataset.test_labels)
    said = studies.design_spaces(
        data, ("free", "compound"), 8, ASKED, RunnerConfig(out=out), command=""
    )
    assert Path(said.lines[-1]).exists()
    assert said.data["first_is_better"]["probability"] == 0
    assert "less error than one of compound with probability 0." in (out / "report.md").read_text()


def test_networks_of_a_space_are_different_as_long_as_there_are_any():
    space = lattice(get_spec("efficientnet_b0"), cost_metric("macs", None))
    for name in ("free", "compound"):
        networks_by_space = [place.spec for place in sample_networks(space, name, 2.0, 30, 0)]
        assert len(set(networks_by_space)) == 30, name
    few = lattice(
        replace(get_spec("small"), resolution=16), cost_metric("macs", None), native_pixels=32
    )
    there_are = len(few.at(2.0))
    networks_by_space = [
        place.spec for place in sample_networks(few, "free", 2.0, there_are + 3, 0)
    ]
    assert len(set(networks_by_space)) == there_are
    assert networks_by_space == [
        place.spec for place in sample_networks(few, "free", 2.0, there_are + 3, 0)
    ]


def test_a_plan_says_what_differences_it_finds():
    """Ten points between seeds, as few test pictures as there are: nothing small."""
    plan = studies.plan_for("x", PRESETS["standard"], ASKED, CIFAR)
    *_, quiet = studies.plan_lines(plan, (0.002, 0.002), 10_000)
    *_, loud = studies.plan_lines(plan, (0.1, 0.1), 10_000)
    *_, four = studies.plan_lines(replace(plan, seeds=4), (0.002, 0.002), 10_000)
    assert four == "if seeds vary by 0.2 to 0.2 points, a difference of 1 point takes up to 7 seeds"
    *_, few = studies.plan_lines(plan, (0.002, 0.002), 100)
    assert "7 of them and 10,000 test pictures find a difference of 0.6 to 0.6 points" in quiet
    assert quiet.endswith("1 point takes up to 7 seeds")
    assert "find a difference of 17.6 to 17.6 points" in loud
    assert few.endswith("1 point takes more test pictures")


def test_halving_keeps_the_better_half_for_a_longer_look_and_then_one():
    plan = studies.plan_for("x", PRESETS["standard"], ASKED, CIFAR)
    stages = successive_halving(
        ["base"],
        plan.conditions.recipe,
        plan.tuning,
        lambda name, recipe: plan._trial(plan.arms[0], recipe, "tuning"),
    )
    tried, wanted = [], next(stages)
    while True:
        tried.append([(t.recipe.optim.lr_peak, t.recipe.drop_path) for t in wanted])
        results = {
            t.key: synthetic_result(t, abs(t.recipe.optim.lr_peak - 0.4), CIFAR.test_labels)
            for t in wanted
        }
        try:
            wanted = stages.send(results)
        except StopIteration as end:
            chosen = end.value["base"]
            break
    assert [len(each) for each in tried] == [8, 4]
    assert tried[1] == [(0.2, 0.0), (0.2, 0.1), (0.4, 0.0), (0.4, 0.1)]
    assert (chosen.optim.lr_peak, chosen.epochs) == (0.4, plan.conditions.recipe.epochs)


def test_a_rate_at_an_end_of_those_tried_is_said():
    said = edge_rate_notes({"base": 0.2, "wide": 0.8, "deep": 0.1, "both": 0.8}, Tuning())
    assert said == [
        "At an end of the rates tried: 0.1 of deep; 0.8 of wide and both. Better ones may lie "
        "beyond: use other `rates`."
    ]
    assert (
        edge_rate_notes({"base": 0.2}, Tuning())
        == edge_rate_notes({"base": 0.1}, Tuning(rates=(0.1,)))
        == []
    )


@pytest.mark.parametrize("lengths", [(), (0.5, 0.2), (0.0, 0.5), (0.5, 1.5)])
def test_rungs_that_do_not_rise_are_refused(lengths):
    with pytest.raises(UsageError, match="rising shares"):
        Tuning(lengths=lengths)


def test_another_first_seed_is_another_study_and_that_of_none_is_the_old_one(data, equal):
    plan = studies.plan_for("x", PRESETS["smoke"], ASKED, CIFAR)
    other = replace(plan, conditions=replace(plan.conditions, seed=5))
    assert "seed" not in plan.to_dict() and other.to_dict()["seed"] == 5
    seeds = {t.attrs["seed"] for t in all_trials(other) if t.attrs["stage"] == "study"}
    assert seeds == {5, 6, 7, 8}
    with pytest.raises(UsageError, match=r"begun with other settings.*seed"):
        studies.study(data, "smoke", replace(ASKED, seed=5), RunnerConfig(out=equal), command="")


def all_trials(plan: ScalingStudy) -> list[Trial]:
    progress = PlanProgress(plan)
    labels = CIFAR.test_labels
    while not progress.finished:
        progress.advance(
            lambda _: {t.key: synthetic_result(t, 0.3, labels) for t in progress.pending}
        )
    return progress.completed


@pytest.mark.parametrize(
    ("spaces", "networks", "said"),
    [
        (("free", "free"), 8, "compares two"),
        (("free", "narrow"), 8, "design_space='narrow' is unknown"),
        (("free", "compound"), 2, "no distribution"),
    ],
)
def test_design_spaces_that_cannot_be_compared_are_refused(data, tmp_path, spaces, networks, said):
    with pytest.raises(UsageError, match=said):
        studies.design_spaces(
            data, spaces, networks, ASKED, RunnerConfig(out=tmp_path / "e"), command=""
        )


def test_a_failed_training_takes_its_seed_from_all_arms_and_is_named(data, tmp_path):
    dataset = dataset_info(data, tmp_path)
    plan = studies.plan_for(data, PRESETS["smoke"], studies.StudyRequest(seeds=8), dataset)
    good = {"resolution": 0.1, "depth": 0.2}
    outcome = complete_plan(
        plan, tmp_path, lambda trial: good.get(str(trial.attrs["arm"]), 0.4), dataset.test_labels
    )
    lost = replace(
        outcome.runs["resolution", 3],
        validation_error=None,
        validation_loss=None,
        test_predictions=None,
        test_error=None,
        failed="its loss is not a number",
    )
    runs = {**outcome.runs, ("resolution", 3): lost}
    times = {arm.name: 1.0 for arm in plan.arms}
    whole, found = (
        settle_report.report(plan, each, dataset, RunnerConfig(out=tmp_path), times, (), "c")
        for each in (outcome, replace(outcome, runs=runs))
    )
    assert (whole.settled.seeds, found.settled.seeds) == (8, 7)
    assert found.settled.verdict == whole.settled.verdict == "harm"
    assert found.settled.best_single == "resolution"
    assert "resolution, seed 3 (its loss is not a number)" in str(found.files["report.md"])


def test_trainings_from_several_kinds_of_machine_are_told_apart():
    plan = studies.plan_for("d", PRESETS["smoke"], ASKED, CIFAR)
    results = [
        replace(synthetic_result(trial, 0.3, CIFAR.test_labels), made_by={"processor": name})
        for trial, name in zip(
            PlanProgress(plan).pending[:3], ("EPYC", "EPYC", "Xeon"), strict=True
        )
    ]
    [said] = machine_notes([*results, results[0]])
    assert "2 on EPYC; 1 on Xeon" in said
    assert machine_notes(results[:2]) == []
