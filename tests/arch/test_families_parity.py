"""Every member against the same network of timm and torchvision, convolution by convolution."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from phiscale.arch.costs import cost
from phiscale.arch.families import MEMBERS
from phiscale.arch.spec import Spec

timm = pytest.importorskip("timm", reason="pip install 'phiscale[dev]'")
import torchvision.models as tv  # noqa: E402
from torchvision.models import regnet as tv_regnet  # noqa: E402

# timm has these under their TensorFlow names alone.
IN_TIMM = {f"efficientnetv2_b{size}": f"tf_efficientnetv2_b{size}" for size in range(4)}
IN_TORCHVISION = {
    **{f"efficientnet_b{size}": f"efficientnet_b{size}" for size in range(8)},
    **{f"efficientnetv2_{size}": f"efficientnet_v2_{size}" for size in "sml"},
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    "wide_resnet50_2": "wide_resnet50_2",
    "wide_resnet101_2": "wide_resnet101_2",
    "mnasnet_100": "mnasnet1_0",
    "mobilenetv2_100": "mobilenet_v2",
    "regnetx_004_tv": "regnet_x_400mf",
    "regnetx_008": "regnet_x_800mf",
    "regnetx_016": "regnet_x_1_6gf",
    "regnetx_032": "regnet_x_3_2gf",
    "regnetx_080": "regnet_x_8gf",
    "regnetx_160": "regnet_x_16gf",
    "regnetx_320": "regnet_x_32gf",
    "regnety_004": "regnet_y_400mf",
    "regnety_008_tv": "regnet_y_800mf",
    "regnety_016": "regnet_y_1_6gf",
    "regnety_032": "regnet_y_3_2gf",
    "regnety_080_tv": "regnet_y_8gf",
    "regnety_160": "regnet_y_16gf",
    "regnety_320": "regnet_y_32gf",
    "regnety_1280": "regnet_y_128gf",
}
HEAVY = ("efficientnet_b8", "efficientnet_l2", "efficientnetv2_xl", "regnety_1280")
COMPARED_IN_FULL = (
    "tf_efficientnet_b0",
    "tf_efficientnet_lite0",
    "tf_efficientnet_es",
    "tf_efficientnetv2_s",
)
ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "relu6": nn.ReLU6}


def names(models: list[str]) -> list:
    """Marks the heaviest as slow, and most TensorFlow variants of networks compared already."""

    def slow(name: str) -> bool:
        return name in HEAVY or (name.startswith("tf_") and name not in COMPARED_IN_FULL)

    return [pytest.param(name, marks=pytest.mark.slow if slow(name) else ()) for name in models]


def observed(network: nn.Module, spec: Spec) -> tuple[int, int, Counter]:
    """Parameters, MACs and each convolution's shape, as hooks of a forward pass record them."""
    macs, shapes = 0, Counter()

    def record(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        weights = module.weight.numel()
        side = out.shape[-1] if isinstance(module, nn.Conv2d) else 1
        kernel = module.kernel_size[0] if isinstance(module, nn.Conv2d) else 1
        macs += weights * side**2
        cin = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
        shapes[kernel, cin, out.shape[1], side, weights] += 1

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(record)
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, spec.resolution, spec.resolution, device="meta"))
    return sum(weight.numel() for weight in network.parameters()), macs, shapes


def counted(spec: Spec) -> tuple[int, int, Counter]:
    """The same three from the spec alone."""
    whole = cost(spec)
    shapes = Counter(
        (layer.kernel, layer.channels_in, layer.channels, layer.side, layer.weights)
        for layer in whole.layers
    )
    return whole.params, whole.macs, shapes


@pytest.mark.parametrize("name", names([n for n in MEMBERS if n != "small"]))
def test_a_member_is_timms_network_layer_by_layer(name: str):
    spec = MEMBERS[name].spec
    with torch.device("meta"):
        network = timm.create_model(IN_TIMM.get(name, name))
    assert observed(network, spec) == counted(spec)
    assert any(isinstance(m, ACTIVATIONS[spec.activation]) for m in network.modules())
    if name not in IN_TIMM:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        padded = any(type(module).__name__ == "Conv2dSame" for module in network.modules())
        assert {norm.eps for norm in norms} == {spec.norm_eps}
        assert padded == (spec.padding == "same")


@pytest.mark.parametrize("name", names(list(IN_TORCHVISION)))
def test_a_member_is_torchvisions_network_layer_by_layer(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    def widths_need_data(*args, **kwargs):
        with torch.device("cpu"):
            return generate(*args, **kwargs)

    generate = tv_regnet.BlockParams.from_init_params
    monkeypatch.setattr(tv_regnet.BlockParams, "from_init_params", widths_need_data)
    spec = MEMBERS[name].spec
    with torch.device("meta"):
        network = getattr(tv, IN_TORCHVISION[name])()
    assert observed(network, spec) == counted(spec)
    assert any(isinstance(m, ACTIVATIONS[spec.activation]) for m in network.modules())
