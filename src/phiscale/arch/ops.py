"""Every layer of a network, in forward order, walked from its spec alone.

The walk is plain arithmetic, so the same lines count one network (integers), half a million at once
(numpy arrays over a lattice) and the ideal network between the integers (fractions).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import floor
from typing import Any

from phiscale.arch.scaling import Scaling
from phiscale.arch.spec import Spec, Stage

Number = Any  # int, float or numpy array: the walk does not care


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution or linear layer, with the norm and activation after it, for one image."""

    path: str  # of the module in the built network
    kind: str  # dense, pointwise, depthwise, grouped, se, linear
    kernel: int
    channels_in: Number
    channels: Number
    side: Number  # pixels of the output map
    weights: Number
    params: Number  # weights, and batch norm's two or one bias a channel
    macs: Number
    activations: Number  # output elements
    saved: Number  # elements that torch keeps for the backward pass, each storage counted once
    live: Number  # elements at inference: input, output and a waiting residual


@dataclass(frozen=True)
class Shape:
    """The numbers of a spec that scaling changes: integers, arrays over a lattice, or fractions."""

    stem: Number
    head: Number
    side: Number
    repeats: tuple[Number, ...]
    channels: tuple[Number, ...]
    groups: tuple[Number, ...]
    expand_from: tuple[Number, ...]
    fractional: bool = False  # nothing is rounded

    @staticmethod
    def of(spec: Spec) -> Shape:
        stages = spec.stages
        return Shape(
            stem=spec.stem_channels,
            head=spec.head_channels,
            side=spec.resolution,
            repeats=tuple(s.repeats for s in stages),
            channels=tuple(s.channels for s in stages),
            groups=tuple(s.group_width for s in stages),
            expand_from=tuple(s.expand_from for s in stages),
        )

    @staticmethod
    def ideal(spec: Spec, by: Scaling) -> Shape:
        """The scaled network before any rounding."""
        last = len(spec.stages) - 1
        ends = 1.0 if spec.fixed_ends else by.width

        def depth(number: int) -> float:
            return 1.0 if spec.fixed_ends and number in (0, last) else by.depth

        return Shape(
            stem=spec.stem_channels * ends,
            head=spec.head_channels * ends,
            side=spec.resolution * by.resolution,
            repeats=tuple(s.repeats * depth(i) for i, s in enumerate(spec.stages)),
            channels=tuple(s.channels * by.width for s in spec.stages),
            groups=tuple(s.group_width * by.width for s in spec.stages),
            expand_from=tuple(s.expand_from * by.width for s in spec.stages),
            fractional=True,
        )


def walk(spec: Spec, shape: Shape) -> Iterator[tuple[Layer, Number]]:
    """Every layer and how often it occurs: 1 in a stage's first block, repeats - 1 in the others,
    whose path has a `*` in the place of the block's number."""
    w = _Walk(spec, shape.fractional)
    stem = w.conv(
        "stem",
        spec.in_channels,
        shape.stem,
        shape.side,
        kernel=spec.stem_kernel,
        stride=spec.stem_stride,
    )
    side, channels = w.shrink(shape.side, spec.stem_stride), shape.stem
    if spec.stem_pool:
        kept, pooled = w.pool_keeps(channels, side), w.shrink(side, 2)
        side = pooled
        stem = replace(stem, saved=stem.saved + kept)
        w.kept = False
    yield stem, 1
    for number, stage in enumerate(spec.stages):
        out, group = shape.channels[number], shape.groups[number]
        counted_from = shape.expand_from[number] if stage.expand_from else channels
        at = f"stages.{number}"
        yield from w.block(f"{at}.0", stage, channels, out, side, stage.stride, group, counted_from)
        side = w.shrink(side, stage.stride)
        rest = shape.repeats[number] - 1
        for layer, times in w.block(f"{at}.*", stage, out, out, side, 1, group, out):
            yield layer, times * rest
        channels = out
    if spec.head_channels:
        yield w.conv("head", channels, shape.head, side), 1
        channels = shape.head
    if not spec.classes:
        return
    weights = channels * spec.classes
    yield (
        Layer(
            "classifier",
            "linear",
            1,
            channels,
            spec.classes,
            1,
            weights,
            weights + spec.classes,
            weights,
            spec.classes,
            channels,
            channels + spec.classes,
        ),
        1,
    )


