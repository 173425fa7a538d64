"""Single networks: estimated, ranked, and beside a lattice under the same limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import BudgetError, UsageError
from phiscale.planning.budget import (
    Budget,
    PlanningTask,
    Pretraining,
    effective,
    estimate,
    rank,
    solve,
)
from support.planning import AXES, B0, LAW, LAW_ALONE, SMALL, TASK


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
