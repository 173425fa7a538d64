"""A family over phi, from trainings answered by a formula to its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.arch.costs import cost
from phiscale.search.engine.folder import dataset_info
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial
from phiscale.search.study.run_family import PAPER_POWERS, plan_family, run_family
from support.studies import REQUEST
from support.synthetic import complete_plan

PHIS = (0.0, 1.0, 2.0)
TWO_SEEDS = replace(REQUEST, seeds=2)


@pytest.fixture(scope="module")
def out(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished family."""
    out = tmp_path_factory.mktemp("family") / "f"
    dataset = dataset_info(data, out)

    def error_of(trial: Trial) -> float:
        return 0.2 + 0.1 * (cost(trial.spec).macs / 838_464) ** -0.5

    plan = plan_family(data, PHIS, PAPER_POWERS, TWO_SEEDS, dataset)
    complete_plan(plan, out, error_of, dataset.test_labels)
    run_family(data, PHIS, None, TWO_SEEDS, RunnerConfig(out=out))
    return out


def test_the_table_has_all_phi_and_the_seeds_of_those_that_were_trained(out):
    rows = [
        line.split(" | ")
        for line in (out / "report.md").read_text().splitlines()
        if line.startswith("| ") and "phi" not in line
    ]
    assert [row[0].strip("| ") for row in rows] == [str(phi) for phi in range(-3, 8)]
    assert [row[-1].strip("| ") for row in rows] == ["-"] * 3 + ["2"] * 3 + ["-"] * 5


def test_nothing_is_predicted_beyond_eight_times_the_largest_network_that_was_trained(out):
    members = json.loads((out / "family.json").read_text())["members"]
    predicted = {each["phi"]: each["predicted"] for each in members}
    largest = next(each["macs"] for each in members if each["phi"] == 2)
    for each in members:
        assert (predicted[each["phi"]] is None) == (each["macs"] > 8 * largest), each["phi"]
    assert predicted[7] is None and predicted[3] is not None
    assert "Nothing is predicted beyond 8 times the MACs of phi 2" in (
        (out / "report.md").read_text()
    )


def test_the_report_says_how_few_networks_its_law_has(out):
    text = (out / "report.md").read_text()
    assert "through the 3 " in text and "Fewer than 5 " in text


def test_a_plan_alone_trains_nothing(data, tmp_path):
    output = run_family(data, PHIS, None, TWO_SEEDS, RunnerConfig(out=tmp_path / "f"), train=False)
    assert output.data["plan"]["seeds"] == 2 and output.report is None
    assert not (tmp_path / "f").exists()
