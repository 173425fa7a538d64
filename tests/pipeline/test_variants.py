"""Which variants of pretrained weights compete: resolutions, and first stages alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.pipeline.probing import plan_probes
from phiscale.pipeline.variants import LEAST_STAGES, VariantLimits, too_small, variants_of
from phiscale.planning.budget import Budget
from support.fits import made_up_device

LITE0 = replace(get_spec("tf_efficientnet_lite0"), classes=10)
WEIGHTS = Path("lite0.safetensors")


def variants(budget: Budget | None = None, pixels: int = 400, *, named: bool = False):
    limits = VariantLimits(
        budget=budget or Budget(), device_model=made_up_device(), native_pixels=pixels, batch=32
    )
    return variants_of("lite0", WEIGHTS, LITE0, limits, named=named)


@pytest.mark.parametrize(
    ("pixels", "named", "sizes"),
    [
        (400, False, [96, 128, 160, 224]),
        (100, False, [96, 128, 160, 224]),  # enlarged, since strides expect it
        (32, False, [96, 128]),  # not more than four times
        (8, False, []),
        (8, True, [96]),  # the user asked for them
    ],
)
def test_the_resolutions_follow_from_the_images(pixels: int, named: bool, sizes: list[int]):
    assert [each.network.resolution for each in variants(None, pixels, named=named)] == sizes
    assert too_small(pixels, 224) == (not sizes or named)


@pytest.mark.parametrize(
    ("budget", "names"),
    [
        (
            Budget(macs=50e6),
            [
                "lite0, 64 px",
                "lite0, first 5 stages, 96 px",
                "lite0, first 3 stages, 128 px",
            ],
        ),
        (
            Budget(weight_bytes=2e6),
            [f"lite0, first 4 stages, {pixels} px" for pixels in (96, 128, 160, 224)],
        ),
    ],
)
def test_a_budget_of_macs_or_bytes_is_met_by_fewer_pixels_or_stages(
    budget: Budget, names: list[str]
):
    found = variants(budget)
    assert [each.name for each in found] == names
    for each in found:
        counted = cost(each.network)
        assert counted.macs <= (budget.macs or 1e12)
        assert counted.weight_bytes <= (budget.weight_bytes or 1e12)
        assert len(each.network.stages) >= LEAST_STAGES


def test_a_network_that_fits_nowhere_competes_as_it_is_so_that_its_limit_is_named():
    (alone,) = variants(Budget(macs=1e5))
    assert alone.network == LITE0


def test_a_network_for_small_images_has_one_variant():
    small = replace(get_spec("small"), classes=10)
    limits = VariantLimits(
        budget=Budget(), device_model=made_up_device(), native_pixels=8, batch=32
    )
    (alone,) = variants_of("small", WEIGHTS, small, limits, named=False)
    assert alone.network == small and alone.name == "small"


@pytest.mark.parametrize(
    ("seconds", "variants", "train", "validation"),
    [
        (1000, 4, 3000, 300),  # everything
        (16, 4, 267, 133),
        (1, 1, 185, 92),  # the cheapest alone
        (0.1, 1, 100, 50),  # it is measured in any case
    ],
)
def test_probes_share_their_seconds(seconds: float, variants: int, train: int, validation: int):
    plan = plan_probes(
        [70e6, 130e6, 200e6, 380e6],
        seconds_per_image=0.0036,
        seconds=seconds,
        train=3000,
        validation=300,
        classes=10,
    )
    assert plan.variants == variants
    assert plan.train_images == pytest.approx(train, rel=0.2)
    assert plan.validation_images == pytest.approx(validation, rel=0.2)
