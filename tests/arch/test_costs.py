"""Costs: exact sums over layers, the tables they must reproduce, lattices, deviations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiscale.arch.costs import Cost, cost, cost_grid, costs_of, measure_scaling
from phiscale.arch.deviation import deviation, doubling_powers, slopes
from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.families.efficientnet import B0
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError

MIB = 2**20


def test_the_core_counts_without_torch_numpy_or_matplotlib():
    code = (
        "import sys; from phiscale.report.models import markdown_table, ratios;"
        "ratios(); markdown_table('efficientnet_b?');"
        "print({'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"


# MiB: peak of inference and weights at fp32 and int8, saved for the backward pass at fp32. An
# estimate by closed forms, rounded: its int8 weights leave out each channel's scale and bias.
MEMORY = {
    #                  peak  int8  weights int8  saved
    "efficientnet_b0": (5.7, 1.4, 20, 5.0, 85),
    "efficientnet_b1": (6.6, 1.6, 30, 7.4, 137),
    "efficientnet_b2": (7.7, 1.9, 35, 8.7, 175),
    "efficientnet_b3": (15.4, 3.9, 47, 12, 300),
    "efficientnet_b4": (24.8, 6.2, 74, 18, 628),
    "efficientnet_b5": (35.7, 8.9, 116, 29, 1255),
    "efficientnet_b6": (63.8, 16.0, 164, 41, 2125),
    "efficientnet_b7": (82.4, 20.6, 253, 63, 3688),
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_what_closed_forms_estimate(name: str):
    counted, (peak, peak_int8, weights, weights_int8, saved) = cost(get_spec(name)), MEMORY[name]
    assert counted.peak_bytes / MIB == pytest.approx(peak, abs=0.051)
    assert counted.peak_bytes / 4 / MIB == pytest.approx(peak_int8, abs=0.051)
    assert counted.weight_bytes / MIB == pytest.approx(weights, abs=0.51)
    assert counted.weight_bytes_int8 / MIB == pytest.approx(weights_int8, rel=0.06)
    assert counted.saved_bytes / MIB == pytest.approx(saved, rel=0.012)


@pytest.mark.parametrize(
    ("name", "elements"), [("efficientnet_b0", 22.09e6), ("efficientnet_b2", 45.52e6)]
)
def test_saved_elements_are_what_torch_saves(name: str, elements: float):
    assert cost(get_spec(name)).saved_bytes / 4 == pytest.approx(elements, abs=0.005e6)


# Per cent: how the integer network departs from d * w^2 * r^2, and which rounding makes it so.
DEVIATION = {
    #     d * w^2 * r^2, exact, total, structure, depth, channels, pixels, blocks
    "efficientnet_b1": (1.26, 1.78, 41.0, 0.2, 33.9, 0.0, 5.1, 1.438),
    "efficientnet_b2": (1.96, 2.58, 31.6, -0.7, 22.5, -3.4, 12.0, 1.438),
    "efficientnet_b3": (3.62, 4.74, 31.0, -1.3, 18.0, 6.1, 6.0, 1.625),
    "efficientnet_b4": (10.15, 11.39, 12.2, -2.2, 11.3, 1.2, 1.7, 2.000),
    "efficientnet_b5": (23.34, 26.61, 14.0, -2.8, 12.2, -0.8, 5.4, 2.438),
    "efficientnet_b6": (46.80, 49.42, 5.6, -3.3, 8.5, -1.7, 2.4, 2.812),
    "efficientnet_b7": (88.97, 97.83, 10.0, -3.7, 11.9, 0.0, 2.0, 3.438),
}


@pytest.mark.parametrize("name", DEVIATION)
def test_deviations_from_the_monomial_are_as_published(name: str):
    ratio = deviation(B0, MEMBERS[name].scaling)
    monomial, exact, *percents, blocks = DEVIATION[name]
    assert ratio.monomial == pytest.approx(monomial, abs=0.0051)
    assert ratio.exact == pytest.approx(exact, abs=0.0051)
    factors = (
        ratio.total,
        ratio.structure,
        ratio.depth_rounding,
        ratio.channel_rounding,
        ratio.spatial_rounding,
    )
    assert [100 * (factor - 1) for factor in factors] == pytest.approx(percents, abs=0.0501)
    assert ratio.real_depth == pytest.approx(blocks, abs=0.00051)


# Powers of depth, width and resolution before any rounding, at B0 and at B7
SLOPES = {
    #               MACs at B0               MACs at B7
    "macs": ((1.025, 1.890, 1.992), (1.012, 1.951, 1.999)),
    "activations": ((0.81, 1.0, 2.0), (0.93, 1.0, 2.0)),
    "params": ((0.94, 1.735, 0.0), (1.0165, 1.936, 0.0)),
}


@pytest.mark.parametrize("name", SLOPES)
def test_every_cost_grows_with_the_expected_powers(name: str):
    at_b0, at_b7 = SLOPES[name]
    within = 0.0006 if name == "macs" else 0.003
    assert slopes(B0)[name] == pytest.approx(at_b0, abs=within)
    assert slopes(B0, MEMBERS["efficientnet_b7"].scaling)[name] == pytest.approx(at_b7, abs=within)


def test_memory_does_not_grow_as_macs_do():
    powers = doubling_powers(B0)
    assert powers["peak_bytes"] == pytest.approx((0, 1, 2), abs=0.001)
    assert powers["saved_bytes"] == pytest.approx((0.86, 1, 2), abs=0.01)
    assert doubling_powers(get_spec("resnet50"))["macs"][0] == pytest.approx(0.891, abs=0.001)


@given(spec=st.from_type(Spec))
def test_doubling_the_pixels_leaves_the_parameters_and_doubling_anything_saves_nothing(spec: Spec):
    powers = doubling_powers(spec)
    assert powers["params"][2] == 0
    inverted = all(stage.block not in ("basic", "bottleneck") for stage in spec.stages)
    if inverted:  # a wider ResNet may lose a shortcut's convolution
        assert all(power >= 0 for of in powers.values() for power in of)


@given(spec=st.from_type(Spec), by=st.from_type(Scaling))
def test_the_factors_of_a_deviation_multiply_to_the_exact_ratio(spec: Spec, by: Scaling):
    ratio = deviation(spec, by)
    product = (
        ratio.monomial
        * ratio.structure
        * ratio.depth_rounding
        * ratio.channel_rounding
        * ratio.spatial_rounding
    )
    assert product == pytest.approx(ratio.exact)
    assert ratio.exact == pytest.approx(cost(scale(spec, by)).macs / cost(spec).macs)


@given(spec=st.from_type(Spec))
def test_the_layers_sum_to_the_total_and_no_path_occurs_twice(spec: Spec):
    counted = cost(spec)
    paths = [layer.path for layer in counted.layers]
    assert len(set(paths)) == len(paths) == counted.convs
    assert not any("*" in path for path in paths)
    assert sum(layer.params for layer in counted.layers) == counted.params
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert sum(layer.activations for layer in counted.layers) == counted.activations
    assert 4 * sum(layer.saved for layer in counted.layers) == counted.saved_bytes
    assert 4 * max(layer.live for layer in counted.layers) == counted.peak_bytes


@given(spec=st.from_type(Spec))
def test_layers_are_in_forward_order_and_pass_their_map_on(spec: Spec):
    layers = [layer for layer in cost(spec).layers if layer.kind != "se"]
    assert layers[0].path == "stem" and layers[-1].path == "classifier"
    trunk = [layer for layer in layers if not layer.path.endswith("shortcut")]
    for one, following in pairwise(trunk):
        assert following.channels_in == one.channels, (one.path, following.path)


@given(spec=st.from_type(Spec))
def test_every_cost_of_an_integer_network_is_a_whole_number(spec: Spec):
    counted = cost(spec)
    for field in fields(Cost):
        if field.name != "layers":
            assert type(getattr(counted, field.name)) is int, field.name
    assert counted.peak_bytes > 0 and counted.saved_bytes > 0


@given(
    spec=st.from_type(Spec),
    depths=st.lists(st.floats(0.4, 3), min_size=1, max_size=3),
    widths=st.lists(st.floats(0.4, 3), min_size=1, max_size=3),
    pixels=st.lists(st.integers(3, 60), min_size=1, max_size=3),
)
def test_a_lattice_counts_each_of_its_networks_as_cost_does(
    spec: Spec, depths: list[float], widths: list[float], pixels: list[int]
):
    import numpy as np

    grid = cost_grid(spec, depths, widths, pixels)
    for field in fields(Cost):
        if field.name == "layers":
            continue
        values = np.broadcast_to(getattr(grid.cost, field.name), grid.shape)
        for index in np.ndindex(*grid.shape):
            net = grid.spec(index)
            assert values[index] == getattr(cost(net), field.name), (field.name, net)


@given(spec=st.from_type(Spec), by=st.lists(st.from_type(Scaling), min_size=1, max_size=4))
def test_scalings_counted_together_cost_what_each_does_alone(spec: Spec, by: list[Scaling]):
    import numpy as np

    networks = [scale(spec, each) for each in by]
    together = costs_of(networks)
    for field in fields(Cost):
        if field.name != "layers":
            values = np.broadcast_to(getattr(together, field.name), len(networks)).tolist()
            assert values == [getattr(cost(each), field.name) for each in networks], field.name


def test_a_lattice_names_the_network_that_scale_makes():
    grid = cost_grid(B0, [1.0, 1.4], [1.0, 1.2], [224, 300])
    assert grid.shape == (2, 2, 2)
    assert grid.spec((1, 1, 1)) == get_spec("efficientnet_b3")


def test_multipliers_that_round_to_the_same_network_appear_once():
    assert cost_grid(B0, [1.0, 1.1, 1.2], [1.0, 1.001], [224, 224]).shape == (2, 1, 1)


def test_an_empty_lattice_is_refused_and_the_message_says_the_fix():
    with pytest.raises(SpecError, match="use at least one depth, width and resolution"):
        cost_grid(B0, [], [1.0], [224])


def test_training_memory_is_activations_of_the_batch_and_five_numbers_a_parameter():
    counted = cost(B0)
    assert counted.train_bytes(1) == counted.saved_bytes + 20 * counted.params
    assert (
        counted.train_bytes(8, optimizer_slots=1) == 8 * counted.saved_bytes + 16 * counted.params
    )


def test_a_network_is_measured_over_its_base():
    b3 = measure_scaling(get_spec("efficientnet_b3"), B0, name="b3")
    assert (b3.name, b3.by.depth, b3.by.resolution) == ("b3", 26 / 16, 300 / 224)
    assert b3.compute_ratio == b3.cost_ratio == pytest.approx(4.74, abs=0.01)


def test_a_notebook_shows_totals_and_a_terminal_no_layers():
    html = cost(B0)._repr_html_()
    assert "<td>multiply-adds (MACs)</td><td>385,814,752</td>" in html
    assert "layers" not in repr(cost(B0))
