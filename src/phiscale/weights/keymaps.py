"""Other libraries' names for the tensors of our networks: one table each, for both directions.

A `Naming` gives a library's names for the parts of one kind of network; `paths` spells them out for
a spec. Tensors of torch libraries only change their names; Keras and TensorFlow also keep kernels
with their channels last (`layouts.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from phiscale.arch.spec import Spec, Stage

Parts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Path of a module in our network -> its path in the library's network.

    In patterns, {stage}, {repeat} and {block} count from 0; {Stage}, {Repeat} and {Block} from 1.
    Blocks are counted through the whole network. {letter} is the repeat as a, b, ...; after z come
    the characters after z, as in Keras. {after} is the number of the next stage after the
    last one and {After} of the next block, both counted from 1.
    """

    frame: Parts
    block: str
    parts: Mapping[str, Parts]  # shape of a block -> ours -> theirs


def shape_of(stage: Stage) -> str:
    """Returns the key in `Naming.parts` for the blocks of a stage."""
    alone = stage.block in ("mbconv", "fused_mbconv") and stage.expand == 1
    return f"{stage.block} alone" if alone else stage.block


def _conv(ours: str, conv: str, norm: str) -> dict[str, str]:
    return {f"{ours}.conv": conv, f"{ours}.norm": norm}


_TIMM_SE = {"se.reduce": "se.conv_reduce", "se.expand": "se.conv_expand"}

TIMM_MOBILE = Naming(
    frame={
        **_conv("stem", "conv_stem", "bn1"),
        **_conv("head", "conv_head", "bn2"),
        "classifier": "classifier",
    },
    block="blocks.{stage}.{repeat}.",
    parts={
        "mbconv": {
            **_conv("expand", "conv_pw", "bn1"),
            **_conv("depthwise", "conv_dw", "bn2"),
            **_TIMM_SE,
            **_conv("project", "conv_pwl", "bn3"),
        },
        "mbconv alone": {
            **_conv("depthwise", "conv_dw", "bn1"),
            **_TIMM_SE,
            **_conv("project", "conv_pw", "bn2"),
        },
        "separable": {
            **_conv("depthwise", "conv_dw", "bn1"),
            **_conv("project", "conv_pw", "bn2"),
        },
        "fused_mbconv": {
            **_conv("expand", "conv_exp", "bn1"),
            **_TIMM_SE,
            **_conv("project", "conv_pwl", "bn2"),
        },
        "fused_mbconv alone": _conv("expand", "conv", "bn1"),
    },
)

RESNET = Naming(  # timm and torchvision agree
    frame={**_conv("stem", "conv1", "bn1"), "classifier": "fc"},
    block="layer{Stage}.{repeat}.",
    parts={
        "basic": {
            **_conv("first", "conv1", "bn1"),
            **_conv("second", "conv2", "bn2"),
            **_conv("shortcut", "downsample.0", "downsample.1"),
        },
        "bottleneck": {
            **_conv("reduce", "conv1", "bn1"),
            **_conv("spatial", "conv2", "bn2"),
            **_conv("project", "conv3", "bn3"),
            **_conv("shortcut", "downsample.0", "downsample.1"),
        },
    },
)

TIMM_REGNET = Naming(
    frame={**_conv("stem", "stem.conv", "stem.bn"), "classifier": "head.fc"},
    block="s{Stage}.b{Repeat}.",
    parts={
        "bottleneck": {
            **_conv("reduce", "conv1.conv", "conv1.bn"),
            **_conv("spatial", "conv2.conv", "conv2.bn"),
            "se.reduce": "se.fc1",
            "se.expand": "se.fc2",
            **_conv("project", "conv3.conv", "conv3.bn"),
            **_conv("shortcut", "downsample.conv", "downsample.bn"),
        },
    },
)

TORCHVISION_EFFICIENTNET = Naming(
    frame={
        **_conv("stem", "features.0.0", "features.0.1"),
        **_conv("head", "features.{after}.0", "features.{after}.1"),
        "classifier": "classifier.1",
    },
    block="features.{Stage}.{repeat}.block.",
    parts={
        "mbconv": {
            **_conv("expand", "0.0", "0.1"),
            **_conv("depthwise", "1.0", "1.1"),
            "se.reduce": "2.fc1",
            "se.expand": "2.fc2",
            **_conv("project", "3.0", "3.1"),
        },
        "mbconv alone": {
            **_conv("depthwise", "0.0", "0.1"),
            "se.reduce": "1.fc1",
            "se.expand": "1.fc2",
            **_conv("project", "2.0", "2.1"),
        },
        "fused_mbconv": {**_conv("expand", "0.0", "0.1"), **_conv("project", "1.0", "1.1")},
        "fused_mbconv alone": _conv("expand", "0.0", "0.1"),
    },
)

