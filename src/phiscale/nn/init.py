"""Initial weights as in TensorFlow's EfficientNet (tensorflow/tpu, efficientnet_builder.py)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import nn


class Conv2d(nn.Conv2d):
    """torch's Conv2d with uninitialised memory: `initialise` or a weights file fills it."""

    def reset_parameters(self) -> None:
        pass


class Linear(nn.Linear):
    """torch's Linear with uninitialised memory."""

    def reset_parameters(self) -> None:
        pass


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Draws initial weights from torch's generator.

    Convolutions: N(0, sqrt(2 / fan_out)) with fan_out = k^2 * outputs per group, which is k^2 for a
    depthwise one. Classifier: U(+-1/sqrt(classes)). Norms: 1 and 0. Biases: 0.
    """
    for module in network.modules():
        match module:
            case nn.Conv2d():
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                module.weight.normal_(0.0, sqrt(2.0 / (fan_out // module.groups)))
            case nn.Linear():
                bound = 1.0 / sqrt(module.out_features)
                module.weight.uniform_(-bound, bound)
            case nn.BatchNorm2d():
                nn.init.ones_(module.weight)
                module.reset_running_stats()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            module.bias.zero_()
