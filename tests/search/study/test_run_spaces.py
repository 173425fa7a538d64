"""Two design spaces compared, from trainings answered by a formula to the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phiscale.arch.families import get_spec
from phiscale.errors import UsageError
from phiscale.search.engine.folder import dataset_info
from phiscale.search.engine.runner import RunnerConfig
from phiscale.search.engine.trial import Trial
from phiscale.search.spaces.compare_spaces import sample_networks
from phiscale.search.spaces.lattice import cost_metric, lattice
from phiscale.search.study.run_spaces import plan_comparison, run_design_spaces
from support.studies import REQUEST
from support.synthetic import complete_plan


def test_a_space_of_better_networks_has_its_distribution_to_the_left(data, tmp_path):
    out, spaces = tmp_path / "e", ("free", "compound")
    dataset = dataset_info(data, out)
    plan = plan_comparison(data, spaces, 8, REQUEST, dataset)

    def error_of(trial: Trial) -> float:
        return 0.5 if trial.name.startswith("free") else 0.3

    complete_plan(plan, out, error_of, dataset.test_labels)
    output = run_design_spaces(data, spaces, 8, REQUEST, RunnerConfig(out=out))
    assert output.report is not None and output.report.exists()
    assert output.data["first_is_better"]["probability"] == 0
    assert "compound with probability 0." in (out / "report.md").read_text()


@pytest.mark.parametrize("name", ["free", "compound"])
def test_networks_of_a_space_are_different_as_long_as_there_are_any(name):
    space = lattice(get_spec("efficientnet_b0"), cost_metric("macs", None))
    assert len({network.spec for network in sample_networks(space, name, 2.0, 30, 0)}) == 30


def test_networks_of_a_small_space_come_again_in_the_same_order():
    small = replace(get_spec("small"), resolution=16)
    space = lattice(small, cost_metric("macs", None), native_pixels=32)
    existing = len(space.at(2.0))
    first, again = (
        [network.spec for network in sample_networks(space, "free", 2.0, existing + 3, 0)]
        for _ in range(2)
    )
    assert len(set(first)) == existing
    assert first == again


@pytest.mark.parametrize(
    ("spaces", "networks", "message"),
    [
        (("free", "free"), 8, "compares two"),
        (("free", "narrow"), 8, "design_space='narrow' is unknown"),
        (("free", "compound"), 2, "no distribution"),
    ],
)
def test_design_spaces_that_cannot_be_compared_are_refused(
    data, tmp_path, spaces, networks, message
):
    with pytest.raises(UsageError, match=message):
        run_design_spaces(data, spaces, networks, REQUEST, RunnerConfig(out=tmp_path / "e"))
