"""Any small network that can be built, and any scaling, for hypothesis to draw."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from phiscale.arch.spec import BlockKind, Spec, Stage


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    block = draw(st.sampled_from(get_args(BlockKind)))
    multiple_of_8 = st.integers(1, 5).map(lambda count: 8 * count)
    channels = draw(multiple_of_8)
    values = {"expand": 1.0, "se_ratio": 0.0, "group_width": 0, "expand_from": 0}
    if block in ("mbconv", "fused_mbconv"):
        values["expand"] = draw(st.sampled_from([1, 1.5, 2, 4, 6]))
        if values["expand"] != 1:
            values["expand_from"] = draw(st.sampled_from([0, 0, 8, 24]))
    if block == "bottleneck":
        values["expand"] = draw(st.sampled_from([0.25, 0.5, 1, 2]))
        hidden = round(channels * values["expand"])
        widths = [width for width in range(1, hidden + 1) if hidden % width == 0]
        values["group_width"] = draw(st.sampled_from([0, *widths]))
    if block not in ("separable", "basic"):
        values["se_ratio"] = draw(st.sampled_from([0, 0, 0.05, 0.25, 1]))
    return Stage(
        block=block,
        repeats=draw(st.integers(1, 3)),
        kernel=draw(st.sampled_from([1, 3, 5])),
        stride=draw(st.sampled_from([1, 2])),
        channels=channels,
        **values,
    )


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    return Spec(
        stem_channels=8 * draw(st.integers(1, 4)),
        stages=tuple(draw(st.lists(stages(), min_size=1, max_size=4))),
        head_channels=8 * draw(st.integers(0, 6)),
        resolution=draw(st.integers(5, 48)),
        classes=draw(st.integers(1, 12)),
        in_channels=draw(st.integers(1, 4)),
        stem_kernel=draw(st.sampled_from([1, 3, 5, 7])),
        stem_stride=draw(st.sampled_from([1, 2])),
        stem_pool=draw(st.booleans()),
        activation=draw(st.sampled_from(["silu", "relu", "relu6"])),
        padding=draw(st.sampled_from(["symmetric", "same"])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-3])),
        norm_momentum=draw(st.sampled_from([0.1, 0.01])),
        depth_rounding=draw(st.sampled_from(["ceil", "round"])),
        channel_rounding=draw(st.sampled_from(["at_least_90", "nearest"])),
        channel_divisor=draw(st.sampled_from([1, 2, 4, 8])),
        fixed_ends=draw(st.booleans()),
    )


multipliers = st.floats(0.3, 3.0)
