"""An ONNX file of a spec's shape with arbitrary weights: what a device must run, without training
or torch. Batch norm is folded, as in an export; latency does not depend on the weights' values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phiscale.arch.spec import Spec, Stage, hidden_channels


def onnx_twin(spec: Spec) -> bytes:
    """A serialised ONNX model `images` (1, in_channels, resolution, resolution) -> `logits`, with
    the operators that `deploy.export` gives the real network."""
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph(spec)
    x = graph.conv(
        "images", spec.in_channels, spec.stem_channels, spec.stem_kernel, spec.stem_stride
    )
    if spec.stem_pool:
        x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = spec.stem_channels
    for stage in spec.stages:
        for repeat in range(stage.repeats):
            x = graph.block(x, stage, channels, repeat == 0)
            channels = stage.channels
    if spec.head_channels:
        x, channels = graph.conv(x, channels, spec.head_channels), spec.head_channels
    x = graph.node("ReduceMean", [x, graph.constant(np.array([2, 3]))], keepdims=0)
    weight = graph.weights(spec.classes, channels)
    graph.node("Gemm", [x, weight, graph.weights(spec.classes)], output="logits", transB=1)
    side = spec.resolution
    shape = [1, spec.in_channels, side, side]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "twin",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, spec.classes])],
            initializer=graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Graph:
    """Nodes and weights as they come."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.random = np.random.default_rng(0)

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, *shape: int) -> str:
        fan_in = math.prod(shape[1:]) or 1
        values = self.random.standard_normal(shape, dtype=np.float32) * (2 / fan_in) ** 0.5
        return self.constant(values.astype(np.float32))

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> str:
        weight, bias = self.weights(cout, cin // groups, kernel, kernel), self.weights(cout)
        x = self.node(
            "Conv",
            [x, weight, bias],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
        )
        return self.activate(x) if act else x

    def activate(self, x: str) -> str:
        match self.spec.activation:
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x])])
            case "relu":
                return self.node("Relu", [x])
            case "relu6":
                low, high = (self.constant(np.array(v, np.float32)) for v in (0, 6))
                return self.node("Clip", [x, low, high])

    def squeeze_excite(self, x: str, stage: Stage, cin: int, hidden: int) -> str:
        if not stage.se_ratio:
            return x
        squeezed = max(1, int(cin * stage.se_ratio))
        pooled = self.node("ReduceMean", [x, self.constant(np.array([2, 3]))], keepdims=1)
        gate = self.conv(self.conv(pooled, hidden, squeezed), squeezed, hidden, act=False)
        return self.node("Mul", [x, self.node("Sigmoid", [gate])])

    def block(self, x: str, stage: Stage, cin: int, first: bool) -> str:
        stride, cout = stage.stride if first else 1, stage.channels
        counted_from = stage.expand_from if first and stage.expand_from else cin
        hidden = hidden_channels(counted_from, stage.expand)
        identity = stride == 1 and cin == cout and stage.skip
        match stage.block:
            case "mbconv":
                y = self.conv(x, cin, hidden) if stage.expand != 1 else x
                y = self.conv(y, hidden, hidden, stage.kernel, stride, groups=hidden)
                y = self.squeeze_excite(y, stage, cin, hidden)
                y = self.conv(y, hidden, cout, act=False)
            case "fused_mbconv":
                hidden = cout if stage.expand == 1 else hidden
                y = self.conv(x, cin, hidden, stage.kernel, stride)
                y = self.squeeze_excite(y, stage, cin, hidden)
                y = y if stage.expand == 1 else self.conv(y, hidden, cout, act=False)
            case "separable":
                y = self.conv(x, cin, cin, stage.kernel, stride, groups=cin)
                return self.conv(y, cin, cout)
            case "basic" | "bottleneck":
                if stage.block == "basic":
                    y = self.conv(x, cin, cout, stage.kernel, stride)
                    y = self.conv(y, cout, cout, stage.kernel, act=False)
                else:
                    hidden = hidden_channels(cout, stage.expand)
                    groups = hidden // stage.group_width if stage.group_width else 1
                    y = self.conv(
                        self.conv(x, cin, hidden), hidden, hidden, stage.kernel, stride, groups
                    )
                    y = self.squeeze_excite(y, stage, cin, hidden)
                    y = self.conv(y, hidden, cout, act=False)
                other = x if identity else self.conv(x, cin, cout, stride=stride, act=False)
                return self.activate(self.node("Add", [other, y]))
        return self.node("Add", [x, y]) if identity else y
