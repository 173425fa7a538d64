"""alpha, beta and gamma of a law, and their intervals."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.errors import UsageError
from phiscale.planning.laws import COARSE
from phiscale.planning.laws.optimum import Optimum, bootstrap_intervals, optima, optimum
from phiscale.planning.laws.points import Points
from phiscale.planning.laws.posterior import posterior
from phiscale.planning.priors import published_law
from support.published import B0_TO_B3_AND_ARMS, JOINT, PAPER, paper_arms, table_points


@pytest.mark.parametrize(
    ("points", "within"),
    [(paper_arms(), 0.07), (JOINT.select(B0_TO_B3_AND_ARMS), 0.06), (JOINT, 0.06)],
)
@pytest.mark.parametrize("run_sd", [0.0015, 0.0025])
def test_alpha_beta_gamma_at_b3s_compute_are_the_papers(
    points: Points, within: float, run_sd: float
) -> None:
    result = optimum(posterior(points, run_sd=run_sd), 4.67)
    assert result.values == pytest.approx(PAPER, abs=within)
    for low, value, high in zip(result.low, PAPER, result.high, strict=True):
        assert low - 0.01 <= value <= high + 0.01


@pytest.mark.parametrize("points", [paper_arms(), JOINT])
def test_equal_dimensions_are_not_excluded_by_the_published_rows(points: Points) -> None:
    result = optimum(posterior(points, run_sd=0.0025), 2.0)
    assert result.equal_split_inside and not result.equal_split_excluded
    assert "not excluded at 2x" in result.verdict()


def test_equal_dimensions_are_excluded_by_rows_that_differ_clearly() -> None:
    x = np.array([*product((0.5, 1, 2, 4), (0.7, 1, 2), (0.7, 1, 2))])
    error = 0.1 + 0.02 * x[:, 0] ** -0.4 + 0.05 * x[:, 1] ** -1.8 + 0.03 * x[:, 2] ** -1
    points = Points(JOINT.axes, x, error, np.ones(len(x)), tuple(map(str, range(len(x)))))
    result = optimum(posterior(points, run_sd=0.0005), 8.0)
    assert result.equal_split_excluded and "is excluded" in result.verdict()


def test_the_bootstrap_agrees_with_the_posterior() -> None:
    fit = posterior(JOINT, run_sd=0.0025, grid=COARSE)
    result = optimum(fit, 4.67)
    low, high = bootstrap_intervals(fit, 4.67)
    assert low == pytest.approx(result.low, abs=0.05)
    assert high == pytest.approx(result.high, abs=0.05)


def test_the_bootstrap_does_not_depend_on_the_run_sd_of_the_fit() -> None:
    """The intervals of the posterior do: a run_sd that is too small makes them too narrow."""
    small, large = (posterior(JOINT, run_sd=sd, grid=COARSE) for sd in (0.0003, 0.0025))

    def widths(interval: tuple[Any, Any]) -> np.ndarray:
        return np.subtract(interval[1], interval[0])

    optima_of_both = (optimum(fit, 4.67) for fit in (small, large))
    of_posterior = [widths((each.low, each.high)) for each in optima_of_both]
    of_bootstrap = [widths(bootstrap_intervals(fit, 4.67)) for fit in (small, large)]
    assert of_posterior[1].sum() > 3 * of_posterior[0].sum()
    assert of_bootstrap[1].sum() < 2 * of_bootstrap[0].sum()


def test_rows_that_a_law_goes_through_have_no_bootstrap() -> None:
    fit = posterior(JOINT.select(range(5)), run_sd=0.0025, grid=COARSE)
    assert bootstrap_intervals(fit, 4.67) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    fit = posterior(JOINT, run_sd=0.0025, grid=COARSE)
    one, same, other = (optimum(fit, 2.0, seed=seed) for seed in (0, 0, 1))
    assert (one.low, one.high) == (same.low, same.high) != (other.low, other.high)


@given(st.floats(1.2, 60))
@settings(max_examples=20, deadline=None)
def test_coefficients_spend_the_compute_and_shrink_nothing(compute: float) -> None:
    result = optimum(posterior(JOINT, run_sd=0.0025, grid=COARSE), compute, draws=100)
    assert result.scaling.macs == pytest.approx(compute, rel=1e-3)
    alpha, beta, gamma = result.values
    assert alpha * beta**2 * gamma**2 == pytest.approx(2, rel=1e-3)
    assert min(result.values) >= 1 and (result.draws >= 1 - 1e-9).all()


@given(st.floats(0.05, 0.8))
@settings(max_examples=10, deadline=None)
def test_smaller_networks_grow_in_no_dimension(compute: float) -> None:
    result = optimum(posterior(JOINT, run_sd=0.0025, grid=COARSE), compute, draws=50)
    by = result.scaling
    assert by.macs == pytest.approx(compute, rel=1e-3)
    assert max(by.depth, by.width, by.resolution) <= 1 + 1e-9


def test_the_optimum_of_a_single_law_is_that_of_law() -> None:
    law = published_law()
    terms = (law.depth, law.width, law.resolution)
    p, a = np.array([[t.p for t in terms]]), np.array([[t.A for t in terms]])
    best = law.optimum(16.0)
    assert np.exp(optima(p, a, 16.0)[0]) == pytest.approx((best.depth, best.width, best.resolution))


@pytest.mark.parametrize("compute", [0.0, -1.0, 1.0, math.nan, math.inf])
def test_no_coefficients_for_a_compute_ratio_that_scales_nothing(compute: float) -> None:
    with pytest.raises(UsageError, match=r"no coefficients.*such as 2"):
        optimum(posterior(JOINT, run_sd=0.0025, grid=COARSE), compute)


def test_no_coefficients_from_a_law_of_compute_alone() -> None:
    with pytest.raises(UsageError, match=r"law of macs.*lacks depth, width, resolution"):
        optimum(posterior(table_points("efficientnet"), run_sd=0.0015), 2.0)


def test_coefficients_are_plain_values() -> None:
    result = optimum(posterior(JOINT, run_sd=0.0025, grid=COARSE), 2.0)
    assert isinstance(result, Optimum)
    assert sum(c * s for c, s in zip((1, 2, 2), result.slopes, strict=True)) == pytest.approx(1)
    assert result.offsets is not None
    assert sum(c * o for c, o in zip((1, 2, 2), result.offsets, strict=True)) == pytest.approx(0)
