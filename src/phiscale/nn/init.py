"""Initial weights as in TensorFlow's EfficientNet (tensorflow/tpu, efficientnet_builder.py)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import nn


class Conv2d(nn.Conv2d):
    """torch's, but its memory is left as it is: `initialise` or a weights file fills it."""

    def reset_parameters(self) -> None:
        pass


class Linear(nn.Linear):
    """torch's, but its memory is left as it is."""

    def reset_parameters(self) -> None:
        pass


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Convolutions N(0, sqrt(2 / fan_out)), fan_out = k^2 * outputs per group (1 in a depthwise
    one); the classifier U(+-1/sqrt(classes)); norms 1 and 0; biases 0."""
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
