"""Small networks for the tests."""

from __future__ import annotations

from dataclasses import replace

import torch

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.nn.network import Network, build

SPEC = replace(get_spec("small"), resolution=16)


def random_network(spec: Spec = SPEC) -> Network:
    """With weights and batch-norm statistics that differ from the initial ones, in eval mode."""
    torch.manual_seed(0)
    network = build(spec)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return network.eval()
