"""Class activation maps against the logits that they take apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.spec import lite
from phiscale.nn.cam import class_activation_maps, class_evidence, enlarge, overlay
from phiscale.nn.network import Network, build

LABELS = torch.tensor([0, 3, 2, 3])


@pytest.fixture(params=["with head", "without head", "ReLU6"])
def network(request: pytest.FixtureRequest) -> Network:
    """Small, of 4 classes, with a classifier and a bias that count."""
    torch.manual_seed(0)
    spec = replace(get_spec("small"), classes=4)
    if request.param == "without head":
        spec = replace(spec, head_channels=0)
    if request.param == "ReLU6":
        spec = lite(spec)
    built = build(spec, dropout=0.5)
    torch.nn.init.normal_(built.classifier.weight)
    torch.nn.init.normal_(built.classifier.bias)
    return built


def random_images(side: int = 32) -> torch.Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_the_mean_of_the_evidence_plus_the_bias_is_the_logit(network: Network):
    evidence = class_evidence(network, random_images(), LABELS)
    with torch.inference_mode():
        logits = network.eval()(random_images())[torch.arange(4), LABELS]
    expected = evidence.mean((1, 2)) + network.classifier.bias[LABELS]
    torch.testing.assert_close(expected, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [16, 32, 37])
def test_maps_are_as_large_as_the_images_and_between_0_and_1(network: Network, side: int):
    maps = class_activation_maps(network, random_images(side), LABELS)
    assert maps.shape == (4, side, side)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0 and maps.max() <= 1
    assert not maps.requires_grad


def test_the_map_is_bright_where_the_evidence_is_greatest_and_0_where_all_speaks_against(network):
    evidence = class_evidence(network, random_images(), LABELS)
    maps = class_activation_maps(network, random_images(), LABELS)
    cell = 32 // evidence.shape[-1]
    for each, speaks in zip(maps, evidence, strict=True):
        if speaks.max() > 0:
            row, column = divmod(int(speaks.argmax()), speaks.shape[1])
            assert each[row * cell + cell // 2, column * cell + cell // 2] > 0.75
    assert (maps[evidence.amax((1, 2)) <= 0] == 0).all()


def test_a_class_for_which_nothing_speaks_has_a_map_of_zeros(network: Network):
    with torch.no_grad():
        network.classifier.weight[1] = 0
    maps = class_activation_maps(network, random_images(), torch.ones(4, dtype=torch.long))
    assert maps.abs().max() == 0


def test_maps_of_a_network_in_training_are_those_in_evaluation_and_leave_it_in_training():
    torch.manual_seed(0)
    network = build(replace(get_spec("small"), classes=4), dropout=0.5, drop_path=0.5)
    calm = class_activation_maps(network.eval(), random_images(), LABELS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(class_activation_maps(network.train(), random_images(), LABELS), calm)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("side", "drawn"), [(8, 96), (28, 112), (32, 96), (64, 128), (96, 96), (224, 224)]
)
def test_small_images_are_enlarged_before_a_map_is_drawn(side: int, drawn: int):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    heat = np.zeros((side, side), np.float32)
    assert enlarge(image).shape == (drawn, drawn, 3)
    laid = overlay(image, heat)
    assert laid.shape == (drawn, drawn, 3)
    assert laid.dtype == np.uint8


def test_an_overlay_is_brighter_where_the_map_is_and_still_shows_the_image():
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, 48:] = 255
    flat = overlay(image, np.zeros((4, 4), np.float32)).astype(float).mean(2)
    heat = np.zeros((4, 4), np.float32)
    heat[0] = 1
    warm = overlay(image, heat).astype(float).mean(2)
    assert warm[0, 0] > flat[0, 0] + 50
    assert warm[0, 95] > warm[0, 0] and flat[95, 95] > flat[95, 0] + 50
    assert np.array_equal(warm[95], flat[95])


def test_an_overlay_takes_images_that_are_not_square():
    image = np.zeros((40, 120, 3), np.uint8)
    assert overlay(image, np.ones((5, 15), np.float32)).shape == (120, 360, 3)
