"""Architecture as data: a `Spec` is a stem, `Stage`s and a head.

Nothing in this module builds or trains a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from phiscale.errors import SpecError
from phiscale.files import Format
from phiscale.files.decoding import quoted
from phiscale.files.values import is_finite, is_whole
from phiscale.text import html_table

BlockKind = Literal["mbconv", "fused_mbconv", "separable", "basic", "bottleneck"]
Activation = Literal["silu", "relu", "relu6"]
Padding = Literal["symmetric", "same"]
DepthRounding = Literal["ceil", "round"]
ChannelRounding = Literal["at_least_90", "nearest"]

# about 100 times the largest published network, which has 100 blocks, 8,256 channels and 800
# pixels. Larger numbers only keep a machine busy: costs walk every block.
MOST = {
    "repeats": 10_000,
    "kernel": 1_000,
    "channels": 1_000_000,
    "expand": 1_000,
    "group_width": 1_000_000,
    "expand_from": 1_000_000,
    "stem_channels": 1_000_000,
    "head_channels": 1_000_000,
    "resolution": 100_000,
    "classes": 10_000_000,
    "in_channels": 10_000,
    "stem_kernel": 1_000,
    "channel_divisor": 1_000_000,
}
MOST_STAGES = 1_000
MOST_BLOCKS = 10_000


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; only the first one strides and changes the number of channels.

    The tables of `families` write the fields by position, all other code by keyword. SpecError: no
    network has such a stage.
    """

    block: BlockKind
    repeats: int
    kernel: int  # pixels, odd
    stride: int
    expand: float
    """mbconv, fused_mbconv: hidden / input channels. bottleneck: hidden / output channels.
    separable, basic: 1."""
    channels: int  # output
    se_ratio: float = 0.0  # squeezed / *input* channels of the block; 0 = no squeeze-and-excite
    group_width: int = 0  # bottleneck: channels per group of the k x k convolution; 0 = one group
    expand_from: int = 0
    """First block: `expand` counts from this many channels; 0 = from its input. (EdgeTPU.)"""
    skip: bool = True  # identity around blocks that keep their map (EdgeTPU's first stage has none)

    def __post_init__(self) -> None:
        _check(
            self.block in get_args(BlockKind),
            f"block={self.block!r} is unknown",
            f"use one of {', '.join(get_args(BlockKind))}",
        )
        for name in ("repeats", "kernel", "stride", "channels"):
            _positive_int(name, getattr(self, name))
        for name in ("expand", "se_ratio"):
            _number(name, getattr(self, name))
        for name in ("group_width", "expand_from"):
            _count(name, getattr(self, name))
        _flag("skip", self.skip)
        _check(
            self.kernel % 2 == 1,
            f"kernel={self.kernel} is even, so padding cannot be symmetric",
            f"use {self.kernel - 1} or {self.kernel + 1}",
        )
        _check(self.stride in (1, 2), f"stride={self.stride} is not supported", "use 1 or 2")
        _check(self.expand > 0, f"expand={self.expand} leaves no hidden channels", "use 1 or more")
        _check(
            0 <= self.se_ratio <= 1,
            f"se_ratio={self.se_ratio} is not a fraction",
            "use 0.25, or 0 for no squeeze-and-excite",
        )
        inverted = self.block in ("mbconv", "fused_mbconv")
        _check(
            not self.expand_from or (inverted and self.expand != 1),
            f"expand_from={self.expand_from} has nothing to expand in this {self.block}",
            "leave it at 0",
        )
        _check(
            self.skip or inverted,
            f"a {self.block} block cannot go without its skip",
            "use skip=True",
        )
        if self.block in ("separable", "basic"):
            _check(
                self.expand == 1 and not self.se_ratio,
                f"a {self.block} block has no expansion and no squeeze-and-excite, "
                f"but expand={self.expand}, se_ratio={self.se_ratio}",
                "use expand=1, se_ratio=0",
            )
        if self.group_width:
            _check(
                self.block == "bottleneck",
                f"group_width={self.group_width} in {self.block}",
                "only bottleneck blocks have groups: leave it at 0",
            )
            hidden = hidden_channels(self.channels, self.expand)
            _check(
                hidden % self.group_width == 0,
                f"group_width={self.group_width} does not divide the {hidden} hidden channels",
                "choose channels that are a multiple of it",
            )

    def row(self) -> tuple[object, ...]:
        """Returns the cells of a table: block, repeats, stride, expand, channels, se_ratio."""
        block = f"{self.block}, {self.kernel}x{self.kernel}"
        if self.group_width:
            block += f", groups of {self.group_width}"
        squeeze = self.se_ratio or ""
        return block, self.repeats, self.stride, self.expand, self.channels, squeeze


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything that fixes a network's function, and nothing about how it is trained.

    SpecError: no network has these values.
    """

    stem_channels: int
    stages: tuple[Stage, ...]
    head_channels: int  # 1x1 convolution before pooling; 0 = none (ResNet, RegNet, MobileNetV1)
    resolution: int  # pixels, square: the evaluation size
    classes: int = 1000  # 0 = no classifier: pooled features come out
    in_channels: int = 3
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_pool: bool = False  # a 3x3 max pool of stride 2 after the stem (ResNet)
    activation: Activation = "silu"
    padding: Padding = "symmetric"  # "same" = TensorFlow's, whose odd pixel goes right and below
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1  # torch's sense: 0.1 here is 0.9 in TensorFlow
    depth_rounding: DepthRounding = "ceil"
    channel_rounding: ChannelRounding = "at_least_90"
    channel_divisor: int = 8
    fixed_ends: bool = False
    """Lite's rule: stem and head channels, first and last stages' repeats do not scale."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        _check(len(self.stages) > 0, "a spec without stages is no network", "add a Stage")
        for stage in cast("tuple[object, ...]", self.stages):
            _check(isinstance(stage, Stage), f"{stage!r} is not a Stage", "write Stage(...)")
        _check(
            len(self.stages) <= MOST_STAGES and self.blocks <= MOST_BLOCKS,
            f"{len(self.stages):,} stages with {self.blocks:,} blocks are more than any network's",
            f"use {MOST_STAGES:,} stages and {MOST_BLOCKS:,} blocks at most",
        )
        for name in ("stem_pool", "fixed_ends"):
            _flag(name, getattr(self, name))
        for name in ("norm_eps", "norm_momentum"):
            _number(name, getattr(self, name))
        for name in ("head_channels", "classes"):
            _count(name, getattr(self, name))
        for name in (
            "stem_channels",
            "resolution",
            "in_channels",
            "stem_kernel",
            "stem_stride",
            "channel_divisor",
        ):
            _positive_int(name, getattr(self, name))
        _check(
            self.stem_kernel % 2 == 1,
            f"stem_kernel={self.stem_kernel} is even",
            f"use {self.stem_kernel - 1} or {self.stem_kernel + 1}",
        )
        _check(
            self.stem_stride in (1, 2),
            f"stem_stride={self.stem_stride} is not supported",
            "use 1 or 2",
        )
        for name, kind in (
            ("activation", Activation),
            ("padding", Padding),
            ("depth_rounding", DepthRounding),
            ("channel_rounding", ChannelRounding),
        ):
            value = getattr(self, name)
            _check(
                value in get_args(kind),
                f"{name}={value!r} is unknown",
                f"use one of {', '.join(get_args(kind))}",
            )
        _check(
            0 < self.norm_eps < 1, f"norm_eps={self.norm_eps} is out of range", "use 1e-5 or 1e-3"
        )
        _check(
            0 < self.norm_momentum <= 1,
            f"norm_momentum={self.norm_momentum} is out of range",
            "use torch's sense: 0.1, or 0.01 for TensorFlow's 0.99",
        )

    @property
    def blocks(self) -> int:
        """Returns the number of blocks, which the error law counts as depth."""
        return sum(stage.repeats for stage in self.stages)

    @property
    def reduction(self) -> int:
        """Returns the input pixels per pixel of the last map, a side."""
        strides = self.stem_stride * (2 if self.stem_pool else 1)
        for stage in self.stages:
            strides *= stage.stride
        return strides

    def __str__(self) -> str:
        """Returns one line: blocks, pixels, classes."""
        classes = f"{self.classes:,} classes" if self.classes else "no classifier"
        return f"{self.blocks} blocks in {len(self.stages)} stages, {self.resolution} px, {classes}"

    def _repr_html_(self) -> str:
        """Returns stem, stages and head as a table, for notebooks."""
        stem = f"stem, {self.stem_kernel}x{self.stem_kernel} convolution"
        if self.stem_pool:
            stem += " and max pool"
        rows: list[tuple[object, ...]] = [(stem, 1, self.stem_stride, "", self.stem_channels, "")]
        rows += [stage.row() for stage in self.stages]
        if self.head_channels:
            rows.append(("head, 1x1 convolution", 1, 1, "", self.head_channels, ""))
        heads = ("block", "repeats", "stride", "expand", "channels", "squeeze-and-excite")
        return html_table(heads, rows, str(self))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, complete and versioned."""
        return FORMAT.encode(self)

    def to_json(self) -> str:
        """Returns the JSON text, from which `Spec.from_json` makes an equal spec."""
        return json.dumps(self.to_dict(), indent=1)

    @staticmethod
    def from_dict(data: Any, where: str = "the spec") -> Spec:
        """Returns the spec of what `to_dict` gave. `where` names the source in messages.

        SpecError: a field is unknown, missing or wrong.
        """
        return FORMAT.decode(data, where)

    @staticmethod
    def from_json(text: str) -> Spec:
        """Returns the spec of what `to_json` wrote. SpecError: the text is no such JSON."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"not a spec: {error}. {FORMAT.fix}") from None
        return Spec.from_dict(data)


