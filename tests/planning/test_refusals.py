"""Budgets that no network meets and tasks that lack something."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import BudgetError, UsageError
from phiscale.planning.budget import (
    Budget,
    PlanningTask,
    estimate,
    parse_bytes,
    parse_count,
    rank,
    solve,
)
from support.planning import (
    AXES,
    DEVICE,
    LAW,
    LAW_ALONE,
    LIMITS,
    SMALL,
    TASK,
    budgets,
    levels,
    solved,
)


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


def test_planning_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import phiscale.planning.budget, sys\n"
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"
