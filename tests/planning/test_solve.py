"""`solve`: limits are exact, the best network is that of an exhaustive search, time and pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import BudgetError
from phiscale.planning.budget import (
    Budget,
    PlanningTask,
    estimate,
    solve,
)
from support.planning import (
    AXES,
    B0,
    B3,
    DEVICE,
    FEW_WIDTHS,
    LAW_ALONE,
    LIMITS,
    SHORT,
    SMALL,
    TASK,
    axes,
    budgets,
    dominates,
    levels,
    one_by_one,
    solved,
)

# The selection, against an exhaustive check


@given(budgets())
@settings(max_examples=30, deadline=None)
def test_the_best_network_is_that_of_an_exhaustive_search(budget: Budget) -> None:
    every = one_by_one(budget)
    fitting = [each for each in every if each.excluded_by is None]
    if not fitting:
        with pytest.raises(BudgetError, match="no scaling of this network has"):
            solved(budget)
        return
    solution = solved(budget)
    assert (solution.considered, solution.fitting) == (len(every), len(fitting))
    least = min(fitting, key=lambda each: (each.error, each.cost.macs, each.cost.params))
    assert solution.best.error == pytest.approx(least.error, rel=1e-12)
    assert solution.best.cost.macs == least.cost.macs
    for name in budget.limits:
        broken = sum(not limit.met for each in every for limit in each.limits if limit.name == name)
        assert solution.excluded[name] == broken
    close = sum(each.error <= least.error + 0.001 for each in fitting) - 1
    assert solution.near_best == close


@given(budgets())
@settings(max_examples=30, deadline=None)
def test_the_pareto_list_has_no_dominated_network_and_leaves_none_out(budget: Budget) -> None:
    fitting = [each for each in one_by_one(budget) if each.excluded_by is None]
    if not fitting:
        return
    solution = solved(budget)
    for shown in solution.pareto:
        assert not any(dominates(each, shown) for each in fitting)
    free = {axes(each) for each in fitting if not any(dominates(other, each) for other in fitting)}
    assert solution.pareto_total == len(free)
    assert len(solution.pareto) <= 20
    assert solution.pareto[0].spec == solution.best.spec
    assert [each.error for each in solution.pareto] == sorted(
        each.error for each in solution.pareto
    )


@given(budgets())
@settings(max_examples=40, deadline=None)
def test_every_returned_candidate_meets_every_limit(budget: Budget) -> None:
    try:
        solution = solved(budget)
    except BudgetError:
        return
    for each in (solution.best, *solution.pareto, *solution.tied):
        assert each.excluded_by is None
        counted = cost(each.spec)
        assert counted.macs <= (budget.macs or counted.macs)
        assert counted.params <= (budget.params or counted.params)
        assert DEVICE.latency_ms(counted) <= (budget.latency_ms or 1e9)
        assert counted.weight_bytes <= (budget.weight_bytes or 1e18)
        assert counted.train_bytes(48) <= (budget.train_memory_bytes or 1e18)
        if budget.train_minutes:
            assert each.epochs is not None and each.epochs >= 4 * (1 - 1e-9)
            seconds = each.epochs * 40_000 / DEVICE.train_images_per_s(counted)
            assert seconds <= budget.train_minutes * 60 * (1 + 1e-9)


@given(budgets(), st.sampled_from(LIMITS), st.floats(0.3, 1))
@settings(max_examples=40, deadline=None)
def test_a_tighter_budget_never_improves_the_error(budget: Budget, name: str, part: float) -> None:
    limit = budget.limits.get(name, levels()[name][-1])
    tighter = replace(budget, **{name: limit * part})
    try:
        tight = solved(tighter)
    except BudgetError:
        return
    # without a limit of minutes all train to the end
    assert solved(budget).best.error <= tight.best.error


# Solutions by the published law


def test_with_the_macs_of_b3_it_is_wider_and_less_sharp_than_b3() -> None:
    solution = solve(B0, Budget(macs=cost(B3).macs), name="efficientnet_b0")
    best = solution.best
    assert best.spec.resolution == 288
    assert best.width == pytest.approx(1.3, abs=0.05)
    assert best.depth == pytest.approx(1.625)
    assert best.error == pytest.approx(0.1844, abs=0.001)
    assert best.error < estimate(B3, task=PlanningTask(law_base=B0)).error
    assert solution.considered == pytest.approx(500_000, rel=0.05)


def test_the_training_memory_of_b3_allows_more_width_than_its_macs() -> None:
    b3 = estimate(B3, task=PlanningTask(law_base=B0))
    axes = replace(FEW_WIDTHS, pixels=range(224, 353, 32))
    by_macs = solve(B0, Budget(macs=b3.cost.macs), axes=axes).best
    by_memory = solve(B0, Budget(train_memory_bytes=b3.cost.train_bytes(64)), axes=axes).best
    assert by_memory.width > by_macs.width
    assert by_memory.spec.resolution <= by_macs.spec.resolution
    assert by_memory.error < by_macs.error


def test_a_limit_on_parameters_raises_the_pixels_which_have_none() -> None:
    b3 = estimate(B3, task=PlanningTask(law_base=B0))
    best = solve(B0, Budget(params=b3.cost.params, macs=4e9), axes=FEW_WIDTHS).best
    assert best.spec.resolution >= 416
    assert best.width == pytest.approx(1.2, abs=0.05)


# Time


def test_more_minutes_allow_a_larger_network_and_never_a_worse_one() -> None:
    errors, macs = [], []
    for minutes in (1, 10, 100):
        best = solve(SMALL, Budget(train_minutes=minutes), task=TASK).best
        errors.append(best.error)
        macs.append(best.cost.macs)
    assert errors == sorted(errors, reverse=True)
    assert macs == sorted(macs)


def test_training_ends_at_the_most_epochs_however_much_time_there_is() -> None:
    best = solve(SMALL, Budget(train_minutes=1e6), axes=AXES, task=SHORT).best
    assert best.epochs == 30
    assert best.images_seen == 30 * 40_000


def test_without_a_limit_of_time_training_lasts_the_most_epochs() -> None:
    assert solve(SMALL, axes=AXES, task=SHORT).best.images_seen == 30 * 40_000
    assert solve(SMALL, axes=AXES, task=LAW_ALONE).best.images_seen is None


def test_a_network_that_would_see_too_few_epochs_is_out_and_the_minimum_can_be_lowered() -> None:
    budget = Budget(train_minutes=1)
    large = estimate(scale(SMALL, Scaling(depth=4, width=2)), budget, task=TASK)
    assert large.excluded_by is not None and large.excluded_by.startswith("train_minutes")
    assert large.epochs is not None and large.epochs < 4
    again = estimate(large.spec, budget, task=replace(TASK, min_epochs=large.epochs / 2))
    assert again.excluded_by is None


def test_a_measured_speed_replaces_the_device_models() -> None:
    slow = estimate(SMALL, Budget(train_minutes=10), images_per_s=1000.0, task=TASK)
    assert slow.train_images_per_s == 1000.0
    assert slow.images_seen == 600_000
    assert slow.epochs == 15


# Pixels


def test_pixels_beyond_the_images_predict_no_gain() -> None:
    at_32, at_64 = (
        estimate(replace(SMALL, resolution=px), task=replace(LAW_ALONE, native_pixels=32))
        for px in (32, 64)
    )
    assert at_32.error == at_64.error
    assert (
        solve(SMALL, task=replace(LAW_ALONE, native_pixels=32), axes=AXES).best.spec.resolution
        == 32
    )
