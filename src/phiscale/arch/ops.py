"""Every operation of a network with its wiring, in forward order, walked from its spec alone.

Costs and the ONNX file of untrained weights are read from this walk. `sizes` says for which numbers
its arithmetic holds.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from phiscale.arch.sizes import Number, ScaledSizes, at_least, floor, plain, where
from phiscale.arch.spec import Spec, Stage

OperationKind = Literal[
    "dense",  # the first four are convolutions without bias
    "pointwise",
    "depthwise",
    "grouped",
    "norm",
    "activation",
    "se",  # squeeze-and-excite: mean, two 1x1 convolutions with bias, product with the map
    "add",
    "max_pool",  # 3x3, stride 2
    "mean_pool",  # over the whole map
    "linear",
]
IMAGES = "images"  # the network's input, as the operations name it


class Operation(NamedTuple):
    """One operation for one image. `path` names its output, too."""

    path: str  # of the module in the built network, where there is one
    kind: OperationKind
    inputs: tuple[str, ...]  # paths of operations, or `IMAGES`
    channels_in: Number
    channels: Number
    side_in: Number  # pixels of the input map
    side: Number  # pixels of the output map
    count: Number = 1  # how often it occurs
    kernel: int = 1
    stride: int = 1
    groups: Number = 1
    squeezed: Number = 0  # channels inside a "se"
    residual_elements: Number = 0  # of the block's input, kept until it is added to the output


class FeatureMap(NamedTuple):
    """The output of an operation: `channels` maps of `side` x `side` pixels."""

    name: str
    channels: Number
    side: Number


def walk(spec: Spec, sizes: ScaledSizes) -> list[Operation]:
    """Returns the operations of one network or of many, in forward order.

    `sizes` holds integers, arrays or fractions.

    A stage has its first block, then one that stands for all others: its paths have a `*` in the
    place of the block's number, and its operations occur `repeats - 1` times.
    """
    graph = _Graph(spec, sizes)
    x = graph.stem()
    for number in range(len(spec.stages)):
        x = graph.block(f"stages.{number}.0", x, number, first=True)
        further: Number = sizes.repeats[number] - 1
        if plain(further) and not further:
            continue
        graph.count = further
        x = graph.block(f"stages.{number}.*", x, number, first=False)
        graph.count = 1
    graph.head(x)
    return graph.operations


def operations(spec: Spec) -> list[Operation]:
    """Returns every operation of one network, each block under its own path."""
    graph = _Graph(spec, ScaledSizes.of(spec))
    x = graph.stem()
    for number, stage in enumerate(spec.stages):
        for repeat in range(stage.repeats):
            x = graph.block(f"stages.{number}.{repeat}", x, number, first=repeat == 0)
    graph.head(x)
    return graph.operations


class _Block(NamedTuple):
    """One block of a stage: what all its operations need."""

    at: str  # path
    stage: Stage
    stride: int
    channels: Number  # output
    identity: Any  # does the input skip the block; of a lattice, one answer a network


class _Graph:
    """Collects operations. A method appends some and returns the map that they compute."""

    def __init__(self, spec: Spec, sizes: ScaledSizes):
        self.spec = spec
        self.sizes = sizes
        self.count: Number = 1  # of the operations that are appended
        self.operations: list[Operation] = []

    def stem(self) -> FeatureMap:
        """Appends the first convolution and, where there is one, its max pool."""
        spec = self.spec
        images = FeatureMap(IMAGES, spec.in_channels, self.sizes.side)
        x = self.conv("stem", images, self.sizes.stem, spec.stem_kernel, spec.stem_stride)
        if not spec.stem_pool:
            return x
        pooled = FeatureMap("pool_stem", x.channels, self.shrink(x.side, 2))
        return self.append("max_pool", pooled, x, kernel=3, stride=2)

    def head(self, x: FeatureMap) -> FeatureMap:
        """Appends the last convolution, the mean over the map and the classifier."""
        if self.spec.head_channels:
            x = self.conv("head", x, self.sizes.head)
        x = self.append("mean_pool", FeatureMap("pool", x.channels, 1), x)
        if not self.spec.classes:
            return x
        return self.append("linear", FeatureMap("classifier", self.spec.classes, 1), x)

    def block(self, at: str, x: FeatureMap, number: int, *, first: bool) -> FeatureMap:
        """Appends a block; only the first one of a stage strides and may change the channels."""
        stage, out = self.spec.stages[number], self.sizes.channels[number]
        stride = stage.stride if first else 1
        identity = x.channels == out if stride == 1 and stage.skip else False
        block = _Block(at, stage, stride, out, identity)
        match stage.block:
            case "mbconv" | "fused_mbconv":
                fixed = first and stage.expand_from
                base = self.sizes.expand_from[number] if fixed else x.channels
                return self.inverted(block, x, self.hidden(base, stage.expand))
            case "separable":
                return self.conv(f"{at}.project", self.depthwise(block, x), out)
            case "basic":
                return self.basic(block, x)
            case "bottleneck":
                return self.bottleneck(block, x, self.sizes.groups[number])

    def inverted(self, block: _Block, x: FeatureMap, hidden: Number) -> FeatureMap:
        """Appends an MBConv or a Fused-MBConv.

        The expansion and the depthwise of the latter are one dense convolution.
        """
        at, stage, stride, out, identity = block
        fused, expands = stage.block == "fused_mbconv", stage.expand != 1
        residual_elements = where(identity, _elements(x), 0)
        if fused:
            y = self.conv(f"{at}.expand", x, hidden if expands else out, stage.kernel, stride)
        else:
            y = self.conv(f"{at}.expand", x, hidden) if expands else x
            y = self.depthwise(block, y, residual_elements if expands else 0)
        y = self.squeeze_excite(block, x, y, residual_elements)
        if expands or not fused:
            y = self.conv(f"{at}.project", y, out, act=False, residual_elements=residual_elements)
        if identity is False:
            return y
        return self.add(at, x, y, count=where(identity, 1, 0))

    def basic(self, block: _Block, x: FeatureMap) -> FeatureMap:
        """Appends ResNet-18's and -34's block: two k x k convolutions."""
        at, stage, stride, out, _ = block
        y = self.conv(f"{at}.first", x, out, stage.kernel, stride)
        skip = self.shortcut(block, x)
        y = self.conv(
            f"{at}.second", y, out, stage.kernel, act=False, residual_elements=_elements(y)
        )
        return self.activation(at, self.add(at, skip, y))

    def bottleneck(self, block: _Block, x: FeatureMap, group: Number) -> FeatureMap:
        """Appends ResNet-50's block; with groups RegNetX's; with squeeze-and-excite RegNetY's."""
        at, stage, stride, out, _ = block
        hidden, residual_elements = self.hidden(out, stage.expand), _elements(x)
        y = self.conv(f"{at}.reduce", x, hidden)
        y = self.conv(
            f"{at}.spatial",
            y,
            hidden,
            stage.kernel,
            stride,
            groups=self.divide(hidden, group) if stage.group_width else 1,
            kind="grouped" if stage.group_width else None,
            residual_elements=residual_elements,
        )
        y = self.squeeze_excite(block, x, y, residual_elements)
        skip = self.shortcut(block, x)
        y = self.conv(f"{at}.project", y, out, act=False, residual_elements=out * y.side**2)
        return self.activation(at, self.add(at, skip, y))

    def shortcut(self, block: _Block, x: FeatureMap) -> FeatureMap:
        """Appends ResNet's 1x1 convolution and norm beside a block that changes its map."""
        if block.identity is True:
            return x
        count = self.count
        self.count = count * where(block.identity, 0, 1)
        y = self.conv(f"{block.at}.shortcut", x, block.channels, stride=block.stride, act=False)
        self.count = count
        return y

    def depthwise(self, block: _Block, x: FeatureMap, residual_elements: Number = 0) -> FeatureMap:
        return self.conv(
            f"{block.at}.depthwise",
            x,
            x.channels,
            block.stage.kernel,
            block.stride,
            groups=x.channels,
            kind="depthwise",
            residual_elements=residual_elements,
        )

    def squeeze_excite(
        self, block: _Block, x: FeatureMap, y: FeatureMap, residual_elements: Number
    ) -> FeatureMap:
        """Weighs `y` by a gate whose inside is `se_ratio` of the block's input `x` wide."""
        ratio = block.stage.se_ratio
        if not ratio:
            return y
        exact = x.channels * ratio
        squeezed = exact if self.sizes.fractional else at_least(1, floor(exact))
        gated = FeatureMap(f"{block.at}.se", y.channels, y.side)
        return self.append("se", gated, y, squeezed=squeezed, residual_elements=residual_elements)

    def conv(  # noqa: PLR0913 (as torch.nn.Conv2d)
        self,
        at: str,
        x: FeatureMap,
        channels: Number,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: Number = 1,
        kind: OperationKind | None = None,
        act: bool = True,
        residual_elements: Number = 0,
    ) -> FeatureMap:
        """Appends a convolution, its batch norm and, where `act`, its activation."""
        kind = kind or ("pointwise" if kernel == 1 else "dense")
        y = FeatureMap(f"{at}.conv", channels, self.shrink(x.side, stride))
        shape = (x.channels, channels, x.side, y.side)
        self.operations.append(
            Operation(
                y.name,
                kind,
                (x.name,),
                *shape,
                self.count,
                kernel,
                stride,
                groups,
                residual_elements=residual_elements,
            )
        )
        y = self.append("norm", FeatureMap(f"{at}.norm", channels, y.side), y)
        return self.activation(at, y) if act else y

    def activation(self, at: str, x: FeatureMap) -> FeatureMap:
        return self.append("activation", FeatureMap(f"{at}.activation", x.channels, x.side), x)

    def add(self, at: str, skip: FeatureMap, branch: FeatureMap, count: Number = 1) -> FeatureMap:
        name, channels, side = f"{at}.add", branch.channels, branch.side
        inputs = (skip.name, branch.name)
        self.operations.append(
            Operation(name, "add", inputs, channels, channels, side, side, self.count * count)
        )
        return FeatureMap(name, channels, side)

    def append(
        self, kind: OperationKind, out: FeatureMap, x: FeatureMap, **more: Number
    ) -> FeatureMap:
        name, channels, side = out
        self.operations.append(
            Operation(name, kind, (x.name,), x.channels, channels, x.side, side, self.count, **more)
        )
        return out

    def shrink(self, side: Number, stride: int) -> Number:
        if stride == 1:
            return side
        return side / stride if self.sizes.fractional else -(-side // stride)

    def hidden(self, channels: Number, expand: float) -> Number:
        """Returns `spec.hidden_channels`, of arrays too."""
        exact = channels * expand
        return exact if self.sizes.fractional else at_least(1, floor(exact + 0.5))

    def divide(self, number: Number, by: Number) -> Number:
        return number / by if self.sizes.fractional else number // by


def _elements(x: FeatureMap) -> Number:
    return x.channels * x.side**2
