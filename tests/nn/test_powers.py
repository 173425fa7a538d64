"""The powers with which MACs grow are those that torch's own counter sees on built networks."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from phiscale.arch.deviation import AXES, doubling_powers
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.arch.spec import Spec
from phiscale.nn.network import build

ONE_OF_EACH = (
    "efficientnet_b0",
    "efficientnetv2_b0",
    "efficientnet_lite0",
    "efficientnet_es",
    "semnasnet_100",
    "mobilenetv1_100",
    "mobilenetv2_100",
    "resnet18",
    "resnet50",
    "wide_resnet50_2",
    "regnetx_002",
    "regnety_002",
    "small",
)


def flops(spec: Spec) -> int:
    """Of one forward pass on the meta device: 2 a MAC."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(spec).eval()(torch.empty(1, spec.in_channels, spec.resolution, spec.resolution))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_doubling_a_dimension_multiplies_the_macs_that_torch_counts_alike(name: str):
    spec = replace(get_spec(name), classes=10)
    base = flops(spec)
    seen = [math.log2(flops(scale(spec, Scaling(**{axis: 2.0}))) / base) for axis in AXES]
    assert seen == pytest.approx(doubling_powers(spec)["macs"], abs=1e-3)
