"""Intervals and p-values of paired arms: how often they contain the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.errors import DataError
from phiscale.search.study.resampling import (
    adjust_by_holm,
    bootstrap_interval,
    measure_spread,
    sign_flip_test,
)
from support.simulated_arms import draw_noise, simulate_arms


def one_contrast(random: np.random.Generator, seed_sd: float) -> tuple[float, float]:
    """The interval of two arms of equal rates, image by image."""
    a, b = simulate_arms(random, {"a": 0.0, "b": 0.0}, seed_sd=seed_sd, arm_sd=0).values()
    return bootstrap_interval(measure_spread(a.correct, b.correct), draws=4000)


def test_two_equal_arms_without_selection_on_validation_seldom_differ() -> None:
    random = np.random.default_rng(5)
    result = [one_contrast(random, seed_sd=0.003) for _ in range(200)]
    assert np.mean([low > 0 for low, _ in result]) <= 0.08
    assert np.mean([high < 0 for _, high in result]) <= 0.08


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    """About 19 times of 20: neither too narrow nor too wide."""
    random, held = np.random.default_rng(2), 0
    for number in range(200):
        arms = simulate_arms(
            random, {"a": 0.004, "b": 0.0}, seed_sd=0.003, arm_sd=0.05, images=2000
        )
        spread = measure_spread(arms["a"].correct, arms["b"].correct)
        low, high = bootstrap_interval(spread, draws=2000, seed=number)
        held += low <= 0.004 <= high
    assert 0.9 <= held / 200 <= 0.995


# The bootstrap


def test_brute_force_counts_the_residual_three_times_and_our_bootstrap_once() -> None:
    """Rows and columns of the table itself resampled, against the variance of each level."""
    random = np.random.default_rng(0)
    shares = [0.1, 0.7, 0.2]
    residual = random.choice([-1, 0, 1], p=shares, size=(40, 500))  # no seed, no image effect
    a, b = residual > 0, residual < 0
    spread = measure_spread(a, b)
    drawn = []
    for _ in range(1500):
        rows = random.multinomial(40, [1 / 40] * 40) / 40
        columns = random.multinomial(500, [1 / 500] * 500) / 500
        drawn.append(rows @ residual @ columns)
    expected = float(residual.var()) / residual.size
    assert np.var(drawn) / expected == pytest.approx(3, rel=0.15)
    assert spread.standard_error**2 / expected == pytest.approx(1, rel=0.6)


def test_brute_force_and_our_bootstrap_agree_where_seeds_and_images_differ() -> None:
    random = np.random.default_rng(1)
    rate = np.clip(
        0.5 + random.normal(0, 0.3, 400)[None] + random.normal(0, 0.1, 30)[:, None], 0, 1
    )
    a, b = random.random((30, 400)) < rate, np.zeros((30, 400), dtype=bool)
    spread = measure_spread(a, b)
    drawn = [
        float(a[random.integers(30, size=30)][:, random.integers(400, size=400)].mean())
        for _ in range(1500)
    ]
    low, high = bootstrap_interval(spread)
    brute_low, brute_high = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx((brute_low, brute_high), abs=0.006)


def test_few_seeds_make_it_wider_by_the_t_quantile() -> None:
    for seeds, t in ((3, 4.303), (7, 2.447), (30, 2.045)):
        spread = replace(measure_spread(*draw_noise(0, seeds=seeds)), image_variance=0.0)
        low, high = bootstrap_interval(spread, draws=40_000)
        assert (high - low) / 2 == pytest.approx(t * spread.standard_error, rel=0.12), seeds


@given(st.integers(0, 10_000), st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_swapped_arms_mirror_the_interval(seed: int, seeds: int) -> None:
    a, b = draw_noise(seed, seeds)
    low, high = bootstrap_interval(measure_spread(a, b), draws=500)
    assert bootstrap_interval(measure_spread(b, a), draws=500) == pytest.approx(
        (-high, -low), abs=1e-12
    )


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_an_arm_does_not_differ_from_itself(seed: int) -> None:
    a, _ = draw_noise(seed)
    spread = measure_spread(a, a)
    assert (spread.difference, spread.standard_error, bootstrap_interval(spread)) == (0, 0, (0, 0))
    assert sign_flip_test(spread.seed_differences) == 1


@given(st.integers(0, 10_000), st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_images_that_both_arms_get_right_only_dilute(seed: int, more: int) -> None:
    a, b = draw_noise(seed)
    easy = np.ones((7, more), dtype=bool)
    spread, diluted = (
        measure_spread(a, b),
        measure_spread(np.hstack([a, easy]), np.hstack([b, easy])),
    )
    share = 300 / (300 + more)
    assert diluted.difference == pytest.approx(spread.difference * share, abs=1e-12)
    assert diluted.seed_variance == pytest.approx(spread.seed_variance * share**2, abs=1e-12)


@given(st.permutations(range(7)), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_seeds_and_images_does_not_matter(order: list[int], seed: int) -> None:
    a, b = draw_noise(seed)
    images = np.random.default_rng(seed).permutation(300)
    spread, mixed = measure_spread(a, b), measure_spread(a[order][:, images], b[order][:, images])
    assert mixed.difference == pytest.approx(spread.difference)
    assert mixed.standard_error == pytest.approx(spread.standard_error)


def test_the_parts_of_the_variance_are_those_that_were_simulated() -> None:
    random, result = np.random.default_rng(3), []
    for _ in range(40):
        image = random.choice([-0.3, 0.3], 1000)
        seed = random.normal(0, 0.05, 12)
        up = random.random((12, 1000)) < 0.5 + image[None] + seed[:, None]
        result.append(measure_spread(up, np.zeros_like(up)))
    assert np.mean([f.image_variance for f in result]) == pytest.approx(0.09, rel=0.05)
    rest = (0.8 * 0.2 - 0.05**2) / 1000
    assert np.mean([f.seed_variance for f in result]) == pytest.approx(0.05**2 + rest, rel=0.15)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.ones((7, 5), bool), np.ones((6, 5), bool), "cannot be paired"),
        (np.ones((7, 5)), np.ones((7, 5)), "Use bool"),
        (np.ones((1, 5), bool), np.ones((1, 5), bool), "2 or more of both"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(a: Any, b: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        measure_spread(a, b)


# Permutations, several contrasts


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_permutation_test_counts_all_assignments_of_signs(differences: list[float]) -> None:
    seen = abs(sum(differences))
    signs = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(each, differences, strict=True))) for each in signs]
    expected = sum(each >= seen - 1e-12 for each in sums) / len(signs)
    # sums that differ by rounding alone may fall on either side
    assert sign_flip_test(differences) == pytest.approx(expected, abs=1e-9) or any(
        0 < abs(each - seen + 1e-12) < 1e-12 for each in sums
    )


def test_seven_seeds_of_one_sign_have_the_least_p_there_is() -> None:
    assert sign_flip_test([0.01, 0.02, 0.003, 0.01, 0.02, 0.01, 0.004]) == 2 / 2**7


def test_many_seeds_are_sampled_the_same_way_every_time() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 13)
    exact = np.mean(
        np.abs(np.array(list(product((1, -1), repeat=13))) @ differences)
        >= abs(differences.sum()) - 1e-12
    )
    assert sign_flip_test(differences.tolist()) == sign_flip_test(differences.tolist())
    assert sign_flip_test(differences.tolist()) == pytest.approx(exact, abs=0.015)
    assert sign_flip_test([1.0] * 40) > 0


@pytest.mark.parametrize("wrong", [[], [math.nan, 1.0]])
def test_missing_differences_are_refused(wrong: Sequence[float]) -> None:
    with pytest.raises(DataError, match="one finite difference for each seed"):
        sign_flip_test(wrong)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ((0.01, 0.04, 0.03), (0.03, 0.06, 0.06)),  # 3 x .01; max(2 x .03, ...); max(1 x .04, ...)
        ((0.04, 0.01, 0.03), (0.06, 0.03, 0.06)),
        ((0.01, 0.01, 0.5), (0.03, 0.03, 0.5)),
        ((0.5, 0.6, 0.7), (1.0, 1.0, 1.0)),
        ((0.02,), (0.02,)),
        ((), ()),
    ],
)
def test_holm_by_hand(p_values: tuple[float, ...], adjusted: tuple[float, ...]) -> None:
    assert adjust_by_holm(p_values) == pytest.approx(adjusted)
