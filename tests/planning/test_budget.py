"""From a budget to networks: limits are exact, the choice is the best, refusals say the mend."""

from __future__ import annotations

import html
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import BudgetError, SpecError, UsageError
from phiscale.planning.budget import (
    Budget,
    Candidate,
    LatticeAxes,
    Limit,
    PlanningTask,
    Pretraining,
    Solution,
    effective,
    estimate,
    explain,
    finalists,
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    parse_bytes,
    parse_count,
    rank,
    solve,
    undominated,
)
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Rates, Timing
from phiscale.planning.laws import Term
from phiscale.planning.priors import published_law

B0, B3, SMALL = get_spec("efficientnet_b0"), get_spec("efficientnet_b3"), get_spec("small")
LAW = replace(published_law(), images=Term(0.05, 0.5))
DEVICE = DeviceModel(
    fingerprint=DeviceFingerprint(
        device="a test", cores=2, threads=2, runtime="-", torch="-", date="-"
    ),
    latency=Timing(
        rates=Rates(
            dense_macs=4e-9,
            depthwise_macs=8e-9,
            activations=2e-7,
            weight_bytes=3e-8,
            convs=0.002,
            constant=0.01,
        ),
        median_error=0.0,
        max_error=0.0,
    ),
    training=Timing(
        rates=Rates(
            dense_macs=1e-10,
            depthwise_macs=4e-10,
            activations=2e-9,
            weight_bytes=0.0,
            convs=1e-6,
            constant=1e-5,
        ),
        median_error=0.0,
        max_error=0.0,
    ),
    training_batch=48,
)

# A lattice that can be checked one by one
DEPTHS, WIDTHS, PIXELS = (0.5, 1.0, 1.5, 2.0), (0.5, 0.75, 1.0, 1.25, 1.5, 2.0), (16, 24, 32, 40)
AXES = LatticeAxes(depths=DEPTHS, widths=WIDTHS, pixels=PIXELS)
TASK = PlanningTask(
    law=LAW, device_model=DEVICE, train_images=40_000, native_pixels=32, law_base=SMALL
)
SHORT = replace(TASK, max_epochs=30)
LAW_ALONE = PlanningTask(law=LAW, law_base=SMALL)
FEW_WIDTHS = LatticeAxes(widths=lattice_widths(60))
LIMITS = ("macs", "params", "latency_ms", "weight_bytes", "train_memory_bytes", "train_minutes")


@cache
def one_by_one(budget: Budget) -> tuple[Candidate, ...]:
    """Every network of the lattice, estimated on its own."""
    networks = (
        replace(scale(SMALL, Scaling(depth=depth, width=width)), resolution=pixels)
        for depth in DEPTHS
        for width in WIDTHS
        for pixels in PIXELS
    )
    return tuple(estimate(each, budget, task=TASK) for each in networks)


LOOSE = Budget(
    macs=1e12,
    params=1e12,
    latency_ms=1e6,
    weight_bytes=1e12,
    train_memory_bytes=1e15,
    train_minutes=1e4,
)


@cache
def levels() -> dict[str, list[float]]:
    """For each limit, what the networks of the lattice need of it, in order."""
    rows = [{limit.name: limit.value for limit in each.limits} for each in one_by_one(LOOSE)]
    return {name: sorted(row[name] for row in rows) for name in LIMITS}


def solved(budget: Budget) -> Solution:
    return solve(SMALL, budget, axes=AXES, task=TASK)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    """Limits that lie on a network of the lattice: what counts is <= against <."""
    names = draw(st.sets(st.sampled_from(LIMITS), max_size=4))
    count = len(one_by_one(LOOSE))
    return Budget(**{name: levels()[name][draw(st.integers(0, count - 1))] for name in names})


def axes(each: Candidate) -> tuple[float, ...]:
    assert each.latency_ms is not None
    return (each.error, each.cost.macs, each.cost.params, each.latency_ms)


