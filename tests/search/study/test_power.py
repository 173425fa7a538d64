"""What a study can detect, and the sample that it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from phiscale.errors import DataError
from phiscale.search.study.power import (
    detectable_difference,
    expected_seed_sd,
    expected_standard_error,
    required_sample,
    required_seeds_range,
    seeds_to_detect,
)
from phiscale.search.study.resampling import (
    SeedSpread,
    measure_spread,
)
from support.simulated_arms import IMAGES, draw_noise, simulate_arms


@pytest.mark.parametrize(
    ("error", "sd_points"), [(0.35, 0.42), (0.15, 0.27), (0.11, 0.23), (0.06, 0.17)]
)
def test_seed_sd_of_calibrated_classifiers_on_ten_thousand_images(
    error: float, sd_points: float
) -> None:
    assert 100 * expected_seed_sd(error, 10_000) == pytest.approx(sd_points, abs=0.006)


def test_eighty_percent_power_takes_2_8_standard_errors_and_3_2_among_three() -> None:
    assert (detectable_difference(1.0), detectable_difference(1.0, 3)) == pytest.approx(
        (2.8, 3.24), abs=0.005
    )


def test_proposed_seeds_detect_the_difference_and_fewer_do_not() -> None:
    for seed_sd, difference in ((0.003, 0.01), (0.005, 0.015), (0.009, 0.01)):
        seeds = seeds_to_detect(difference, seed_sd, 10_000)
        assert seeds is not None
        enough, fewer = (
            detectable_difference(expected_standard_error(seed_sd, s, 10_000), seeds=s)
            for s in (seeds, seeds - 1)
        )
        assert enough <= difference < fewer


def test_no_number_of_seeds_makes_up_for_few_images() -> None:
    assert seeds_to_detect(0.003, 0.002, 10_000) is None
    with pytest.raises(DataError, match="cannot be detected"):
        seeds_to_detect(0.0, 0.002, 10_000)


# The required sample


def test_the_required_sample_detects_the_observed_difference() -> None:
    arms = simulate_arms(np.random.default_rng(4), {"a": 0.006, "b": 0.0}, seed_sd=0.006)
    spread = measure_spread(arms["a"].correct, arms["b"].correct)
    seeds, images = required_sample(spread)
    reach = max(abs(spread.difference), 0.003 - abs(spread.difference))
    assert detectable_difference(spread.error_at(seeds, images)) <= reach
    assert seeds == 7 or detectable_difference(spread.error_at(seeds - 2, images)) > 0.8 * reach


def test_the_required_seeds_show_equivalence_four_times_in_five() -> None:
    """By drawing means of so many seeds, not by the formula."""
    random, sd = np.random.default_rng(7), 0.004
    spread = SeedSpread(
        difference=0.0,
        seed_differences=(0.0,) * 7,
        seed_variance=sd**2,
        image_variance=0.0,
        images=IMAGES,
    )
    seeds, _ = required_sample(spread)
    drawn = random.normal(0, sd, (4000, seeds))
    reach = float(stdtrit(seeds - 1, 0.975)) * drawn.std(axis=1, ddof=1) / np.sqrt(seeds)
    within = np.abs(drawn.mean(axis=1)) + reach <= 0.003
    assert 0.77 < within.mean() < 0.88


def test_more_images_are_required_where_no_number_of_seeds_is_enough() -> None:
    spread = replace(
        measure_spread(*draw_noise(0)), seed_variance=1e-5, image_variance=0.04, difference=0.001
    )
    seeds, images = required_sample(spread)
    assert images > 10_000 and 7 < seeds < 1000


spreads = st.builds(
    SeedSpread,
    difference=st.floats(-0.02, 0.02),
    seed_differences=st.integers(2, 40).map(lambda seeds: (0.0,) * seeds),
    seed_variance=st.floats(0, 1e-3),
    image_variance=st.floats(0, 0.04),
    images=st.integers(100, 50_000),
)


@given(spreads)
@settings(deadline=None)
def test_the_range_of_required_seeds_contains_their_number(spread: SeedSpread) -> None:
    seeds, _ = required_sample(spread)
    low, high = required_seeds_range(spread)
    assert low <= seeds <= high


@given(spreads, st.integers(1, 40))
@settings(deadline=None)
def test_more_seeds_of_the_same_spread_narrow_the_range(spread: SeedSpread, more: int) -> None:
    longer = replace(spread, seed_differences=(0.0,) * (spread.seeds + more))
    low, high = required_seeds_range(spread)
    narrow_low, narrow_high = required_seeds_range(longer)
    assert low <= narrow_low <= narrow_high <= high


def test_the_range_holds_the_seeds_that_the_true_spread_needs_four_times_in_five() -> None:
    random, sd, held = np.random.default_rng(6), 0.01, 0
    spread = SeedSpread(
        difference=0.006,
        seed_differences=(0.0,) * 4,
        seed_variance=sd**2,
        image_variance=0.0,
        images=IMAGES,
    )
    truth, _ = required_sample(spread)
    for _ in range(500):
        seen = replace(spread, seed_variance=float(np.var(random.normal(0, sd, 4), ddof=1)))
        low, high = required_seeds_range(seen)
        held += low <= truth <= high
    assert held / 500 == pytest.approx(0.8, abs=0.06)
