"""The lattice of all scalings of a base: costs, rays, and the best network of a law."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import STRATEGIES, compound, scale
from phiscale.planning.laws import Law, Term
from phiscale.search.spaces.lattice import cost_metric, lattice

SPACE = lattice(get_spec("efficientnet_b0"), cost_metric("macs", None))
LAW = Law(
    e0=0.2,
    depth=Term(0.02, 1.0),
    width=Term(0.16, 1.0),
    resolution=Term(0.06, 1.0),
    sd=0,
    source="a test",
)


@given(target=st.floats(0.4, 8), name=st.sampled_from(sorted(STRATEGIES)))
def test_networks_on_a_ray_have_the_target_cost_and_never_shrink_while_growing(target, name):
    if abs(math.log(target)) < 0.2:
        return
    network = SPACE.on_ray(STRATEGIES[name], target)
    assert network.cost_ratio == pytest.approx(target, rel=0.25)
    for value in (network.by.depth, network.by.width, network.by.resolution):
        assert value > 0.985 if target > 1 else value < 1.015


def test_the_lattice_has_the_cost_of_networks_as_built():
    for number in (0, 1234, len(SPACE.cost) - 1):
        network = SPACE.scaled(number)
        assert network.compute_ratio == pytest.approx(
            cost(network.spec).macs / cost(SPACE.base).macs
        )


def test_the_best_of_a_law_is_the_best_of_all_that_cost_as_much():
    which = SPACE.at(4.0)
    errors = SPACE.errors(LAW, which)
    best = SPACE.best(LAW, 4.0)
    by = best.by
    assert errors.min() == LAW.error(depth=by.depth, width=by.width, resolution=by.resolution)


def test_b0_scaled_by_the_paper_is_near_the_paper_ray():
    network = SPACE.on_ray(
        STRATEGIES["compound"], cost(scale(SPACE.base, compound(3))).macs / cost(SPACE.base).macs
    )
    assert network.by.depth == pytest.approx(1.2**3, rel=0.2)
    assert network.by.resolution == pytest.approx(1.15**3, rel=0.1)