def dominates(one: Candidate, other: Candidate) -> bool:
    pairs = list(zip(axes(one), axes(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


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


@given(
    st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.tuples(*[st.integers(0, 6)] * columns), min_size=1, max_size=200
        )
    )
)
def test_the_undominated_are_those_that_no_other_row_equals_or_betters(
    rows: list[tuple[int, ...]],
) -> None:
    points = np.array(rows, dtype=float)
    front = undominated(points)
    better = (points[:, None] <= points[None]).all(axis=2) & (points[:, None] < points[None]).any(
        axis=2
    )
    free = {tuple(row) for row in points[~better.any(axis=0)]}
    assert {tuple(row) for row in points[front]} == free
    assert len(front) == len(free)
    assert list(points[front, 0]) == sorted(points[front, 0])


def test_the_undominated_of_one_column_is_its_least() -> None:
    values = np.random.default_rng(0).permutation(30_000).astype(float)
    assert undominated(values[:, None]).tolist() == [values.argmin()]


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_the_undominated_of_many_rows_beat_all_the_others(columns: int) -> None:
    random = np.random.default_rng(columns)
    points = random.integers(0, 3000, size=(24_000, columns)).astype(float)
    points += points.sum(axis=1, keepdims=True) * random.random((24_000, 1))  # a long front
    front = undominated(points)
    kept = points[front]
    among = (kept[:, None] <= kept[None]).all(axis=2)
    np.fill_diagonal(among, False)
    assert not among.any()
    for part in np.array_split(np.delete(points, front, axis=0), 20):
        assert (kept[:, None] <= part[None]).all(axis=2).any(axis=0).all()


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


def test_no_more_pixels_are_tried_than_the_images_have() -> None:
    assert lattice_resolutions(SMALL, 32) == [16, 20, 24, 28, 32]
    assert lattice_resolutions(B0, 100) == [64, 72, 80, 88, 96]
    assert max(lattice_resolutions(B0)) == 600
    assert 224 in lattice_resolutions(B0)


def test_tiny_images_are_enlarged_to_the_least_that_the_network_can_take() -> None:
    assert lattice_resolutions(SMALL, 8) == [16]
    assert lattice_resolutions(B0, 32) == [64]


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


# The lattice


def test_every_different_depth_of_b0_is_in_the_lattice_once() -> None:
    depths = lattice_depths(B0)
    vectors = {tuple(s.repeats for s in scale(B0, Scaling(depth=d)).stages) for d in depths}
    fine = {
        tuple(s.repeats for s in scale(B0, Scaling(depth=d / 500)).stages) for d in range(125, 2001)
    }
    assert vectors == fine
    assert len(depths) == len(vectors) == 24


def test_every_depth_that_rounds_to_the_nearest_is_in_the_lattice_too() -> None:
    spec = replace(B0, depth_rounding="round")
    vectors = {
        tuple(s.repeats for s in scale(spec, Scaling(depth=d)).stages) for d in lattice_depths(spec)
    }
    fine = {
        tuple(s.repeats for s in scale(spec, Scaling(depth=d / 500)).stages)
        for d in range(125, 2001)
    }
    assert vectors == fine


def test_a_deep_base_has_a_thinned_lattice_that_still_holds_the_base() -> None:
    depths = lattice_depths(get_spec("efficientnet_b7"))
    assert len(depths) <= 40
    assert 1.0 in depths


@pytest.mark.parametrize("count", [10, 100, 301, 10_000])
def test_widths_are_even_and_meet_the_base(count: int) -> None:
    steps = lattice_widths(count)
    assert steps[0] == 0.25 and steps[-1] == 2.5 and 1.0 in steps
    assert np.allclose(np.diff(steps), steps[1] - steps[0])


# Single networks, beside a lattice and alone


def test_a_pretrained_network_counts_the_images_that_it_has_seen() -> None:
    scratch = estimate(SMALL, task=TASK)
    pretrained = estimate(
        SMALL, name="small", pretraining=Pretraining("small.safetensors"), task=TASK
    )
    assert pretrained.error < scratch.error
    assert pretrained.images_seen == scratch.images_seen
    assert (pretrained.name, pretrained.pretrained) == ("small", "small.safetensors")
    some = estimate(SMALL, pretraining=Pretraining("a run", 1_000_000), task=TASK)
    assert pretrained.error < some.error < scratch.error


def test_fine_tuning_needs_fewer_epochs() -> None:
    kept: dict[str, Any] = {"images_per_s": 40_000 / 20, "task": TASK}  # 3 epochs a minute
    assert estimate(SMALL, Budget(train_minutes=1), **kept).excluded_by is not None
    assert (
        estimate(
            SMALL, Budget(train_minutes=1), pretraining=Pretraining("a run"), **kept
        ).excluded_by
        is None
    )


def test_a_pretrained_model_competes_with_the_lattice_under_the_same_limits() -> None:
    budget = Budget(train_minutes=5)
    alone = solve(SMALL, budget, axes=AXES, task=TASK)
    member = estimate(
        SMALL, budget, name="small, pretrained", pretraining=Pretraining("hub"), task=TASK
    )
    both = solve(SMALL, budget, axes=AXES, task=TASK, candidates=[member])
    assert both.best == member
    assert both.considered == alone.considered + 1
    assert both.fitting == alone.fitting + 1
    large = estimate(replace(B0, resolution=224), budget, pretraining=Pretraining("hub"), task=TASK)
    assert large.excluded_by is not None
    without = solve(SMALL, budget, axes=AXES, task=TASK, candidates=[large])
    assert without.best == alone.best
    assert without.excluded["train_minutes"] == alone.excluded["train_minutes"] + 1


def test_where_no_scaling_fits_a_candidate_may() -> None:
    budget = Budget(train_minutes=0.05)
    member = estimate(
        SMALL, budget, name="small", pretraining=Pretraining("hub"), images_per_s=1e6, task=TASK
    )
    with pytest.raises(BudgetError):
        solve(SMALL, budget, axes=AXES, task=TASK)
    assert solve(SMALL, budget, axes=AXES, task=TASK, candidates=[member]).best == member


def test_candidates_are_ranked_by_the_same_rules() -> None:
    budget = Budget(macs=4e6)
    networks = [
        estimate(scale(SMALL, Scaling(width=w)), budget, name=f"x{w}", task=TASK)
        for w in (0.5, 1.0, 2.0)
    ]
    solution = rank(networks, sd=LAW.sd)
    assert solution.best.name == "x1.0"
    assert (solution.considered, solution.fitting) == (3, 2)
    assert solution.excluded == {"macs": 1}
    assert networks[2].excluded_by is not None and networks[2].excluded_by.startswith("macs ")
    assert [each.name for each in solution.pareto] == ["x1.0", "x0.5"]


def test_equal_errors_go_to_fewer_macs() -> None:
    networks = [
        replace(estimate(scale(SMALL, Scaling(width=w)), task=LAW_ALONE), error=0.2)
        for w in (2.0, 0.5, 1.0)
    ]
    assert rank(networks, sd=0.01).best == networks[1]
    assert rank(networks[::-1], sd=0.01).best == networks[1]


def test_candidates_of_different_budgets_are_not_compared() -> None:
    one, other = (estimate(SMALL, Budget(macs=m), task=LAW_ALONE) for m in (1e7, 2e7))
    with pytest.raises(UsageError, match="Estimate all networks for one budget"):
        rank([one, other], sd=0.01)
    with pytest.raises(UsageError, match="Name at least one"):
        rank([], sd=0.01)
    with pytest.raises(BudgetError, match="no candidate has macs <= 1K"):
        rank([estimate(SMALL, Budget(macs=1e3), task=LAW_ALONE)], sd=0.01)


def test_another_family_is_measured_over_the_same_base() -> None:
    by = effective(SMALL, B0, native_pixels=32)
    assert by.depth == 10 / 16
    assert by.resolution == 1  # both see 32 real pixels
    assert 0.1 < by.width < 0.5
    again = effective(scale(SMALL, Scaling(depth=2, width=2)), B0)
    assert again.depth == 2 * by.depth
    assert again.width == pytest.approx(2 * by.width)
    assert effective(B0, B0) == Scaling()


@dataclass(frozen=True)
class Flat:
    """A law of which only width counts."""

    sd: float = 0.0

    def error(self, *, depth: Any, width: Any, resolution: Any, images: Any = None) -> Any:
        return 1 / width


def test_any_object_that_predicts_is_a_law() -> None:
    best = solve(SMALL, Budget(macs=4e6), task=PlanningTask(law=Flat()), axes=AXES).best
    assert (best.depth, best.spec.resolution) == (0.5, 16)
    assert best.width > 1.2


# Explanations


def test_finalists_are_clearly_different_and_within_the_laws_error() -> None:
    solution = solve(B0, Budget(macs=400e6), axes=FEW_WIDTHS)
    networks = finalists(solution)
    assert networks[0] == solution.best
    assert 2 <= len(networks) <= 3
    assert len(finalists(solution, limit=2)) == 2
    for i, one in enumerate(networks):
        assert one.error <= solution.best.error + solution.law_sd
        for other in networks[:i]:
            ratios = [
                getattr(one, name) / getattr(other, name)
                for name in ("depth", "width", "resolution")
            ]
            assert any(ratio > 1.19 or ratio < 1 / 1.19 for ratio in ratios)


def test_a_certain_law_leaves_one_finalist() -> None:
    solution = solve(SMALL, task=PlanningTask(law=replace(LAW, sd=0.0)), axes=AXES)
    assert finalists(solution) == (solution.best,)


def test_the_explanation_names_what_won_what_it_costs_and_what_was_excluded() -> None:
    text = explain(solve(SMALL, Budget(macs=4e6, params=2e5), axes=AXES, task=TASK))
    for part in (
        " px (",
        "): predicted top-1 error ",
        " % (a prior), the least of ",
        "networks within all limits",
        "points",
        "M MACs",
        " ms",
        "epochs",
        f"Of {len(DEPTHS) * len(WIDTHS) * len(PIXELS)} networks, excluded by macs: ",
        "by params: ",
    ):
        assert part in text
    assert "\n" not in text


def test_the_explanation_of_tied_networks_names_short_trial_runs() -> None:
    text = explain(solve(B0, Budget(macs=400e6), axes=FEW_WIDTHS))
    assert "Statistically tied with depth x" in text
    assert text.endswith("; short trial runs can separate them.")


def test_a_notebook_shows_the_explanation_and_the_pareto_front_as_a_table() -> None:
    solution = solve(SMALL, Budget(macs=4e6), axes=AXES, task=TASK)
    page = solution._repr_html_()
    assert f"<caption>{html.escape(explain(solution))}</caption>" in page
    assert "<th>predicted top-1 error</th>" in page and "<th>latency</th>" in page
    assert page.count("<tr>") == 1 + len(solution.pareto)
    assert all(f"<td>{html.escape(each.name)}</td>" in page for each in solution.pareto)
    assert "latency" not in solve(SMALL, axes=AXES, task=LAW_ALONE)._repr_html_()


def test_a_notebook_shows_the_names_of_candidates_as_text() -> None:
    named = estimate(SMALL, task=LAW_ALONE, name="<b>bold</b> & plain")
    page = rank([named], sd=0.01)._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; plain" in page and "<b>" not in page


def test_a_base_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(SMALL.to_json())
    (tmp_path / "mine.py").write_text(
        "from phiscale.arch.families import get_spec\nNET = get_spec('small')\n"
    )
    for base in ("small", str(tmp_path / "spec.json"), f"{tmp_path / 'mine.py'}:NET"):
        assert (
            solve(base, Budget(macs=4e6), axes=AXES, task=TASK).best
            == solved(Budget(macs=4e6)).best
        )
        assert estimate(base, task=TASK) == estimate(SMALL, task=TASK)
    for function in (solve, estimate):
        with pytest.raises(SpecError, match=r"'smal' is not a model.*small"):
            function("smal")


def test_a_candidate_is_a_row_of_plain_numbers() -> None:
    row = estimate(SMALL, Budget(macs=1e3), name="small", task=TASK).to_dict()
    assert row["name"] == "small"
    assert row["pixels"] == 32
    assert row["ruled_out"] == "macs 3.32M > 1K"
    assert all(value is None or isinstance(value, str | int | float) for value in row.values())


def test_a_limit_that_is_narrowly_exceeded_is_written_with_enough_digits() -> None:
    assert str(Limit("macs", 400_000_001, 400_000_000)) == "macs 400.000001M > 400M"
    assert str(Limit("weight_bytes", 20.5e6, 20e6)) == "weight_bytes 20.5MB > 20MB"
    assert str(Limit("train_minutes", 1500, 10)) == "train_minutes 1500 > 10"


# Refusals


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (
            Budget(latency_ms=0.001),
            r"no scaling of small has latency_ms <= 0\.001: the smallest network needs 0\.\d+ ms "
            r"\(depth x0\.50, width x0\.\d+, 16 px\)\. Raise `latency_ms` to 0\.\d+\.",
        ),
        (Budget(macs=1000), r"needs \d+K MACs.*Raise `macs` to \d+K\."),
        (Budget(params=1000), r"K params.*Raise `params` to"),
        (Budget(weight_bytes=1000), r"KB of weights.*Raise `weight_bytes` to \d+KB\."),
        (Budget(train_memory_bytes=1e5), r"MB of training memory.*Raise `train_memory_bytes` to"),
        (
            Budget(train_minutes=0.001),
            r"minutes for the fewest useful epochs.*Raise `train_minutes` to",
        ),
        (Budget(macs=1000, params=1e9, latency_ms=100), r"has macs <= 1K: "),
    ],
)
def test_an_impossible_limit_is_named_with_the_nearest_network(budget: Budget, says: str) -> None:
    with pytest.raises(BudgetError, match=says):
        solve(SMALL, budget, name="small", axes=AXES, task=TASK)