TORCHVISION_MOBILENETV2 = Naming(
    frame={
        **_conv("stem", "features.0.0", "features.0.1"),
        **_conv("head", "features.{After}.0", "features.{After}.1"),
        "classifier": "classifier.1",
    },
    block="features.{Block}.conv.",
    parts={
        "mbconv": {
            **_conv("expand", "0.0", "0.1"),
            **_conv("depthwise", "1.0", "1.1"),
            **_conv("project", "2", "3"),
        },
        "mbconv alone": {**_conv("depthwise", "0.0", "0.1"), **_conv("project", "1", "2")},
    },
)

TORCHVISION_REGNET = Naming(
    frame={**_conv("stem", "stem.0", "stem.1"), "classifier": "fc"},
    block="trunk_output.block{Stage}.block{Stage}-{repeat}.",
    parts={
        "bottleneck": {
            **_conv("reduce", "f.a.0", "f.a.1"),
            **_conv("spatial", "f.b.0", "f.b.1"),
            "se.reduce": "f.se.fc1",
            "se.expand": "f.se.fc2",
            **_conv("project", "f.c.0", "f.c.1"),
            **_conv("shortcut", "proj.0", "proj.1"),
        },
    },
)

_LUKEMELAS_ALONE = {
    **_conv("depthwise", "_depthwise_conv", "_bn1"),
    "se.reduce": "_se_reduce",
    "se.expand": "_se_expand",
    **_conv("project", "_project_conv", "_bn2"),
}

LUKEMELAS = Naming(
    frame={
        **_conv("stem", "_conv_stem", "_bn0"),
        **_conv("head", "_conv_head", "_bn1"),
        "classifier": "_fc",
    },
    block="_blocks.{block}.",
    parts={
        "mbconv": {**_conv("expand", "_expand_conv", "_bn0"), **_LUKEMELAS_ALONE},
        "mbconv alone": _LUKEMELAS_ALONE,
    },
)


def _keras(depthwise: str) -> Naming:
    alone = {
        **_conv("depthwise", depthwise, "bn"),
        "se.reduce": "se_reduce",
        "se.expand": "se_expand",
        **_conv("project", "project_conv", "project_bn"),
    }
    expand = _conv("expand", "expand_conv", "expand_bn")
    return Naming(
        frame={
            **_conv("stem", "stem_conv", "stem_bn"),
            **_conv("head", "top_conv", "top_bn"),
            "classifier": "predictions",
        },
        block="block{Stage}{letter}_",
        parts={
            "mbconv": {**expand, **alone},
            "mbconv alone": alone,
            "fused_mbconv": {**expand, **_conv("project", "project_conv", "project_bn")},
            "fused_mbconv alone": _conv("expand", "project_conv", "project_bn"),
        },
    )


KERAS, KERAS_V2 = _keras("dwconv"), _keras("dwconv2")


def _tensorflow() -> Naming:
    """Google's checkpoints, `tpu` (V1, Lite, EdgeTPU) and `automl` (V2) alike. Within a block they
    count convolutions and norms in the order of use: "", "_1", "_2"."""

    norms = [f"tpu_batch_normalization{count}" for count in ("", "_1", "_2")]
    se = {"se.reduce": "se/conv2d", "se.expand": "se/conv2d_1"}
    return Naming(
        frame={
            **_conv("stem", "stem/conv2d", "stem/tpu_batch_normalization"),
            **_conv("head", "head/conv2d", "head/tpu_batch_normalization"),
            "classifier": "head/dense",
        },
        block="blocks_{block}/",
        parts={
            "mbconv": {
                **_conv("expand", "conv2d", norms[0]),
                **_conv("depthwise", "depthwise_conv2d", norms[1]),
                **se,
                **_conv("project", "conv2d_1", norms[2]),
            },
            "mbconv alone": {
                **_conv("depthwise", "depthwise_conv2d", norms[0]),
                **se,
                **_conv("project", "conv2d", norms[1]),
            },
            "fused_mbconv": {
                **_conv("expand", "conv2d", norms[0]),
                **se,
                **_conv("project", "conv2d_1", norms[1]),
            },
            "fused_mbconv alone": _conv("expand", "conv2d", norms[0]),
        },
    )


TENSORFLOW = _tensorflow()


def paths(naming: Naming, spec: Spec) -> Iterator[tuple[str, str]]:
    """Yields (our module, the library's module) in the network's order."""
    after = {"after": len(spec.stages) + 1, "After": spec.blocks + 1}
    frame = [(ours, theirs.format(**after)) for ours, theirs in naming.frame.items()]
    yield from (pair for pair in frame if pair[0].startswith("stem"))
    number = 0
    for stage_number, stage in enumerate(spec.stages):
        for repeat in range(stage.repeats):
            count = {
                "stage": stage_number, "Stage": stage_number + 1,
                "repeat": repeat, "Repeat": repeat + 1, "letter": chr(ord("a") + repeat),
                "block": number, "Block": number + 1,
            }  # fmt: skip
            block = naming.block.format(**count)
            for ours, theirs in naming.parts[shape_of(stage)].items():
                yield f"stages.{stage_number}.{repeat}.{ours}", f"{block}{theirs}"
            number += 1
    yield from (pair for pair in frame if not pair[0].startswith("stem"))
