"""What tests of planning share: a device, a law, and every network of a small lattice."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.planning.budget import (
    Budget,
    Candidate,
    LatticeAxes,
    PlanningTask,
    Solution,
    estimate,
    lattice_widths,
    solve,
)
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes
from phiscale.planning.laws import Term
from phiscale.planning.priors import published_law

B0, B3, SMALL = get_spec("efficientnet_b0"), get_spec("efficientnet_b3"), get_spec("small")
LAW = replace(published_law(), images=Term(0.05, 0.5))
DEVICE = DeviceModel(
    fingerprint=DeviceFingerprint(
        device="a test", cores=2, threads=2, runtime="-", torch="-", date="-"
    ),
    latency=Timing(
        rates=UnitTimes(
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
        rates=UnitTimes(
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