def test_limits_that_only_together_are_impossible_are_named_together() -> None:
    wide = estimate(scale(SMALL, Scaling(width=2)), task=LAW_ALONE)
    sharp = estimate(replace(SMALL, resolution=80), task=LAW_ALONE)
    assert sharp.cost.params < wide.cost.params and wide.cost.macs < sharp.cost.macs
    budget = Budget(params=sharp.cost.params, macs=wide.cost.macs)
    with pytest.raises(BudgetError, match=r"macs <= .* and params <= .* together: the \w+ network"):
        rank([estimate(each.spec, budget, task=LAW_ALONE) for each in (wide, sharp)], sd=0.01)


def test_an_empty_lattice_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one"):
        solve(SMALL, task=LAW_ALONE, axes=LatticeAxes(depths=[], pixels=PIXELS))


@given(budgets(), st.sampled_from(LIMITS))
@settings(max_examples=25, deadline=None)
def test_the_limits_that_a_refusal_suggests_are_enough(budget: Budget, name: str) -> None:
    impossible = replace(
        budget,
        **{
            name: max(1.0, levels()[name][0] / 3)
            if name not in ("latency_ms", "train_minutes")
            else levels()[name][0] / 3
        },
    )
    with pytest.raises(BudgetError) as refusal:
        solved(impossible)
    raised = {}
    for part in str(refusal.value).rpartition("Raise ")[2].rstrip(".").split(" and "):
        quoted, _, amount = part.partition(" to ")
        field = quoted.strip("`")
        parse = {
            "latency_ms": float,
            "train_minutes": float,
            "macs": parse_count,
            "params": parse_count,
        }.get(field, parse_bytes)
        raised[field] = parse(amount)
    assert name in raised
    assert solved(replace(impossible, **raised)).fitting >= 1


