"""Baselines for searches of coefficients: grids, rays, and networks of equal compute."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import STRATEGIES, ScaledNetwork, Scaling, Strategy
from phiscale.errors import UsageError
from phiscale.planning.budget import effective
from phiscale.planning.laws import Law, Term
from phiscale.search.coefficients.law import law_error
from phiscale.search.spaces.lattice import cost_metric, lattice
from phiscale.search.spaces.rays import INVERSE, match_compute, paper_grid, symmetric_scaling

SMALL_16 = replace(get_spec("small"), resolution=16)
BASE_MACS = cost(SMALL_16).macs
LAW = Law(
    e0=0.05,
    depth=Term(0.02, 1.0),
    width=Term(0.03, 0.8),
    resolution=Term(0.04, 0.9),
    sd=0.003,
    source="a test",
)


def arm(name: str, compute: float = 4.0) -> ScaledNetwork:
    return match_compute(SMALL_16, {**STRATEGIES, "inverse": INVERSE}[name], compute * BASE_MACS)


# Networks of equal compute


@pytest.mark.parametrize(
    ("name", "repeats", "last_channels", "pixels", "compute"),
    [
        ("depth", (8, 8, 8, 8, 8), 48, 16, 3.89),
        ("width", (2, 2, 2, 2, 2), 104, 16, 4.11),
        ("resolution", (2, 2, 2, 2, 2), 48, 32, 3.96),
        ("compound", (3, 3, 3, 3, 3), 60, 20, 4.03),
        ("inverse", (3, 3, 3, 4, 4), 56, 18, 3.99),
    ],
)
def test_the_arms_of_four_times_the_compute_of_small_at_16_pixels(
    name: str, repeats: tuple[int, ...], last_channels: int, pixels: int, compute: float
) -> None:
    network = arm(name)
    assert tuple(stage.repeats for stage in network.spec.stages) == repeats
    assert (network.spec.stages[-1].channels, network.spec.resolution) == (last_channels, pixels)
    assert network.compute_ratio == pytest.approx(compute, abs=0.006)


@pytest.mark.parametrize("member", ["efficientnet_b0", "resnet50", "mobilenetv2_100"])
@pytest.mark.parametrize("name", ["depth", "width", "resolution", "compound", "uniform"])
def test_every_family_has_arms_within_three_percent(member: str, name: str) -> None:
    base = get_spec(member)
    network = match_compute(base, STRATEGIES[name], 4 * cost(base).macs)
    assert network.compute_ratio == cost(network.spec).macs / cost(base).macs
    assert network.compute_ratio == pytest.approx(4, rel=0.0301)
    assert network.off_ray <= 0.1
    assert network.by == effective(network.spec, base)


def test_an_arm_of_one_dimension_leaves_the_others_alone() -> None:
    assert (arm("depth").by.width, arm("depth").by.resolution) == (1, 1)
    assert (arm("width").by.depth, arm("width").by.resolution) == (1, 1)
    assert (arm("resolution").by.depth, arm("resolution").by.width) == (1, 1)


def test_any_scaling_on_a_ray_stands_for_the_ray() -> None:
    on_it = STRATEGIES["compound"](1.7)
    assert match_compute(SMALL_16, on_it, 4 * BASE_MACS) == arm("compound")


def test_a_network_may_shrink_along_a_ray_too() -> None:
    base = get_spec("efficientnet_b0")
    network = match_compute(base, STRATEGIES["compound"], cost(base).macs / 2)
    assert network.compute_ratio == pytest.approx(0.5, rel=0.03)
    assert max(network.by.depth, network.by.width, network.by.resolution) < 1


@given(st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0.1, 1), st.floats(2.5, 12))
@settings(max_examples=15, deadline=None)
def test_any_shares_spend_the_target_compute(d: float, w: float, r: float, T: float) -> None:
    total = d + w + r
    shares = Strategy(depth=d / total, width=w / total, resolution=r / total)
    assert match_compute(SMALL_16, shares, T * BASE_MACS).compute_ratio == pytest.approx(
        T, rel=0.0301
    )


def test_compute_that_no_network_has_is_refused_and_the_message_names_a_tolerance_that_works() -> (
    None
):
    with pytest.raises(UsageError, match=r"nearest is .* off\. Use tolerance=0\.1"):
        match_compute(SMALL_16, STRATEGIES["resolution"], 0.5 * BASE_MACS)
    match_compute(SMALL_16, STRATEGIES["resolution"], 0.5 * BASE_MACS, tolerance=0.15)


@pytest.mark.parametrize(("macs", "tolerance"), [(0, 0.03), (math.nan, 0.03), (1e6, 0), (1e6, 2)])
def test_an_impossible_target_or_tolerance_is_refused(macs: float, tolerance: float) -> None:
    with pytest.raises(UsageError, match="no network has that"):
        match_compute(SMALL_16, STRATEGIES["depth"], macs, tolerance=tolerance)


# Scalings without a search


@pytest.mark.parametrize(
    ("step", "slack", "candidates", "one"),
    [(0.1, 0.15, 25, (1.2, 1.2, 1.1)), (0.05, 0.08, 84, (1.2, 1.1, 1.15))],
)
def test_the_papers_grid_has_as_many_candidates(
    step: float, slack: float, candidates: int, one: tuple[float, ...]
) -> None:
    grid = paper_grid(step, slack)
    assert len(set(grid)) == candidates
    assert one in grid


def test_a_grid_of_no_step_is_refused() -> None:
    with pytest.raises(UsageError, match="make no grid"):
        paper_grid(0)


def test_equal_returns_alone_give_nearly_the_papers_coefficients() -> None:
    by, phi = symmetric_scaling(4.67), math.log2(4.67)
    coefficients = [value ** (1 / phi) for value in (by.depth, by.width, by.resolution)]
    assert coefficients == pytest.approx((1.28, 1.12, 1.12), abs=0.005)


@given(st.floats(1.1, 100), st.floats(0.3, 4))
def test_the_symmetric_baseline_is_the_optimum_of_a_law_of_equal_terms(T: float, p: float) -> None:
    term = Term(0.02, p)
    law = Law(e0=0, depth=term, width=term, resolution=term, sd=0, source="a test")
    baseline, best = symmetric_scaling(T, p), law.optimum(T)
    assert baseline.macs == pytest.approx(T)
    assert (baseline.depth, baseline.width) == pytest.approx((best.depth, best.width), rel=1e-6)


def test_inverse_swaps_depth_and_resolution() -> None:
    paper = STRATEGIES["compound"]
    swapped = (INVERSE.depth, INVERSE.width, INVERSE.resolution)
    assert swapped == (paper.resolution, paper.width, paper.depth)


# Networks that are statistically tied


def test_tied_networks_are_within_a_tenth_of_a_point_best_first() -> None:
    networks = lattice(SMALL_16, cost_metric("macs", None)).indifferent(LAW, 4.0)
    errors = [law_error(LAW, network.by) for network in networks]
    assert len(networks) > 1 and errors == sorted(errors)
    assert errors[-1] - errors[0] <= 0.001
    assert all(abs(math.log(cost(p.spec).macs / BASE_MACS / 4)) <= 0.0301 for p in networks)


def test_compute_beyond_the_lattice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no network costs 1000 times the base; the nearest is"):
        lattice(SMALL_16, cost_metric("macs", None)).at(1000.0)


def test_compute_of_zero_has_no_symmetric_scaling() -> None:
    with pytest.raises(UsageError, match="above 0"):
        symmetric_scaling(0)
    assert isinstance(symmetric_scaling(1), Scaling)
