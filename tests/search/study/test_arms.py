"""The arms of a study: equal compute, real pixels; and the caveats of its design."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.errors import UsageError
from phiscale.search.study.arms import match_arms
from phiscale.search.study.check_design import check_design
from phiscale.search.study.replication import (
    PUBLISHED_FLOPS,
    find_flaws,
    replicate_as_published,
)
from phiscale.search.study.request import describe_plan
from support.studies import CIFAR, plan_preset


@pytest.mark.parametrize(
    ("arm", "over_base", "pixels"),
    [
        ("base", 1.0, 16),
        ("depth", 3.89, 16),
        ("width", 4.11, 16),
        ("resolution", 3.96, 32),
        ("compound", 4.02, 20),
        ("inverse", 3.99, 18),
    ],
)
def test_arms_of_small_at_16_px_have_four_times_its_macs(arm, over_base, pixels):
    [network] = [each.network for each in plan_preset("smoke").arms if each.name == arm]
    assert network.compute_ratio == pytest.approx(over_base, abs=0.01)
    assert network.spec.resolution == pixels


@pytest.mark.parametrize("preset", ["smoke", "standard", "gpu"])
def test_all_arms_but_the_base_are_within_three_percent_of_each_other(preset):
    arms = plan_preset(preset).arms
    target = 4 * cost(arms[0].network.spec).macs
    for arm in arms:
        if arm.name not in ("base", "longer", "beyond"):
            assert cost(arm.network.spec).macs == pytest.approx(target, rel=0.031)


def test_the_longer_arm_is_the_base_for_as_many_times_the_epochs():
    arms = plan_preset("smoke").arms
    base, longer = arms[0], arms[-1]
    assert longer.network.spec == base.network.spec
    assert longer.epochs == 4 * base.epochs


def test_an_arm_with_more_pixels_than_the_images_is_refused_with_the_resolution_to_use():
    message = r"needs 64 px, the images have 32.*resolution=16"
    with pytest.raises(UsageError, match=message):
        match_arms(
            get_spec("small"),
            ("base", "resolution"),
            compute_ratio=4,
            epochs=1,
            native_pixels=32,
        )


def test_the_beyond_arm_has_half_as_many_pixels_more_than_the_images():
    base = replace(get_spec("small"), resolution=16)
    arms = match_arms(base, ("base", "beyond"), compute_ratio=4, epochs=1, native_pixels=32)
    assert arms[1].network.spec.resolution == 48


# Caveats


def test_the_flaws_of_a_published_replication_are_named():
    flaws = list(find_flaws(replicate_as_published("x", CIFAR), CIFAR))
    assert any("54-60 % of the compute of the single dimensions" in line for line in flaws)
    assert any("learning rate ends at 64 % of its peak" in line for line in flaws)
    assert any(line.startswith("one seed is fewer than the 7") for line in flaws)
    assert any("more pixels than the images' 32" in line for line in flaws)


def test_the_macs_of_a_published_replication_agree_with_its_flops():
    """Its FLOPs are twice the MACs and a few per cent of element-wise operations."""
    for arm in replicate_as_published("x", CIFAR).arms:
        published = PUBLISHED_FLOPS[arm.name]
        assert 1.03 < published / (2 * cost(arm.network.spec).macs) < 1.08


def test_the_only_caveat_of_the_smoke_study_is_its_seeds():
    assert list(check_design(plan_preset("smoke"), CIFAR)) == [
        "4 seeds are fewer than the 7 that a verdict needs: differences cannot be distinguished "
        "from chance"
    ]


@pytest.mark.parametrize("preset", ["standard", "gpu"])
def test_the_standard_and_gpu_studies_have_no_caveats(preset):
    assert not list(check_design(plan_preset(preset), CIFAR))


def test_a_plan_says_which_differences_it_detects():
    """Ten points between seeds, or 100 test images, detect nothing small."""
    plan = plan_preset("standard")
    *_, quiet = describe_plan(plan, (0.002, 0.002), 10_000)
    *_, loud = describe_plan(plan, (0.1, 0.1), 10_000)
    *_, four, more = describe_plan(replace(plan, seeds=4), (0.002, 0.002), 10_000)
    assert four == (
        "for a seed standard deviation of 0.2 to 0.2 points, a difference of 1 point needs up to "
        "7 seeds"
    )
    assert "it needs 7. The same call with seeds=7 keeps these trainings" in more
    *_, few = describe_plan(plan, (0.002, 0.002), 100)
    assert "7 seeds and 10,000 test images detect a difference of 0.6 to 0.6 points" in quiet
    assert quiet.endswith("1 point needs up to 7 seeds")
    assert "detect a difference of 17.6 to 17.6 points" in loud
    assert few.endswith("1 point needs more test images")
