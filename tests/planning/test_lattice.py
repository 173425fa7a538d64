"""The axes of the lattice: every depth once, even widths, no more pixels than the images have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.errors import SpecError
from phiscale.planning.budget import (
    LatticeAxes,
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    solve,
)

B0, SMALL = get_spec("efficientnet_b0"), get_spec("small")


def test_no_more_pixels_are_tried_than_the_images_have() -> None:
    assert lattice_resolutions(SMALL, 32) == [16, 20, 24, 28, 32]
    assert lattice_resolutions(B0, 100) == [64, 72, 80, 88, 96]
    assert max(lattice_resolutions(B0)) == 600
    assert 224 in lattice_resolutions(B0)


def test_tiny_images_are_enlarged_to_the_least_that_the_network_can_take() -> None:
    assert lattice_resolutions(SMALL, 8) == [16]
    assert lattice_resolutions(B0, 32) == [64]


def test_every_different_depth_of_b0_is_in_the_lattice_once() -> None:
    depths = lattice_depths(B0)
    vectors = {tuple(s.repeats for s in scale(B0, Scaling(depth=d)).stages) for d in depths}
    fine = {
        tuple(s.repeats for s in scale(B0, Scaling(depth=d / 500)).stages) for d in range(125, 2001)
    }
    assert vectors == fine
    assert len(depths) == len(vectors) == 24


def test_every_depth_that_rounds_to_the_nearest_is_in_the_lattice_too() -> None:
    spec = replace(B0, depth_rounding="round")
    vectors = {
        tuple(s.repeats for s in scale(spec, Scaling(depth=d)).stages) for d in lattice_depths(spec)
    }
    fine = {
        tuple(s.repeats for s in scale(spec, Scaling(depth=d / 500)).stages)
        for d in range(125, 2001)
    }
    assert vectors == fine


def test_a_deep_base_has_a_thinned_lattice_that_still_holds_the_base() -> None:
    depths = lattice_depths(get_spec("efficientnet_b7"))
    assert len(depths) <= 40
    assert 1.0 in depths


@pytest.mark.parametrize("count", [10, 100, 301, 10_000])
def test_widths_are_evenly_spaced_and_include_the_base(count: int) -> None:
    steps = lattice_widths(count)
    assert steps[0] == 0.25 and steps[-1] == 2.5 and 1.0 in steps
    assert np.allclose(np.diff(steps), steps[1] - steps[0])


def test_an_empty_lattice_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one"):
        solve(SMALL, axes=LatticeAxes(depths=[], pixels=(16, 24)))
