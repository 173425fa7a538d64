"""Learning rates of a study's arms: successive halving, rates at an end of those tried."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from phiscale.errors import UsageError
from phiscale.search.engine.plan import Stages
from phiscale.search.engine.result import Result
from phiscale.search.tuning import Tuning, edge_rate_notes, successive_halving
from phiscale.training.recipes.recipe import Recipe
from support.studies import CIFAR, plan_preset
from support.synthetic import synthetic_result


def halve(stages: Stages[dict[str, Recipe]]) -> tuple[list[list[tuple[float, float]]], Recipe]:
    """The learning rates and drop paths of each stage, and the recipe of the base, if errors grow
    with the distance of the learning rate from 0.4."""
    tried: list[list[tuple[float, float]]] = []
    pending = next(stages)
    while True:
        tried.append([(t.recipe.optim.lr_peak, t.recipe.drop_path) for t in pending])
        results: Mapping[str, Result] = {
            t.key: synthetic_result(t, abs(t.recipe.optim.lr_peak - 0.4), CIFAR.test_labels)
            for t in pending
        }
        try:
            pending = stages.send(results)
        except StopIteration as end:
            return tried, end.value["base"]


def test_halving_trains_the_better_half_longer_and_then_keeps_one():
    plan = plan_preset("standard")
    tried, recipe = halve(
        successive_halving(
            ["base"],
            plan.conditions.recipe,
            plan.tuning,
            lambda name, recipe: plan.tuning_trial(plan.arms[0], recipe),
        )
    )
    assert [len(stage) for stage in tried] == [8, 4]
    assert tried[1] == [(0.2, 0.0), (0.2, 0.1), (0.4, 0.0), (0.4, 0.1)]
    assert (recipe.optim.lr_peak, recipe.epochs) == (0.4, plan.conditions.recipe.epochs)


def test_a_learning_rate_at_an_end_of_those_tried_is_a_caveat():
    notes = edge_rate_notes({"base": 0.2, "wide": 0.8, "deep": 0.1, "both": 0.8}, Tuning())
    assert notes == [
        "At an end of the rates tried: 0.1 of deep; 0.8 of wide and both. Better ones may lie "
        "beyond: use other `rates`."
    ]
    assert edge_rate_notes({"base": 0.2}, Tuning()) == []
    assert edge_rate_notes({"base": 0.1}, Tuning(rates=(0.1,))) == []


@pytest.mark.parametrize("lengths", [(), (0.5, 0.2), (0.0, 0.5), (0.5, 1.5)])
def test_lengths_that_do_not_rise_are_refused(lengths):
    with pytest.raises(UsageError, match="rising shares"):
        Tuning(lengths=lengths)
