"""Weights for other classes and input channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from phiscale.arch.families import get_spec
from phiscale.errors import WeightsError
from phiscale.nn.network import build
from phiscale.weights.adapt import adapt_weights, over_channels
from phiscale.weights.peers import to_theirs
from phiscale.weights.sources import load

SPEC = replace(get_spec("resnet18"), classes=4)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "cache"


def timms() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return to_theirs("timm", SPEC, build(SPEC).state_dict())


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    save_file(timms(), tmp_path / "theirs.safetensors", {"architecture": "resnet18"})
    return tmp_path / "theirs.safetensors"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_other_input_channels_keep_one_response(channels: int):
    kernel = torch.randn(8, 3, 3, 3)
    made = over_channels(kernel, channels)
    assert made.shape == (8, channels, 3, 3)
    if channels < 3:  # a grey image, given in every channel
        grey = torch.rand(1, 1, 9, 9)
        a, b = (grey.expand(-1, n, -1, -1) for n in (3, channels))
    else:  # colours that repeat
        a = torch.rand(1, 3, 9, 9)
        b = a[:, torch.arange(channels) % 3]
    before, after = (torch.nn.functional.conv2d(x, k) for x, k in ((a, kernel), (b, made)))
    assert torch.allclose(before, after, atol=1e-5)


def test_only_the_classifier_and_the_stem_may_change():
    tensors = build(SPEC).state_dict()
    want = replace(SPEC, classes=7, in_channels=1, resolution=96)
    fresh = build(want).state_dict()
    made = adapt_weights(tensors, SPEC, want, fresh)
    changed = {k for k in made if made[k] is not tensors.get(k)}
    assert changed == {"stem.conv.weight", "classifier.weight", "classifier.bias"}
    assert torch.equal(made["classifier.weight"], fresh["classifier.weight"])
    without = adapt_weights(tensors, SPEC, replace(SPEC, classes=0), {})
    assert tensors.keys() - without.keys() == {"classifier.weight", "classifier.bias"}
    with pytest.raises(WeightsError, match="it differs in activation"):
        adapt_weights(tensors, SPEC, replace(SPEC, activation="silu"), {})


def test_a_loaded_network_takes_other_classes_channels_and_any_size(theirs: Path):
    network = load(theirs, classes=2, in_channels=4)
    assert network(torch.randn(1, 4, 97, 130)).shape == (1, 2)
    assert network.metadata.spec == network.spec
    assert load(theirs, classes=0)(torch.randn(1, 3, 64, 64)).shape == (1, 512)