@pytest.mark.parametrize(
    ("budget", "kept", "says"),
    [
        (
            Budget(latency_ms=5),
            {},
            r"`latency_ms`.*phiscale calibrate --out device\.json.*`device_model`",
        ),
        (
            Budget(latency_ms=5),
            {"device_model": replace(DEVICE, latency=None)},
            "phiscale calibrate",
        ),
        (
            Budget(train_minutes=5),
            {"train_images": 100},
            r"`train_minutes`.*phiscale calibrate.*`device_model`",
        ),
        (
            Budget(train_minutes=5),
            {"device_model": DEVICE},
            "number of training images.*`train_images`",
        ),
        (Budget(), {"train_images": 0}, "train_images=0"),
        (Budget(), {"native_pixels": -1}, "native_pixels=-1"),
        (Budget(), {"batch": 0}, "batch=0"),
        (Budget(), {"min_epochs": 10, "max_epochs": 5}, "Lower `min_epochs` or raise `max_epochs`"),
    ],
)
def test_arguments_that_lack_something_or_contradict_are_refused(
    budget: Budget, kept: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        solve(SMALL, budget, task=PlanningTask(law=LAW, **kept), axes=AXES)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_a_number_above_zero(name: str, value: float) -> None:
    with pytest.raises(
        UsageError, match=rf"{name}={value} is not a finite number above 0.*leave it out"
    ):
        Budget(**{name: value})


def test_a_count_below_one_is_refused_since_its_unit_was_forgotten() -> None:
    with pytest.raises(UsageError, match=r"macs=0\.4 is less than 1.*400e6"):
        Budget(macs=0.4)
    assert Budget(latency_ms=0.4, train_minutes=0.5).limits == {
        "latency_ms": 0.4,
        "train_minutes": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("400M", 400_000_000),
        ("1.8G", 1_800_000_000),
        ("1.8b", 1_800_000_000),
        ("5k", 5000),
        (" 2 T ", 2 * 10**12),
        ("123", 123),
        ("1e9", 10**9),
        (".5M", 500_000),
        ("3.M", 3_000_000),
    ],
)
def test_counts_are_read(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20MB", 20_000_000),
        ("20MiB", 20 * 2**20),
        ("20", 20),
        ("1.5 gb", 1_500_000_000),
        ("1GiB", 2**30),
        ("64KiB", 65536),
        ("7B", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "M", "400 MB", "-4M", "4X", "nan", "inf", "1,8G", "4M4", "0", "0.1", "1e99", "1e999"],
)
def test_a_text_that_is_not_a_count_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a count.*400M or 1\.8G"):
        parse_count(text)


@pytest.mark.parametrize("text", ["20M", "20 megabytes", "twenty", "0MB", "20iB"])
def test_a_text_that_is_not_a_size_is_refused_with_both_kinds(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a size.*20MB \(10\^6\) or 20MiB \(2\^20\)"):
        parse_bytes(text)


def test_planning_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import phiscale.planning.budget, sys\n"
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
