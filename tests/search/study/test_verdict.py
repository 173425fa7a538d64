"""The statistics of a scaling study: what they find, and how seldom they find what is not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from phiscale.errors import DataError
from phiscale.planning.laws import Term
from phiscale.search.study.resampling import (
    SeedSpread,
    bootstrap_interval,
    detectable,
    expected_error,
    expected_seed_sd,
    holm,
    seeds_to_detect,
    sign_flip,
    spread,
)
from phiscale.search.study.verdict import (
    SINGLES,
    ArmResults,
    StudyVerdict,
    compute_law,
    macs_correction,
    needed,
    needed_range,
    settle,
    verdict,
)

IMAGES = 10_000


def simulated(
    random: np.random.Generator,
    arms: Mapping[str, float],
    *,
    seeds: int = 7,
    seed_sd: float = 0.003,
    arm_sd: float = 0.15,
    images: int = IMAGES,
) -> dict[str, ArmResults]:
    """Arms of about 89 % with these gains in accuracy.

    Every image has a rate of success, most of them 1. Arms have a taste for images: it moves the
    rates of the hard ones (by `arm_sd` over all images), to no gain but by the luck of this test
    set. A seed moves an arm by `seed_sd`, on test and validation alike; then each answer is a throw
    of the dice.
    """
    hard = images // 4
    rate = random.beta(1.3, 1.0, hard)
    found = {}
    for name, gain in arms.items():
        luck = random.normal(0, seed_sd, seeds)
        taste = random.normal(0, arm_sd * 2, hard)
        wanted = rate + taste + (gain + luck[:, None]) * images / hard
        correct = np.ones((seeds, images), dtype=bool)
        correct[:, :hard] = random.random((seeds, hard), dtype=np.float32) < wanted
        validation = 0.89 + gain + luck + random.normal(0, math.sqrt(0.11 / 5000), seeds)
        found[name] = ArmResults(correct=correct, validation=validation)
    return found


EQUAL: dict[str, float] = dict.fromkeys(("compound", *SINGLES), 0.0)


def outcomes(
    studies: int, gains: Mapping[str, float], first: int = 0, **how: Any
) -> dict[str, float]:
    """Shares of the verdicts over simulated studies; a word each."""
    random = np.random.default_rng(first)
    said = [
        settle(simulated(random, gains, **how), draws=4000, seed=n).verdict.split(":")[0]
        for n in range(studies)
    ]
    return {word: said.count(word) / studies for word in set(said)} | {"studies": studies}


def assert_seldom_wrong(studies: int, seed_sd: float, **how: Any) -> None:
    """5 % and two binomial standard errors; 6.4 % of 1,000."""
    most = 0.05 + 2.03 * math.sqrt(0.05 * 0.95 / studies)
    found = outcomes(studies, EQUAL, seed_sd=seed_sd, **how)
    assert found.get("benefit", 0) <= most, found
    assert found.get("harm", 0) <= most, found


def one_contrast(random: np.random.Generator, seed_sd: float) -> tuple[float, float]:
    """The interval of two arms of equal rates, image by image."""
    a, b = simulated(random, {"a": 0.0, "b": 0.0}, seed_sd=seed_sd, arm_sd=0).values()
    return bootstrap_interval(spread(a.correct, b.correct), draws=4000)


# The rule keeps its word


@pytest.mark.parametrize("seed_sd", [0.002, 0.005])
def test_equal_arms_are_seldom_told_apart(seed_sd: float) -> None:
    assert_seldom_wrong(200, seed_sd)


@pytest.mark.slow
@pytest.mark.parametrize("arm_sd", [0.0, 0.15])
@pytest.mark.parametrize("seed_sd", [0.0, 0.002, 0.005])
def test_in_a_thousand_studies_of_equal_arms_each_false_verdict_is_within_five_percent(
    seed_sd: float, arm_sd: float
) -> None:
    assert_seldom_wrong(1000, seed_sd, arm_sd=arm_sd)


def test_two_equal_arms_without_a_choice_on_validation_are_seldom_told_apart() -> None:
    random = np.random.default_rng(5)
    found = [one_contrast(random, seed_sd=0.003) for _ in range(200)]
    assert np.mean([low > 0 for low, _ in found]) <= 0.08
    assert np.mean([high < 0 for _, high in found]) <= 0.08


def test_a_gain_of_one_and_a_half_points_is_found() -> None:
    gains = {**EQUAL, "compound": 0.015}
    found = outcomes(50, gains, seed_sd=0.005)
    assert found["benefit"] >= 0.8, found
    assert outcomes(50, {**EQUAL, "compound": -0.015}, seed_sd=0.005)["harm"] >= 0.8


def test_the_interval_is_as_wide_as_the_truth_asks() -> None:
    """It holds a true difference about 19 times of 20: neither lucky nor timid."""
    random, held = np.random.default_rng(2), 0
    for number in range(200):
        arms = simulated(random, {"a": 0.004, "b": 0.0}, seed_sd=0.003, arm_sd=0.05, images=2000)
        of = spread(arms["a"].correct, arms["b"].correct)
        low, high = bootstrap_interval(of, draws=2000, seed=number)
        held += low <= 0.004 <= high
    assert 0.9 <= held / 200 <= 0.995


# The bootstrap


def test_brute_force_counts_luck_of_an_image_with_a_seed_three_times_and_ours_once() -> None:
    """Rows and columns of the table itself resampled, against the variance of each level."""
    random = np.random.default_rng(0)
    shares = [0.1, 0.7, 0.2]
    luck = random.choice([-1, 0, 1], p=shares, size=(40, 500))  # all of it rest, no seed, no image
    a, b = luck > 0, luck < 0
    of = spread(a, b)
    drawn = []
    for _ in range(1500):
        rows = random.multinomial(40, [1 / 40] * 40) / 40
        columns = random.multinomial(500, [1 / 500] * 500) / 500
        drawn.append(rows @ luck @ columns)
    unique_results = float(luck.var()) / luck.size
    assert np.var(drawn) / unique_results == pytest.approx(3, rel=0.15)
    assert of.standard_error**2 / unique_results == pytest.approx(1, rel=0.6)


def test_brute_force_and_ours_agree_where_seeds_and_images_differ_for_good() -> None:
    random = np.random.default_rng(1)
    rate = np.clip(
        0.5 + random.normal(0, 0.3, 400)[None] + random.normal(0, 0.1, 30)[:, None], 0, 1
    )
    a, b = random.random((30, 400)) < rate, np.zeros((30, 400), dtype=bool)
    of = spread(a, b)
    drawn = [
        float(a[random.integers(30, size=30)][:, random.integers(400, size=400)].mean())
        for _ in range(1500)
    ]
    low, high = bootstrap_interval(of)
    brute_low, brute_high = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx((brute_low, brute_high), abs=0.006)


def test_few_seeds_make_it_wider_by_the_t_quantile() -> None:
    for seeds, t in ((3, 4.303), (7, 2.447), (30, 2.045)):
        of = replace(spread(*noise(0, seeds=seeds)), image_variance=0.0)
        low, high = bootstrap_interval(of, draws=40_000)
        assert (high - low) / 2 == pytest.approx(t * of.standard_error, rel=0.12), seeds


def noise(seed: int, seeds: int = 7, images: int = 300) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    a, b = (random.random((seeds, images)) < 0.8 for _ in range(2))
    return a, b


@given(st.integers(0, 10_000), st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_swapped_arms_mirror_the_interval(seed: int, seeds: int) -> None:
    a, b = noise(seed, seeds)
    low, high = bootstrap_interval(spread(a, b), draws=500)
    assert bootstrap_interval(spread(b, a), draws=500) == pytest.approx((-high, -low), abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_an_arm_does_not_differ_from_itself(seed: int) -> None:
    a, _ = noise(seed)
    of = spread(a, a)
    assert (of.difference, of.standard_error, bootstrap_interval(of)) == (0, 0, (0, 0))
    assert sign_flip(of.seed_differences) == 1


@given(st.integers(0, 10_000), st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_images_that_both_arms_get_right_only_dilute(seed: int, more: int) -> None:
    a, b = noise(seed)
    easy = np.ones((7, more), dtype=bool)
    of, diluted = spread(a, b), spread(np.hstack([a, easy]), np.hstack([b, easy]))
    share = 300 / (300 + more)
    assert diluted.difference == pytest.approx(of.difference * share, abs=1e-12)
    assert diluted.seed_variance == pytest.approx(of.seed_variance * share**2, abs=1e-12)


@given(st.permutations(range(7)), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_seeds_and_images_does_not_matter(order: list[int], seed: int) -> None:
    a, b = noise(seed)
    images = np.random.default_rng(seed).permutation(300)
    of, mixed = spread(a, b), spread(a[order][:, images], b[order][:, images])
    assert mixed.difference == pytest.approx(of.difference)
    assert mixed.standard_error == pytest.approx(of.standard_error)


def test_the_parts_of_the_variance_are_those_that_were_put_in() -> None:
    random, found = np.random.default_rng(3), []
    for _ in range(40):
        image = random.choice([-0.3, 0.3], 1000)
        seed = random.normal(0, 0.05, 12)
        up = random.random((12, 1000)) < 0.5 + image[None] + seed[:, None]
        found.append(spread(up, np.zeros_like(up)))
    assert np.mean([f.image_variance for f in found]) == pytest.approx(0.09, rel=0.05)
    rest = (0.8 * 0.2 - 0.05**2) / 1000
    assert np.mean([f.seed_variance for f in found]) == pytest.approx(0.05**2 + rest, rel=0.15)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.ones((7, 5), bool), np.ones((6, 5), bool), "cannot be paired"),
        (np.ones((7, 5)), np.ones((7, 5)), "Give bool"),
        (np.ones((1, 5), bool), np.ones((1, 5), bool), "2 or more of both"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(a: Any, b: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        spread(a, b)


# Permutations, several contrasts


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_permutation_test_is_the_count_of_all_signs(differences: list[float]) -> None:
    seen = abs(sum(differences))
    signs = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(each, differences, strict=True))) for each in signs]
    expected = sum(each >= seen - 1e-12 for each in sums) / len(signs)
    # sums that differ by rounding alone may fall on either side
    assert sign_flip(differences) == pytest.approx(expected, abs=1e-9) or any(
        0 < abs(each - seen + 1e-12) < 1e-12 for each in sums
    )


def test_seven_seeds_of_one_sign_have_the_least_p_there_is() -> None:
    assert sign_flip([0.01, 0.02, 0.003, 0.01, 0.02, 0.01, 0.004]) == 2 / 2**7


def test_many_seeds_are_sampled_the_same_way_every_time() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 13)
    exact = np.mean(
        np.abs(np.array(list(product((1, -1), repeat=13))) @ differences)
        >= abs(differences.sum()) - 1e-12
    )
    assert sign_flip(differences.tolist()) == sign_flip(differences.tolist())
    assert sign_flip(differences.tolist()) == pytest.approx(exact, abs=0.015)
    assert sign_flip([1.0] * 40) > 0


@pytest.mark.parametrize("wrong", [[], [math.nan, 1.0]])
def test_differences_that_are_none_are_refused(wrong: Sequence[float]) -> None:
    with pytest.raises(DataError, match="finite difference a seed"):
        sign_flip(wrong)


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
    assert holm(p_values) == pytest.approx(adjusted)


# The verdict


@pytest.mark.parametrize(
    ("low", "high", "seeds", "says"),
    [
        (0.010, 0.020, 6, "undecided: need S'=9 seeds"),  # too few, whatever the numbers
        (0.001, 0.020, 7, "benefit"),
        (0.0001, 0.002, 7, "benefit"),  # though within the margin: the order counts
        (-0.020, -0.001, 7, "harm"),
        (-0.003, 0.003, 7, "no benefit"),
        (-0.0031, 0.001, 7, "undecided: need S'=9 seeds"),
        (0.0, 0.0, 7, "no benefit"),
        (0.0, 0.004, 7, "undecided: need S'=9 seeds"),
    ],
)
def test_the_rule_is_read_in_its_order(low: float, high: float, seeds: int, says: str) -> None:
    assert verdict(low, high, seeds=seeds, seeds_needed=9) == says


def test_a_study_of_too_few_test_images_is_told_so() -> None:
    said = verdict(-0.004, 0.004, seeds=7, seeds_needed=9, images=1000, images_needed=30_000)
    assert said == "undecided: need S'=9 seeds and 30000 test images"


def test_the_seeds_asked_for_would_have_settled_it() -> None:
    arms = simulated(np.random.default_rng(4), {"a": 0.006, "b": 0.0}, seed_sd=0.006)
    of = spread(arms["a"].correct, arms["b"].correct)
    seeds, images = needed(of)
    reach = max(abs(of.difference), 0.003 - abs(of.difference))
    assert detectable(of.error_at(seeds, images)) <= reach
    assert seeds == 7 or detectable(of.error_at(seeds - 2, images)) > 0.8 * reach


def test_as_many_seeds_as_asked_for_show_that_there_is_no_benefit_four_times_in_five() -> None:
    """By drawing means of so many seeds, not by the formula."""
    random, sd = np.random.default_rng(7), 0.004
    of = SeedSpread(
        difference=0.0,
        seed_differences=(0.0,) * 7,
        seed_variance=sd**2,
        image_variance=0.0,
        images=IMAGES,
    )
    seeds, _ = needed(of)
    drawn = random.normal(0, sd, (4000, seeds))
    reach = float(stdtrit(seeds - 1, 0.975)) * drawn.std(axis=1, ddof=1) / np.sqrt(seeds)
    within = np.abs(drawn.mean(axis=1)) + reach <= 0.003
    assert 0.77 < within.mean() < 0.88


def test_images_are_asked_for_where_no_number_of_seeds_is_enough() -> None:
    of = replace(spread(*noise(0)), seed_variance=1e-5, image_variance=0.04, difference=0.001)
    seeds, images = needed(of)
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
def test_the_range_of_the_seeds_asked_for_contains_their_number(of: SeedSpread) -> None:
    seeds, _ = needed(of)
    low, high = needed_range(of)
    assert low <= seeds <= high


@given(spreads, st.integers(1, 40))
@settings(deadline=None)
def test_more_seeds_of_the_same_spread_narrow_the_range(of: SeedSpread, more: int) -> None:
    known = replace(of, seed_differences=(0.0,) * (of.seeds + more))
    low, high = needed_range(of)
    narrow_low, narrow_high = needed_range(known)
    assert low <= narrow_low <= narrow_high <= high


def test_the_range_holds_the_seeds_that_the_true_spread_needs_four_times_in_five() -> None:
    random, sd, held = np.random.default_rng(6), 0.01, 0
    of = SeedSpread(
        difference=0.006,
        seed_differences=(0.0,) * 4,
        seed_variance=sd**2,
        image_variance=0.0,
        images=IMAGES,
    )
    truth, _ = needed(of)
    for _ in range(500):
        seen = replace(of, seed_variance=float(np.var(random.normal(0, sd, 4), ddof=1)))
        low, high = needed_range(seen)
        held += low <= truth <= high
    assert held / 500 == pytest.approx(0.8, abs=0.06)


# The whole study


def study(seeds: int = 7, gain: float = 0.02) -> StudyVerdict:
    gains = {**EQUAL, "compound": gain, "width": 0.005, "inverse": 0.0, "base": -0.03}
    arms = simulated(np.random.default_rng(0), gains, seeds=seeds)
    return settle(arms, target_compute=4.0)


def test_a_clear_study_is_told_in_full() -> None:
    found = study()
    assert (found.verdict, found.best_single) == ("benefit", "width")
    assert found.primary.name == "width" and found.primary.low > 0
    assert [each.name for each in found.contrasts] == [*SINGLES, "inverse", "base"]
    assert [each.p_holm is not None for each in found.contrasts] == [True] * 3 + [False] * 2
    assert found.primary.p_holm is not None and found.primary.p_holm <= 0.05
    assert found.detectable < found.detectable_holm < 0.015


def test_few_seeds_settle_nothing_however_clear() -> None:
    assert study(seeds=4, gain=0.05).verdict == "undecided: need S'=7 seeds"


def test_the_outcome_is_plain_json() -> None:
    found = study()
    assert json.loads(json.dumps(found.to_dict()))["primary"]["low"] == found.primary.low


def test_the_best_single_dimension_is_the_best_on_validation_not_on_test() -> None:
    arms = simulated(np.random.default_rng(0), {**EQUAL, "depth": 0.02})
    arms["resolution"] = replace(arms["resolution"], validation=np.full(7, 0.99))
    assert settle(arms).best_single == "resolution"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": None}, "no arm width"),
        (
            {"width": ArmResults(correct=np.ones((7, IMAGES), bool), validation=[math.nan] * 7)},
            "no number",
        ),
        (
            {"width": ArmResults(correct=np.ones((6, IMAGES), bool), validation=np.ones(6))},
            "arm width has",
        ),
        (
            {"width": ArmResults(correct=np.ones((7, IMAGES), bool), validation=np.ones(6))},
            "arm width has",
        ),
    ],
)
def test_a_study_that_is_not_whole_is_refused(
    change: dict[str, ArmResults | None], says: str
) -> None:
    arms: dict[str, Any] = {**simulated(np.random.default_rng(0), EQUAL), **change}
    with pytest.raises(DataError, match=says):
        settle({name: arm for name, arm in arms.items() if arm is not None})


# Compute that is not quite equal


def test_the_law_in_macs_goes_through_base_and_arms() -> None:
    law = compute_law(0.20, 0.15, 4.0)
    assert (law.A, law.p) == pytest.approx((0.1, 0.5))
    assert law(1.0) - law(4.0) == pytest.approx(0.05)
    assert compute_law(0.15, 0.20, 4.0) == Term(0.0, 0.5)


def test_an_arm_of_less_compute_is_brought_up_to_the_target() -> None:
    law = compute_law(0.20, 0.15, 4.0)
    assert macs_correction(law, 3.89, 4.0) == pytest.approx(0.0007, abs=5e-5)
    assert macs_correction(law, 4.0, 4.0) == 0
    assert macs_correction(law, 4.1, 4.0) < 0


def test_corrections_shift_contrasts_and_leave_the_base_alone() -> None:
    gains = {**EQUAL, "base": -0.03}
    arms = simulated(np.random.default_rng(0), gains)
    arms = {name: replace(arm, compute=4.0) for name, arm in arms.items()}
    arms["depth"] = replace(arms["depth"], compute=3.88)
    arms["base"] = replace(arms["base"], compute=1.0)
    plain, corrected = settle(arms), settle(arms, target_compute=4.0)
    by_name = {each.name: each for each in corrected.arms}
    assert 0 < by_name["depth"].correction < 0.001 and by_name["base"].correction == 0
    before, after = (
        next(c for c in each.contrasts if c.name == "depth") for each in (plain, corrected)
    )
    assert after.low - before.low == pytest.approx(-by_name["depth"].correction, abs=1e-12)


def test_arms_of_other_compute_are_named() -> None:
    """A published study of CIFAR-10 compared these multiply-adds, in units of 2 x MACs."""
    gigaflops = {"base": 0.77, "depth": 3.15, "width": 2.90, "resolution": 3.07, "compound": 1.72}
    arms = simulated(np.random.default_rng(0), dict.fromkeys(gigaflops, 0.0))
    arms = {name: replace(arm, compute=gigaflops[name] / 0.77) for name, arm in arms.items()}
    assert settle(arms, target_compute=3.07 / 0.77).unequal == (
        "width has 94% of the compute it is compared at",
        "compound has 56% of the compute it is compared at",
    )


# Planning


@pytest.mark.parametrize(
    ("error", "sd_points"), [(0.35, 0.42), (0.15, 0.27), (0.11, 0.23), (0.06, 0.17)]
)
def test_seed_sd_of_calibrated_classifiers_on_ten_thousand_images(
    error: float, sd_points: float
) -> None:
    assert 100 * expected_seed_sd(error, 10_000) == pytest.approx(sd_points, abs=0.006)


def test_eighty_percent_power_takes_2_8_standard_errors_and_3_2_among_three() -> None:
    assert (detectable(1.0), detectable(1.0, 3)) == pytest.approx((2.8, 3.24), abs=0.005)


def test_seeds_asked_for_detect_the_difference_and_fewer_do_not() -> None:
    for seed_sd, difference in ((0.003, 0.01), (0.005, 0.015), (0.009, 0.01)):
        seeds = seeds_to_detect(difference, seed_sd, 10_000)
        assert seeds is not None
        enough, fewer = (
            detectable(expected_error(seed_sd, s, 10_000), seeds=s) for s in (seeds, seeds - 1)
        )
        assert enough <= difference < fewer


def test_no_number_of_seeds_makes_up_for_few_images() -> None:
    assert seeds_to_detect(0.003, 0.002, 10_000) is None
    with pytest.raises(DataError, match="cannot be detected"):
        seeds_to_detect(0.0, 0.002, 10_000)
