"""Weights for other classes and input channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phiscale.arch.scaling import first_stages
from phiscale.errors import SpecError, WeightsError
from phiscale.nn.network import build
from phiscale.weights.adapt import adapt_weights, over_channels
from phiscale.weights.sources import load
from support.timm_weights import RESNET18

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_other_input_channels_keep_one_response(channels: int):
    kernel = torch.randn(8, 3, 3, 3)
    adapted = over_channels(kernel, channels)
    assert adapted.shape == (8, channels, 3, 3)
    if channels < 3:  # a grey image, given in every channel
        grey = torch.rand(1, 1, 9, 9)
        a, b = (grey.expand(-1, n, -1, -1) for n in (3, channels))
    else:  # colours that repeat
        a = torch.rand(1, 3, 9, 9)
        b = a[:, torch.arange(channels) % 3]
    before, after = (torch.nn.functional.conv2d(x, k) for x, k in ((a, kernel), (b, adapted)))
    assert torch.allclose(before, after, atol=1e-5)


def test_only_the_classifier_and_the_stem_may_change():
    tensors = build(RESNET18).state_dict()
    want = replace(RESNET18, classes=7, in_channels=1, resolution=96)
    fresh = build(want).state_dict()
    adapted = adapt_weights(tensors, RESNET18, want, fresh)
    changed = {k for k in adapted if adapted[k] is not tensors.get(k)}
    assert changed == {"stem.conv.weight", "classifier.weight", "classifier.bias"}
    assert torch.equal(adapted["classifier.weight"], fresh["classifier.weight"])
    without = adapt_weights(tensors, RESNET18, replace(RESNET18, classes=0), {})
    assert tensors.keys() - without.keys() == {"classifier.weight", "classifier.bias"}
    with pytest.raises(WeightsError, match="it differs in activation"):
        adapt_weights(tensors, RESNET18, replace(RESNET18, activation="silu"), {})


def test_a_loaded_network_takes_other_classes_channels_and_any_size(timm_file: Path):
    network = load(timm_file, classes=2, in_channels=4)
    assert network(torch.randn(1, 4, 97, 130)).shape == (1, 2)
    assert network.metadata.spec == network.spec
    assert load(timm_file, classes=0)(torch.randn(1, 3, 64, 64)).shape == (1, 512)


def test_the_first_stages_keep_their_weights_and_get_a_new_classifier():
    whole, part = build(RESNET18), build(first_stages(RESNET18, 2))
    fresh = part.state_dict()
    adapted = adapt_weights(whole.state_dict(), RESNET18, part.spec, fresh)
    assert adapted.keys() == fresh.keys()
    for name, tensor in adapted.items():
        source = fresh if name.startswith("classifier") else whole.state_dict()
        assert torch.equal(tensor, source[name]), name
    part.load_state_dict(adapted)
    x = torch.randn(1, 3, 64, 64)
    whole.eval(), part.eval()
    assert torch.equal(whole.intermediates(x)["stages.1"], part.intermediates(x)["stages.1"])


def test_stages_that_are_not_the_first_ones_are_another_network():
    last = replace(RESNET18, stages=RESNET18.stages[1:])
    with pytest.raises(WeightsError, match="differs in stages"):
        adapt_weights({}, RESNET18, last, {})
    with pytest.raises(SpecError, match="between 1 and the 4 stages"):
        first_stages(RESNET18, 5)
