"""The verdict of a scaling study: what it detects, and how seldom it detects what is not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phiscale.errors import DataError
from phiscale.planning.laws import Term
from phiscale.search.study.contrasts import ArmResults
from phiscale.search.study.equal_compute import fit_compute_law, gain_to_target
from phiscale.search.study.rule import SINGLES, SampleSize, decide
from phiscale.search.study.verdict import StudyVerdict, analyse_study
from support.simulated_arms import EQUAL, IMAGES, simulate_arms


def outcomes(
    studies: int, gains: Mapping[str, float], first: int = 0, **conditions: Any
) -> dict[str, float]:
    """Share of each verdict over simulated studies, by its first word."""
    random = np.random.default_rng(first)
    verdicts = [
        analyse_study(simulate_arms(random, gains, **conditions), draws=4000, seed=n).verdict.split(
            ":"
        )[0]
        for n in range(studies)
    ]
    return {word: verdicts.count(word) / studies for word in set(verdicts)} | {"studies": studies}


def assert_seldom_wrong(studies: int, seed_sd: float, **conditions: Any) -> None:
    """5 % and two binomial standard errors; 6.4 % of 1,000."""
    most = 0.05 + 2.03 * math.sqrt(0.05 * 0.95 / studies)
    result = outcomes(studies, EQUAL, seed_sd=seed_sd, **conditions)
    assert result.get("better", 0) <= most, result
    assert result.get("worse", 0) <= most, result


# The decision rule


@pytest.mark.parametrize("seed_sd", [0.002, 0.005])
def test_equal_arms_seldom_get_a_false_verdict(seed_sd: float) -> None:
    assert_seldom_wrong(200, seed_sd)


@pytest.mark.slow
@pytest.mark.parametrize("arm_sd", [0.0, 0.15])
@pytest.mark.parametrize("seed_sd", [0.0, 0.002, 0.005])
def test_in_a_thousand_studies_of_equal_arms_each_false_verdict_is_within_five_percent(
    seed_sd: float, arm_sd: float
) -> None:
    assert_seldom_wrong(1000, seed_sd, arm_sd=arm_sd)


def test_a_gain_of_one_and_a_half_points_is_detected() -> None:
    gains = {**EQUAL, "compound": 0.015}
    result = outcomes(50, gains, seed_sd=0.005)
    assert result["better"] >= 0.8, result
    assert outcomes(50, {**EQUAL, "compound": -0.015}, seed_sd=0.005)["worse"] >= 0.8


@pytest.mark.parametrize(
    ("low", "high", "seeds", "says"),
    [
        (0.010, 0.020, 6, "inconclusive: 9 seeds needed"),  # too few, whatever the numbers
        (0.001, 0.020, 7, "better"),
        (0.0001, 0.002, 7, "better"),  # though within the margin: the order counts
        (-0.020, -0.001, 7, "worse"),
        (-0.003, 0.003, 7, "equivalent"),
        (-0.0031, 0.001, 7, "inconclusive: 9 seeds needed"),
        (0.0, 0.0, 7, "equivalent"),
        (0.0, 0.004, 7, "inconclusive: 9 seeds needed"),
    ],
)
def test_the_rule_is_read_in_its_order(low: float, high: float, seeds: int, says: str) -> None:
    sample, required = SampleSize(seeds, IMAGES), SampleSize(9, IMAGES)
    assert decide(low, high, sample=sample, required=required) == says


def test_a_study_of_too_few_test_images_names_the_images_it_needs() -> None:
    sample, required = SampleSize(7, 1000), SampleSize(9, 30_000)
    verdict = decide(-0.004, 0.004, sample=sample, required=required)
    assert verdict == "inconclusive: 9 seeds and 30000 test images needed"


# The whole study


def study(seeds: int = 7, gain: float = 0.02) -> StudyVerdict:
    gains = {**EQUAL, "compound": gain, "width": 0.005, "inverse": 0.0, "base": -0.03}
    arms = simulate_arms(np.random.default_rng(0), gains, seeds=seeds)
    return analyse_study(arms, target_compute=4.0)


def test_a_clear_study_has_a_verdict_with_all_its_contrasts() -> None:
    result = study()
    assert (result.verdict, result.best_single) == ("better", "width")
    assert result.primary.name == "width" and result.primary.low > 0
    assert [each.name for each in result.contrasts] == [*SINGLES, "inverse", "base"]
    assert [each.p_holm is not None for each in result.contrasts] == [True] * 3 + [False] * 2
    assert result.primary.p_holm is not None and result.primary.p_holm <= 0.05
    assert result.detectable < result.detectable_holm < 0.015


def test_few_seeds_are_inconclusive_however_clear_the_difference() -> None:
    assert study(seeds=4, gain=0.05).verdict == "inconclusive: 7 seeds needed"


def test_the_verdict_is_plain_json() -> None:
    result = study()
    assert json.loads(json.dumps(result.to_dict()))["primary"]["low"] == result.primary.low


def test_the_best_single_dimension_is_the_best_on_validation_not_on_test() -> None:
    arms = simulate_arms(np.random.default_rng(0), {**EQUAL, "depth": 0.02})
    arms["resolution"] = replace(arms["resolution"], validation=np.full(7, 0.99))
    assert analyse_study(arms).best_single == "resolution"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": None}, "no arm width"),
        (
            {
                "width": ArmResults(
                    correct=np.ones((7, IMAGES), bool), validation=np.full(7, math.nan)
                )
            },
            "not a number",
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
def test_a_study_with_missing_results_is_refused(
    change: dict[str, ArmResults | None], says: str
) -> None:
    arms: dict[str, Any] = {**simulate_arms(np.random.default_rng(0), EQUAL), **change}
    with pytest.raises(DataError, match=says):
        analyse_study({name: arm for name, arm in arms.items() if arm is not None})


# Corrections to equal compute


def test_the_law_in_macs_passes_through_the_base_and_the_arms() -> None:
    law = fit_compute_law(0.20, 0.15, 4.0)
    assert (law.A, law.p) == pytest.approx((0.1, 0.5))
    assert law(1.0) - law(4.0) == pytest.approx(0.05)
    assert fit_compute_law(0.15, 0.20, 4.0) == Term(0.0, 0.5)


def test_an_arm_of_less_compute_gains_at_the_target() -> None:
    law = fit_compute_law(0.20, 0.15, 4.0)
    assert gain_to_target(law, 3.89, 4.0) == pytest.approx(0.0007, abs=5e-5)
    assert gain_to_target(law, 4.0, 4.0) == 0
    assert gain_to_target(law, 4.1, 4.0) < 0


def test_corrections_shift_contrasts_and_leave_the_base_alone() -> None:
    gains = {**EQUAL, "base": -0.03}
    arms = simulate_arms(np.random.default_rng(0), gains)
    arms = {name: replace(arm, compute_ratio=4.0) for name, arm in arms.items()}
    arms["depth"] = replace(arms["depth"], compute_ratio=3.88)
    arms["base"] = replace(arms["base"], compute_ratio=1.0)
    plain, corrected = analyse_study(arms), analyse_study(arms, target_compute=4.0)
    by_name = {each.name: each for each in corrected.arms}
    assert 0 < by_name["depth"].correction < 0.001 and by_name["base"].correction == 0
    before, after = (
        next(c for c in each.contrasts if c.name == "depth") for each in (plain, corrected)
    )
    assert after.low - before.low == pytest.approx(-by_name["depth"].correction, abs=1e-12)


def test_arms_of_different_compute_are_named() -> None:
    """A published study of CIFAR-10 compared these multiply-adds, in units of 2 x MACs."""
    gigaflops = {"base": 0.77, "depth": 3.15, "width": 2.90, "resolution": 3.07, "compound": 1.72}
    arms = simulate_arms(np.random.default_rng(0), dict.fromkeys(gigaflops, 0.0))
    arms = {name: replace(arm, compute_ratio=gigaflops[name] / 0.77) for name, arm in arms.items()}
    assert analyse_study(arms, target_compute=3.07 / 0.77).unequal == (
        "width has 94% of the compute it is compared at",
        "compound has 56% of the compute it is compared at",
    )
