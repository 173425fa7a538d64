"""Laws of scaling: identity, rounding, order, and what the named strategies spend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families.efficientnet import B0
from phiscale.arch.scaling import (
    STRATEGIES,
    Scaling,
    Strategy,
    compound,
    round_channels,
    scale,
    scaled_repeats,
)
from phiscale.arch.spec import Spec, lite
from phiscale.errors import SpecError

FACTORS = st.floats(0.3, 3.0).filter(lambda value: value != 1)


@given(spec=st.from_type(Spec))
def test_scaling_by_one_is_the_identity(spec: Spec):
    assert scale(spec, Scaling()) == spec


@given(spec=st.from_type(Spec), by=st.from_type(Scaling))
def test_any_scaling_gives_a_network_that_can_be_built(spec: Spec, by: Scaling):
    scaled = scale(spec, by)  # Spec and Stage check themselves
    assert len(scaled.stages) == len(spec.stages)
    assert Spec.from_json(scaled.to_json()) == scaled


def sizes(spec: Spec) -> tuple[int, int, int]:
    counted = cost(spec)
    return counted.params, counted.macs, counted.activations


@given(spec=st.from_type(Spec), one=FACTORS, other=FACTORS)
def test_a_deeper_network_never_costs_less(spec: Spec, one: float, other: float):
    shallow, deep = sorted((one, other))
    pairs = zip(
        sizes(scale(spec, Scaling(depth=shallow))),
        sizes(scale(spec, Scaling(depth=deep))),
        strict=True,
    )
    assert all(less <= more for less, more in pairs)


@given(spec=st.from_type(Spec), one=FACTORS, other=FACTORS)
def test_a_network_at_more_pixels_never_costs_less_and_has_the_same_parameters(
    spec: Spec, one: float, other: float
):
    coarse, fine = sorted((one, other))
    less = sizes(scale(spec, Scaling(resolution=coarse)))
    more = sizes(scale(spec, Scaling(resolution=fine)))
    assert less[0] == more[0] and less[1] <= more[1] and less[2] <= more[2]


@given(spec=st.from_type(Spec), one=FACTORS, other=FACTORS)
def test_a_wider_network_never_costs_less(spec: Spec, one: float, other: float):
    # a wider ResNet may lose a shortcut's convolution, where two widths become equal
    assume(all(stage.block not in ("basic", "bottleneck") for stage in spec.stages))
    slim, wide = sorted((one, other))
    pairs = zip(
        sizes(scale(spec, Scaling(width=slim))),
        sizes(scale(spec, Scaling(width=wide))),
        strict=True,
    )
    assert all(less <= more for less, more in pairs)


@given(
    channels=st.floats(0.1, 5000),
    divisor=st.integers(1, 64),
    rule=st.sampled_from(["at_least_90", "nearest"]),
)
def test_rounded_channels_are_a_positive_multiple_within_one_divisor(
    channels: float, divisor: int, rule: str
):
    rounded = round_channels(channels, divisor, rule)
    assert rounded % divisor == 0 and rounded >= divisor
    assert abs(rounded - channels) <= divisor


@given(channels=st.floats(0.1, 5000), divisor=st.integers(1, 64))
def test_rounding_never_loses_more_than_ten_per_cent_of_the_channels(channels: float, divisor: int):
    assert round_channels(channels, divisor) >= 0.9 * channels


@given(one=st.floats(0.1, 5000), other=st.floats(0.1, 5000), divisor=st.integers(1, 64))
def test_rounding_keeps_the_order_of_widths(one: float, other: float, divisor: int):
    less, more = sorted((one, other))
    for rule in ("at_least_90", "nearest"):
        assert round_channels(less, divisor, rule) <= round_channels(more, divisor, rule)


def test_the_two_rounding_rules_differ_where_b3_and_v2_b3_do():
    assert round_channels(16 * 1.2) == 24
    assert round_channels(16 * 1.2, rule="nearest") == 16


@pytest.mark.parametrize(
    ("repeats", "depth", "ceil", "nearest"),
    [
        (1, 1.1, 2, 1),
        (4, 1.1, 5, 4),
        (5, 1.2, 6, 6),
        (3, 1.4, 5, 4),
        (2, 0.5, 1, 1),
        (1, 0.1, 1, 1),
    ],
)
def test_repeats_round_up_as_in_the_paper_or_to_the_nearest(repeats, depth, ceil, nearest):
    assert scaled_repeats(B0, repeats, depth) == ceil
    assert scaled_repeats(replace(B0, depth_rounding="round"), repeats, depth) == nearest


def test_compound_is_a_power_of_phi_and_phi_0_is_the_base():
    assert compound(0) == Scaling()
    assert compound(2) == Scaling(depth=1.2**2, width=1.1**2, resolution=1.15**2)
    assert (
        compound(1).macs == pytest.approx(1.2 * 1.1**2 * 1.15**2) == pytest.approx(1.920, abs=1e-3)
    )


def test_negative_phi_shrinks():
    assert cost(scale(B0, compound(-1))).macs < cost(B0).macs


def test_fixed_ends_keep_stem_head_and_the_repeats_of_the_first_and_last_stage():
    big = scale(lite(B0), Scaling(depth=1.8, width=1.4))
    assert (big.stem_channels, big.head_channels) == (32, 1280)
    assert [stage.repeats for stage in big.stages] == [1, 4, 4, 6, 6, 8, 1]
    assert big.stages[0].channels == 24 and big.stages[-1].channels == 448


@given(name=st.sampled_from(sorted(STRATEGIES)), compute_ratio=st.floats(0.05, 200))
def test_every_strategy_spends_the_target_compute(name: str, compute_ratio: float):
    assert STRATEGIES[name](compute_ratio).macs == pytest.approx(compute_ratio)


@given(phi=st.floats(0.1, 8))
def test_the_strategy_of_a_compound_scaling_is_the_compound_one_whatever_phi(phi: float):
    strategy = Strategy.of(compound(phi))
    assert (strategy.depth, strategy.width, strategy.resolution) == pytest.approx(
        (0.2795, 0.2922, 0.4284), abs=1e-3
    )


@given(name=st.sampled_from(sorted(STRATEGIES)), compute_ratio=st.floats(1.1, 100))
def test_the_strategy_of_a_scaling_is_recovered(name: str, compute_ratio: float):
    strategy = STRATEGIES[name]
    recovered = Strategy.of(strategy(compute_ratio))
    assert (recovered.depth, recovered.width, recovered.resolution) == pytest.approx(
        (strategy.depth, strategy.width, strategy.resolution), abs=1e-9
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Scaling(depth=0), "depth=0 scales to nothing; use a number above 0"),
        (lambda: Scaling(width=float("nan")), "width=nan scales to nothing"),
        (lambda: Scaling(resolution=-1.5), "resolution=-1.5 scales to nothing"),
        (lambda: compound(float("inf")), "phi=inf is out of range; use a number between"),
        (lambda: compound(1000), "phi=1000 is out of range; use a number between"),
        (lambda: compound(1, alpha=0), "alpha=0 cannot be raised to phi; use a number above 0"),
        (lambda: Strategy(depth=1, width=1, resolution=0), "sum to 2, not 1; divide each by 2"),
        (lambda: STRATEGIES["depth"](0), "compute_ratio=0 is not above 0; use 2 for twice"),
        (lambda: Strategy.of(Scaling()), "lies on no ray; use phi other than 0"),
    ],
)
def test_numbers_that_scale_to_nothing_are_refused_and_the_message_says_the_fix(wrong, says: str):
    with pytest.raises(SpecError) as caught:
        wrong()
    assert says in str(caught.value)
