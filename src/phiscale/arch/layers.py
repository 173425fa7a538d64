"""Costs of the layers of a network, each counted from its operations.

A layer is a convolution or linear layer with the norm, pool and activation after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from phiscale.arch.ops import Operation
from phiscale.arch.sizes import Number, ScaledSizes, at_least, where
from phiscale.arch.spec import Spec


class Layer(NamedTuple):
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
    live: Number  # elements at inference: input, output and a residual that is added later


Counted = tuple[Layer, Number]  # a layer and how often it occurs


def count_layers(spec: Spec, sizes: ScaledSizes, operations: Iterable[Operation]) -> list[Counted]:
    """Returns every layer of these operations and how often it occurs, in their order."""
    counter = _Counter(spec, sizes.fractional)
    for operation in operations:
        counter.add(operation)
    counter.close()
    return counter.layers


class _Counter:
    """Adds operations to layers, and remembers which maps the backward pass keeps already."""

    def __init__(self, spec: Spec, fractional: bool):
        self.fractional = fractional
        self.same = spec.padding == "same"
        self.relu = spec.activation == "relu"
        self.kept: set[str] = set()  # names of maps whose storage is counted
        self.layers: list[Counted] = []
        self.open: Operation | None = None  # the convolution to which what follows belongs
        self.input_saved: Number = 0
        self.saved: Number = 0  # after the convolution
        self.pool_saved: Number = 0
        self.elements: Number = 0  # of the convolution's output

    def add(self, op: Operation) -> None:
        match op.kind:
            case "norm":  # keeps its input and the batch's moments
                self.saved = self.elements + 2 * op.channels
            case "activation":  # ReLU keeps its output; SiLU and ReLU6 their input
                self.saved = self.saved + self.elements
                if self.relu:
                    self.kept.add(op.path)
            case "dense" | "pointwise" | "depthwise" | "grouped":
                self.close()
                self.open = op
                self.input_saved = self.save_input(op)
                self.elements = op.channels * op.side**2
            case "add":
                # The sum with a branch that ends in a ReLU is a new map, which the convolution
                # after it keeps. It is counted here, since the first block of a stage may have
                # none. Where a pad or the mean follows, that is one map too many.
                if op.inputs[-1] in self.kept:
                    self.saved = self.saved + where(op.count != 0, self.elements, 0)
                    self.kept.add(op.path)
            case "se":
                self.close()
                self.layers += [(layer, op.count) for layer in self.squeeze_excite(op)]
            case "max_pool":
                self.pool_saved = self.save_pool(op)
            case "mean_pool":
                self.close()
            case "linear":
                self.layers.append((_linear(op), op.count))

    def close(self) -> None:
        """Finishes the layer of the last convolution."""
        if self.open is None:
            return
        op = self.open
        weights = op.kernel**2 * op.channels_in * op.channels
        weights = weights / op.groups if self.fractional else weights // op.groups
        layer = Layer(
            op.path.removesuffix(".conv"),
            op.kind,
            op.kernel,
            op.channels_in,
            op.channels,
            op.side,
            weights,
            weights + 2 * op.channels,
            weights * op.side**2,
            self.elements,
            self.saved + self.input_saved + self.pool_saved,
            op.channels_in * op.side_in**2 + self.elements + op.residual_elements,
        )
        self.layers.append((layer, op.count))
        self.open, self.pool_saved = None, 0

    def save_input(self, op: Operation) -> Number:
        """Returns the elements of its input that a convolution keeps and no operation before it."""
        if self.pads(op):  # an explicit pad makes a copy
            return op.channels_in * self.padded_side(op) ** 2
        if op.inputs[0] in self.kept:
            return 0
        self.kept.add(op.inputs[0])
        return op.channels_in * op.side_in**2

    def save_pool(self, op: Operation) -> Number:
        """Returns the elements that a 3x3 pool of stride 2 keeps: int64 indices and its input.

        A ReLU before it keeps the input already. An explicit pad makes a copy.
        """
        indices = 2 * op.channels * op.side**2
        if self.pads(op):
            return indices + op.channels * self.padded_side(op) ** 2
        return indices + (0 if op.inputs[0] in self.kept else op.channels * op.side_in**2)

    def pads(self, op: Operation) -> bool:
        return self.same and op.stride > 1 and op.kernel > 1

    def padded_side(self, op: Operation) -> Number:
        return op.side_in + at_least(0, (op.side - 1) * op.stride + op.kernel - op.side_in)

    def squeeze_excite(self, op: Operation) -> Iterator[Layer]:
        """Yields two 1x1 convolutions with bias on the pooled map; the second scales the map."""
        hidden, squeezed = op.channels, op.squeezed
        mapped, weights = hidden * op.side**2, hidden * squeezed
        yield Layer(
            f"{op.path}.reduce",
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
            mapped + hidden + squeezed + op.residual_elements,
        )
        yield Layer(
            f"{op.path}.expand",
            "se",
            1,
            squeezed,
            hidden,
            1,
            weights,
            weights + hidden,
            weights,
            hidden,
            hidden + (0 if op.inputs[0] in self.kept else mapped),
            2 * mapped + hidden + op.residual_elements,
        )


def _linear(op: Operation) -> Layer:
    weights, bias = op.channels_in * op.channels, op.channels
    return Layer(
        op.path,
        "linear",
        1,
        op.channels_in,
        op.channels,
        1,
        weights,
        weights + bias,
        weights,
        op.channels,
        op.channels_in,  # of the mean over the map
        op.channels_in + op.channels,
    )


def in_forward_order(counted: Iterable[Counted]) -> Iterator[Layer]:
    """Yields each layer under its own path.

    The walk gives a stage's further blocks as one; here they follow each other.
    """
    block: list[Layer] = []  # the layers of the further blocks of a stage
    repeats = 0
    for layer, count in counted:
        if "*" in layer.path:
            if count:
                block.append(layer)
                repeats = count
            continue
        yield from _repeat(block, repeats)
        block = []
        if count:
            yield layer
    yield from _repeat(block, repeats)


def _repeat(block: list[Layer], count: int) -> Iterator[Layer]:
    for number in range(1, count + 1):
        for layer in block:
            yield layer._replace(path=layer.path.replace("*", str(number)))
