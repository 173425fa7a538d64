"""The door for timm's people: their script, with one import changed."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from phiscale import compat
from phiscale.errors import PhiscaleError, UsageError
from phiscale.weights.peers import to_ours

pytestmark = pytest.mark.filterwarnings("ignore")  # timm's own

IMAGES = [
    Image.fromarray(np.random.default_rng(n).integers(0, 256, (60 + n, 80, 3), np.uint8))
    for n in range(4)
]


def script(library: ModuleType, weights: dict[str, Any] | None = None) -> dict[str, Any]:
    """A fine-tuning script as one writes it for timm."""
    torch.manual_seed(0)
    random.seed(0)
    assert library.list_models("*lite0*") == sorted(["efficientnet_lite0", "tf_efficientnet_lite0"])
    model = library.create_model("efficientnet_lite0", pretrained=False, num_classes=0)
    if weights is not None:
        model.load_state_dict(weights)
    config = library.data.resolve_model_data_config(model)
    config["input_size"] = (3, 64, 64)
    look = library.data.create_transform(**config, is_training=False)
    x = torch.stack([look(image) for image in IMAGES])
    model.eval()
    with torch.inference_mode():
        maps = model.forward_features(x)
        pooled = model.forward_head(maps, pre_logits=True)
    results = {
        "config": config,
        "images": x,
        "maps": maps,
        "pooled": pooled,
        "num_features": model.num_features,
        "weights": model.state_dict(),
    }
    model.reset_classifier(3)
    assert model.num_classes == 3 and model.get_classifier().out_features == 3
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("classifier" in name)
    train = library.data.create_transform(
        **config, is_training=True, auto_augment="rand-m5-n1", scale=(0.8, 1.0)
    )
    labels = torch.arange(4) % 3
    optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=5e-3)
    losses = []
    model.eval()  # batch norms keep their statistics; only the head learns
    for _ in range(24):
        batch = torch.stack([train(image) for image in IMAGES])
        loss = nn.functional.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {**results, "losses": losses}


def test_a_script_for_timm_runs_with_its_import_changed_and_sees_the_same():
    theirs = script(timm)
    model = compat.create_model("efficientnet_lite0", num_classes=0)
    assert isinstance(model, compat.Model)
    ours = script(compat, to_ours("timm", model.spec, theirs["weights"]))
    assert ours["config"]["input_size"] == theirs["config"]["input_size"]
    for key in ("interpolation", "mean", "std", "crop_pct", "crop_mode"):
        assert ours["config"][key] == theirs["config"][key]
    assert torch.equal(ours["images"], theirs["images"])
    assert ours["num_features"] == theirs["num_features"]
    for key in ("maps", "pooled"):
        assert ours[key].shape == theirs[key].shape
        assert (ours[key] - theirs[key]).norm() / theirs[key].norm() < 1e-5
    for run in (ours, theirs):
        assert np.mean(run["losses"][-6:]) < np.mean(run["losses"][:6])


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "resnet18",
        "mobilenetv2_100",
        "regnety_002",
        "tf_efficientnetv2_b0",
        "mobilenetv1_100",
    ],
)
def test_features_only_gives_the_maps_that_timm_gives(name: str):
    theirs = timm.create_model(name, features_only=True).eval()
    whole = timm.create_model(name).eval()
    ours = compat.create_model(name, features_only=True).eval()
    assert isinstance(ours, compat.Features)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    theirs.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if k in theirs.state_dict()}, strict=False
    )
    tensors = to_ours("timm", ours.model.spec, whole.state_dict())
    ours.model.load_state_dict(tensors, strict=False)  # the head is gone
    assert {name.split(".")[0] for name, _ in ours.model.named_parameters()} == {"stem", "stages"}
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for a, b in zip(theirs(x), ours(x), strict=True):
            assert a.shape == b.shape and (a - b).norm() <= 1e-5 * a.norm()


def test_maps_are_selected_by_index():
    features = compat.create_model("resnet18", features_only=True, out_indices=(1, -1))
    assert isinstance(features, compat.Features)
    assert features.feature_info.channels() == [64, 512]
    with pytest.raises(UsageError, match=r"there are 5 maps. Use 0 to 4"):
        compat.create_model("resnet18", features_only=True, out_indices=(7,))


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("efficientnet_v2_s", 1280),
        ("EfficientNetB3", 1536),
        ("efficientnet-b1", 1280),
        ("mnasnet_a1", 1280),
        ("regnet_y_400mf", 440),
        ("efficientnet_b0.ra_in1k", 1280),
    ],
)
def test_other_libraries_names_and_tags_are_understood(name: str, features: int):
    assert compat.is_model(name)
    model = compat.create_model(name, num_classes=2, in_chans=1)
    assert isinstance(model, compat.Model) and model.num_features == features
    assert model.stem.conv.in_channels == 1 and model.get_classifier().out_features == 2


def test_lists_take_patterns_and_tags():
    assert "efficientnet_b0" in compat.list_models("efficientnet_b?", exclude_filters="*_b8")
    assert "efficientnet_b8" not in compat.list_models("efficientnet_b?", exclude_filters="*_b8")
    assert "resnet50.a1_in1k" not in compat.list_models("resnet50", True, exclude_filters="*a1_*")
    assert "tf_efficientnet_b7.ns_jft_in1k" in compat.list_models("tf_*", pretrained=True)


@pytest.mark.parametrize("name", ["efficientnet_b0", "regnety_002", "resnet18"])
def test_a_state_dict_of_timm_is_loaded_by_its_own_names(name: str):
    theirs = timm.create_model(name, num_classes=3, in_chans=1).eval()
    ours = compat.create_model(name, num_classes=3, in_chans=1).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert (ours(x) - theirs(x)).norm() <= 1e-5 * theirs(x).norm()
    ours.load_state_dict(compat.create_model(name, num_classes=3, in_chans=1).state_dict())


def test_configurations_are_timms_at_both_sizes():
    for name in ("resnet50.a1_in1k", "tf_efficientnetv2_s.in21k_ft_in1k", "efficientnet_b0"):
        theirs, ours = timm.create_model(name), compat.create_model(name)
        for tested in (False, True):
            a = timm.data.resolve_model_data_config(theirs, use_test_size=tested)
            b = compat.data.resolve_model_data_config(ours, use_test_size=tested)
            assert {key: a[key] for key in b} == b, (name, tested)


def test_magnitudes_of_a_policy_are_of_ten():
    policy = compat.data.augment_policy("rand-m9-mstd0.5-inc1")
    assert isinstance(policy, v2.RandAugment) and policy.num_ops == 2
    angles = policy._AUGMENTATION_SPACE["Rotate"][0](policy.num_magnitude_bins, 224, 224)
    assert angles is not None and float(angles[policy.magnitude]) == pytest.approx(27)


def test_lists_are_in_natural_order():
    assert compat.list_models("resnet*")[:3] == ["resnet18", "resnet34", "resnet50"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: compat.create_model("efficientnet_b0.foo"),
        lambda: compat.data.create_transform(interpolation="foo"),
        lambda: compat.create_model("efficientnet_b99"),
        lambda: compat.create_model("resnet18", global_pool="max"),
        lambda: compat.create_model("resnet18", global_pool=""),
        lambda: compat.data.create_transform((3, 64, 160)),
        lambda: compat.data.create_transform(is_training=True, auto_augment="magic"),
        lambda: compat.data.resolve_model_data_config(nn.Identity()),
    ],
)
def test_an_argument_that_is_not_supported_is_an_error(call: Any):
    with pytest.raises(PhiscaleError):
        call()
