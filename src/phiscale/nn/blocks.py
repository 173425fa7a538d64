"""The blocks of a staged ConvNet. Children have the names that `ops.walk` gives their layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phiscale.arch.spec import Activation, Padding, Spec, Stage, hidden_channels
from phiscale.nn.init import Conv2d
from phiscale.nn.norm import BatchNorm2d


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Applies an activation by its name."""
    match activation:
        case "silu":
            return F.silu(x)
        case "relu":
            return F.relu(x)
        case "relu6":
            return F.relu6(x)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pads as TensorFlow's SAME does: an odd pixel of padding goes to the right and below."""
    height, width = x.shape[-2:]
    down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    across = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    if down == 0 and across == 0:
        return x
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2), value=value)


class ConvNorm(nn.Module):
    """Convolution, batch norm, and the activation unless `act` is None."""

    def __init__(
        self,
        spec: Spec,
        cin: int,
        cout: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ):
        super().__init__()
        self.explicit: Padding = spec.padding if stride > 1 else "symmetric"  # equal at stride 1
        padding = 0 if self.explicit == "same" else kernel // 2
        self.conv = Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False)
        self.norm = BatchNorm2d(cout, eps=spec.norm_eps, momentum=spec.norm_momentum)
        self.activation: Activation | None = spec.activation if act else None

    def forward(self, x: Tensor) -> Tensor:
        if self.explicit == "same":
            x = pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        x = self.norm(self.conv(x))
        return x if self.activation is None else activate(x, self.activation)


class SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their means (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int, activation: Activation):
        super().__init__()
        self.reduce = Conv2d(channels, squeezed, 1)
        self.expand = Conv2d(squeezed, channels, 1)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        gate = activate(self.reduce(x.mean((2, 3), keepdim=True)), self.activation)
        return x * self.expand(gate).sigmoid()


class Dropout(nn.Module):
    """Drops values and divides the others by the fraction that is kept.

    `uniforms` (a row for each image) decide what is dropped, so that a training does not depend on
    how images are distributed over machines. Without them, torch's generator is used.
    """

    uniforms: Tensor | None = None

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def numbers(self, channels: int) -> int:
        """Returns how many uniforms an image needs."""
        return channels

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        shape = (x.shape[0], self.numbers(x.shape[1]), *[1] * (x.ndim - 2))
        uniforms = torch.rand(shape, device=x.device) if self.uniforms is None else self.uniforms
        keep = 1.0 - self.rate
        return x * ((uniforms.view(shape) < keep).to(x.dtype) / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"


class DropPath(Dropout):
    """Stochastic depth: drops residual branches of whole samples, scales the others up."""

    def numbers(self, channels: int) -> int:
        return 1


class _Block(nn.Module):
    """A block with an optional identity skip, whose branch may be dropped."""

    def __init__(self, stage: Stage, cin: int, stride: int, drop_path: float):
        super().__init__()
        self.identity = stride == 1 and cin == stage.channels and stage.skip
        self.drop_path = DropPath(drop_path)


def _squeeze_excite(spec: Spec, stage: Stage, cin: int, hidden: int) -> nn.Module:
    if not stage.se_ratio:
        return nn.Identity()
    return SqueezeExcite(hidden, max(1, int(cin * stage.se_ratio)), spec.activation)


class MBConv(_Block):
    """Inverted bottleneck: 1x1 expansion, depthwise k x k, squeeze-and-excite, 1x1 projection."""

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int, hidden: int, drop: float):
        super().__init__(stage, cin, stride, drop)
        self.expand = ConvNorm(spec, cin, hidden) if stage.expand != 1 else nn.Identity()
        self.depthwise = ConvNorm(spec, hidden, hidden, stage.kernel, stride, groups=hidden)
        self.se = _squeeze_excite(spec, stage, cin, hidden)
        self.project = ConvNorm(spec, hidden, stage.channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return x + self.drop_path(y) if self.identity else y


class FusedMBConv(_Block):
    """Expansion and depthwise convolution fused into one dense k x k, then 1x1 projection.

    With expand 1, the k x k is the whole block.
    """

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int, hidden: int, drop: float):
        super().__init__(stage, cin, stride, drop)
        alone = stage.expand == 1
        hidden = stage.channels if alone else hidden
        self.expand = ConvNorm(spec, cin, hidden, stage.kernel, stride)
        self.se = _squeeze_excite(spec, stage, cin, hidden)
        project = ConvNorm(spec, hidden, stage.channels, act=False)
        self.project = nn.Identity() if alone else project

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.se(self.expand(x)))
        return x + self.drop_path(y) if self.identity else y


class Separable(nn.Module):
    """MobileNetV1: depthwise k x k, then 1x1, both activated; no skip."""

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int):
        super().__init__()
        self.depthwise = ConvNorm(spec, cin, cin, stage.kernel, stride, groups=cin)
        self.project = ConvNorm(spec, cin, stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.depthwise(x))


class _Residual(_Block):
    """ResNet's block: the sum is activated; a 1x1 convolution matches a map of another shape."""

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int, drop: float):
        super().__init__(stage, cin, stride, drop)
        shortcut = not self.identity
        self.shortcut = (
            ConvNorm(spec, cin, stage.channels, stride=stride, act=False)
            if shortcut
            else nn.Identity()
        )
        self.activation: Activation = spec.activation

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.shortcut(x) + self.drop_path(self.branch(x)), self.activation)


class Basic(_Residual):
    """ResNet-18 and -34: two k x k convolutions."""

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int, drop: float):
        super().__init__(spec, stage, cin, stride, drop)
        self.first = ConvNorm(spec, cin, stage.channels, stage.kernel, stride)
        self.second = ConvNorm(spec, stage.channels, stage.channels, stage.kernel, act=False)

    def branch(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Bottleneck(_Residual):
    """ResNet-50 (stride in the k x k), Wide ResNet, and with groups and SE RegNetX and RegNetY."""

    def __init__(self, spec: Spec, stage: Stage, cin: int, stride: int, drop: float):
        super().__init__(spec, stage, cin, stride, drop)
        hidden = hidden_channels(stage.channels, stage.expand)
        groups = hidden // stage.group_width if stage.group_width else 1
        self.reduce = ConvNorm(spec, cin, hidden)
        self.spatial = ConvNorm(spec, hidden, hidden, stage.kernel, stride, groups=groups)
        self.se = _squeeze_excite(spec, stage, cin, hidden)
        self.project = ConvNorm(spec, hidden, stage.channels, act=False)

    def branch(self, x: Tensor) -> Tensor:
        return self.project(self.se(self.spatial(self.reduce(x))))


def build_block(spec: Spec, stage: Stage, cin: int, first: bool, drop_path: float) -> nn.Module:
    """Builds one block of a stage. The first has the stride, and may expand from `expand_from`."""
    stride = stage.stride if first else 1
    counted_from = stage.expand_from if first and stage.expand_from else cin
    hidden = hidden_channels(counted_from, stage.expand)
    match stage.block:
        case "mbconv":
            return MBConv(spec, stage, cin, stride, hidden, drop_path)
        case "fused_mbconv":
            return FusedMBConv(spec, stage, cin, stride, hidden, drop_path)
        case "separable":
            return Separable(spec, stage, cin, stride)
        case "basic":
            return Basic(spec, stage, cin, stride, drop_path)
        case "bottleneck":
            return Bottleneck(spec, stage, cin, stride, drop_path)