class _Walk:
    """Emits layers and remembers whether the current map is already kept for the backward pass."""

    def __init__(self, spec: Spec, fractional: bool):
        self.fractional = fractional
        self.same = spec.padding == "same"
        self.relu = spec.activation == "relu"
        self.kept = False

    def shrink(self, side: Number, stride: int) -> Number:
        if stride == 1:
            return side
        return side / stride if self.fractional else -(-side // stride)

    def hidden(self, channels: Number, expand: float) -> Number:
        """`spec.hidden_channels`, on arrays too."""
        exact = channels * expand
        return exact if self.fractional else _at_least(1, _floor(exact + 0.5))

    def conv(
        self,
        path: str,
        cin: Number,
        cout: Number,
        side: Number,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: Number = 1,
        kind: str = "",
        act: bool = True,
        held: Number = 0,
        input_kept: bool = False,
    ) -> Layer:
        """A convolution with batch norm and, mostly, an activation. `held`: elements of a residual
        that waits meanwhile. `input_kept`: another layer has counted this input."""
        out_side = self.shrink(side, stride)
        weights = (
            kernel**2 * cin * cout / groups if self.fractional else kernel**2 * cin * cout // groups
        )
        elements = cout * out_side**2
        saved = (
            elements + 2 * cout + (elements if act else 0)
        )  # norm's input, moments; activation's
        padded = self.pads(kernel, stride)
        if padded:  # an explicit pad makes a copy
            extra = _at_least(0, (out_side - 1) * stride + kernel - side)
            saved = saved + cin * (side + extra) ** 2
        elif not (self.kept or input_kept):
            saved = saved + cin * side**2
        self.kept = act and self.relu  # ReLU keeps its output; SiLU and ReLU6 their input
        return Layer(
            path,
            kind or ("pointwise" if kernel == 1 else "dense"),
            kernel,
            cin,
            cout,
            out_side,
            weights,
            weights + 2 * cout,
            weights * out_side**2,
            elements,
            saved,
            cin * side**2 + elements + held,
        )

    def pool_keeps(self, channels: Number, side: Number) -> Number:
        """A 3x3 pool of stride 2 keeps int64 indices and its input, unless ReLU keeps that already;
        a padded copy comes on top."""
        out = self.shrink(side, 2)
        indices = 2 * channels * out**2
        extra = _at_least(0, (out - 1) * 2 + 3 - side) if self.pads(3, 2) else 0
        if self.pads(3, 2):
            return indices + channels * (side + extra) ** 2
        return indices + (0 if self.kept else channels * side**2)

    def pads(self, kernel: int, stride: int) -> bool:
        return self.same and stride > 1 and kernel > 1

    def squeeze_excite(
        self, at: str, cin: Number, hidden: Number, side: Number, ratio: float, held: Number
    ) -> Iterator[Layer]:
        """Two 1x1 convolutions with bias on the pooled map, then a product with the map itself."""
        squeezed = cin * ratio if self.fractional else _at_least(1, _floor(cin * ratio))
        mapped, weights = hidden * side**2, hidden * squeezed
        yield Layer(
            f"{at}.se.reduce",
            "se",
            1,
            hidden,
            squeezed,
            1,
            weights,
            weights + squeezed,
            weights,
            squeezed,
            hidden + (1 if self.relu else 2) * squeezed,
            mapped + hidden + squeezed + held,
        )
        yield Layer(
            f"{at}.se.expand",
            "se",
            1,
            squeezed,
            hidden,
            1,
            weights,
            weights + hidden,
            weights,
            hidden,
            hidden + (0 if self.kept else mapped),
            2 * mapped + hidden + held,
        )
        self.kept = False

    def block(
        self,
        at: str,
        stage: Stage,
        cin: Number,
        cout: Number,
        side: Number,
        stride: int,
        group: Number,
        counted_from: Number,
    ) -> Iterator[tuple[Layer, Number]]:
        """One block's layers, each with 1, or with 0 where a lattice point has no shortcut."""
        out_side = self.shrink(side, stride)
        identity: Any = cin == cout if stride == 1 and stage.skip else False
        incoming = cin * side**2
        match stage.block:
            case "mbconv" | "fused_mbconv":
                held = _where(identity, incoming, 0)
                hidden = self.hidden(counted_from, stage.expand)
                deep = stage.block == "mbconv"
                if not deep:
                    hidden = hidden if stage.expand != 1 else cout
                    yield (
                        self.conv(
                            f"{at}.expand", cin, hidden, side, kernel=stage.kernel, stride=stride
                        ),
                        1,
                    )
                elif stage.expand != 1:
                    yield self.conv(f"{at}.expand", cin, hidden, side), 1
                if deep:
                    yield (
                        self.conv(
                            f"{at}.depthwise",
                            hidden,
                            hidden,
                            side,
                            kernel=stage.kernel,
                            stride=stride,
                            groups=hidden,
                            kind="depthwise",
                            held=held if stage.expand != 1 else 0,
                        ),
                        1,
                    )
                if stage.se_ratio:
                    for layer in self.squeeze_excite(
                        at, cin, hidden, out_side, stage.se_ratio, held
                    ):
                        yield layer, 1
                if deep or stage.expand != 1:
                    yield (
                        self.conv(f"{at}.project", hidden, cout, out_side, act=False, held=held),
                        1,
                    )
            case "separable":
                yield (
                    self.conv(
                        f"{at}.depthwise",
                        cin,
                        cin,
                        side,
                        kernel=stage.kernel,
                        stride=stride,
                        groups=cin,
                        kind="depthwise",
                    ),
                    1,
                )
                yield self.conv(f"{at}.project", cin, cout, out_side), 1
            case "basic":
                shared = not self.pads(stage.kernel, stride)
                yield (
                    self.conv(f"{at}.first", cin, cout, side, kernel=stage.kernel, stride=stride),
                    1,
                )
                yield self.shortcut(at, cin, cout, side, stride, identity, shared)
                yield (
                    self.conv(
                        f"{at}.second",
                        cout,
                        cout,
                        out_side,
                        kernel=stage.kernel,
                        held=cout * out_side**2,
                    ),
                    1,
                )
            case "bottleneck":
                hidden = self.hidden(cout, stage.expand)
                groups = (
                    hidden / group
                    if self.fractional and stage.group_width
                    else hidden // group
                    if stage.group_width
                    else 1
                )
                yield self.conv(f"{at}.reduce", cin, hidden, side), 1
                yield (
                    self.conv(
                        f"{at}.spatial",
                        hidden,
                        hidden,
                        side,
                        kernel=stage.kernel,
                        stride=stride,
                        groups=groups,
                        held=incoming,
                        kind="grouped" if stage.group_width else "",
                    ),
                    1,
                )
                if stage.se_ratio:
                    for layer in self.squeeze_excite(
                        at, cin, hidden, out_side, stage.se_ratio, incoming
                    ):
                        yield layer, 1
                kept = self.kept
                yield self.shortcut(at, cin, cout, side, stride, identity, True)
                self.kept = kept
                yield self.conv(f"{at}.project", hidden, cout, out_side, held=cout * out_side**2), 1

    def shortcut(
        self,
        at: str,
        cin: Number,
        cout: Number,
        side: Number,
        stride: int,
        identity: Any,
        kept: bool,
    ) -> tuple[Layer, Number]:
        """ResNet's 1x1 convolution beside a block that changes its map: norm, no activation."""
        before = self.kept
        layer = self.conv(
            f"{at}.shortcut", cin, cout, side, stride=stride, act=False, input_kept=kept
        )
        self.kept = before
        return layer, _where(identity, 0, 1)


def unroll(layer: Layer, times: int) -> Iterator[Layer]:
    """The layer under each of its real paths."""
    if "*" in layer.path:
        for number in range(1, times + 1):
            yield replace(layer, path=layer.path.replace("*", str(number)))
    elif times:
        yield layer


# Plain numbers take Python's arithmetic (a network in well under a millisecond), arrays numpy's.


def _plain(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _floor(value: Number) -> Number:
    if _plain(value):
        return floor(value)
    import numpy as np

    return np.floor(value).astype(np.int64)


def _at_least(least: int, value: Number) -> Number:
    if _plain(value):
        return max(least, value)
    import numpy as np

    return np.maximum(least, value)


def _where(condition: Any, then: Number, otherwise: Number) -> Number:
    if _plain(condition):
        return then if condition else otherwise
    import numpy as np

    return np.where(condition, then, otherwise)
