"""An ONNX file of a spec with untrained weights: what a device must run, without training or torch.

Batch norm is folded, as in an export; latency does not depend on the weights' values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.ops import IMAGES, Operation, operations
from phiscale.arch.spec import Activation, Spec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

OPSET, IR_VERSION = 20, 10


def untrained_onnx(spec: Spec) -> bytes:
    """Returns a serialised ONNX model with the operators that `deploy.export` gives the network.

    Input `images`: float32 (1, in_channels, resolution, resolution). Output `logits`:
    float32 (1, classes). The weights are the same random numbers in every call.
    """
    import onnx

    graph = _Graph(spec.activation)
    for operation in operations(spec):
        graph.add(operation)
    model = _model(graph.finish(spec))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _model(graph: GraphProto) -> ModelProto:
    from onnx import helper

    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


class _Graph:
    """Nodes and weights in the order of the operations."""

    def __init__(self, activation: Activation):
        self.activation: Activation = activation
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.random = np.random.default_rng(0)
        self.values: dict[str, str] = {IMAGES: IMAGES}  # the value that each operation gives

    def add(self, op: Operation) -> None:
        """Appends the nodes of one operation."""
        *_, x = inputs = [self.values[name] for name in op.inputs]
        match op.kind:
            case "dense" | "pointwise" | "depthwise" | "grouped":
                y = self.conv(x, op)
            case "norm":  # folded into the convolution
                y = x
            case "activation":
                y = self.activate(x)
            case "se":
                y = self.squeeze_excite(x, op.channels, op.squeezed)
            case "add":
                y = self.node("Add", inputs)
            case "max_pool":
                y = self.node(
                    "MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
                )
            case "mean_pool":
                y = self.mean(x, keepdims=0)
            case "linear":
                weight, bias = self.weights(op.channels, op.channels_in), self.weights(op.channels)
                y = self.node("Gemm", [x, weight, bias], transB=1)
        self.values[op.path] = y

    def finish(self, spec: Spec) -> GraphProto:
        """Returns the graph, with the last node's output as `logits`."""
        from onnx import TensorProto, helper

        self.nodes[-1].output[0] = "logits"
        features = spec.classes or spec.head_channels or spec.stages[-1].channels
        image_shape = [1, spec.in_channels, spec.resolution, spec.resolution]
        return helper.make_graph(
            self.nodes,
            "untrained",
            [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, image_shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, features])],
            initializer=self.initializers,
        )

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, *shape: int) -> str:
        fan_in = math.prod(shape[1:]) or 1
        values = self.random.standard_normal(shape, dtype=np.float32) * (2 / fan_in) ** 0.5
        return self.constant(values.astype(np.float32))

    def conv(self, x: str, op: Operation) -> str:
        kernel = op.kernel
        weight = self.weights(op.channels, op.channels_in // op.groups, kernel, kernel)
        return self.node(
            "Conv",
            [x, weight, self.weights(op.channels)],
            kernel_shape=[kernel] * 2,
            strides=[op.stride] * 2,
            pads=[kernel // 2] * 4,
            group=op.groups,
        )

    def activate(self, x: str) -> str:
        match self.activation:
            case "silu":
                return self.node("Mul", [x, self.node("Sigmoid", [x])])
            case "relu":
                return self.node("Relu", [x])
            case "relu6":
                low, high = (self.constant(np.array(v, np.float32)) for v in (0, 6))
                return self.node("Clip", [x, low, high])

    def mean(self, x: str, keepdims: int) -> str:
        return self.node("ReduceMean", [x, self.constant(np.array([2, 3]))], keepdims=keepdims)

    def squeeze_excite(self, x: str, channels: int, squeezed: int) -> str:
        y = self.gate_conv(self.mean(x, keepdims=1), channels, squeezed)
        y = self.gate_conv(self.activate(y), squeezed, channels)
        return self.node("Mul", [x, self.node("Sigmoid", [y])])

    def gate_conv(self, x: str, channels_in: int, channels: int) -> str:
        """Appends a 1x1 convolution with bias."""
        weight, bias = self.weights(channels, channels_in, 1, 1), self.weights(channels)
        return self.node(
            "Conv",
            [x, weight, bias],
            kernel_shape=[1, 1],
            strides=[1, 1],
            pads=[0, 0, 0, 0],
            group=1,
        )