FORMAT = Format(
    Spec,
    "phiscale_spec",
    SpecError,
    "Write one with phiscale describe MODEL --save spec.json.",
    by_hand=True,
)


def lite(spec: Spec) -> Spec:
    """Returns the network without squeeze-and-excite, with ReLU6 and fixed ends.

    That is how EfficientNet-Lite follows from EfficientNet.
    """
    stages = tuple(replace(stage, se_ratio=0.0) for stage in spec.stages)
    return replace(spec, stages=stages, activation="relu6", fixed_ends=True)


def _check(holds: bool, wrong: str, fix: str) -> None:
    if not holds:
        raise SpecError(f"{wrong}; {fix}.")


def hidden_channels(channels: int, expand: float) -> int:
    """Returns the channels inside a block: the nearest whole number, halves up, at least one."""
    return max(1, int(channels * expand + 0.5))


def _positive_int(name: str, value: object) -> None:
    wrong = f"{name}={quoted(value)} is not a positive whole number"
    _check(is_whole(value) and value > 0, wrong, f"use {name}=1 or more")
    _at_most(name, value)


def _count(name: str, value: object) -> None:
    wrong = f"{name}={quoted(value)} is not a count"
    _check(is_whole(value) and value >= 0, wrong, f"use {name}=0 for none")
    _at_most(name, value)


def _number(name: str, value: object) -> None:
    _check(is_finite(value), f"{name}={quoted(value)} is not a number", "use a finite one")
    _at_most(name, value)


def _at_most(name: str, value: Any) -> None:
    most = MOST.get(name)
    if most is not None and value > most:  # the value may have more digits than can be printed
        raise SpecError(f"{name} is larger than any network's; use {most:,} at most.")


def _flag(name: str, value: object) -> None:
    _check(
        isinstance(value, bool), f"{name}={value!r} is neither true nor false", "use True or False"
    )
