"""Exact costs of a network, counted from its spec without torch.

MACs = multiply-adds of convolutions and linear layers. Activations = their output elements (as
pycls counts; Dollár et al., arXiv:2103.06877). Saved = what torch keeps for the backward pass of
training. Peak = the most elements alive at once in inference, batch norm folded, activations fused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phiscale.arch.families import as_spec
from phiscale.arch.layers import Counted, Layer, count_layers, in_forward_order
from phiscale.arch.ops import walk
from phiscale.arch.scaling import ScaledNetwork, Scaling, effective, scale
from phiscale.arch.sizes import Number, ScaledSizes
from phiscale.arch.spec import Spec
from phiscale.errors import SpecError
from phiscale.text import html_table


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs for one image. The values of a `cost_grid` are numpy arrays."""

    params: Number
    macs: Number
    activations: Number
    saved_bytes: Number  # fp32, in training
    peak_bytes: Number  # fp32, in inference, activations alone
    weight_bytes: Number  # fp32: 4 a parameter
    weight_bytes_bf16: Number
    weight_bytes_int8: Number  # 1 a weight; a scale and a bias of 4 bytes a channel, norm folded
    depthwise_macs: Number
    convs: Number  # convolutions and linear layers: every one takes a device some time
    layers: tuple[Layer, ...] = field(default=(), repr=False)  # empty where values are arrays

    def train_bytes(self, batch: int, *, optimizer_slots: int = 2) -> Number:
        """Returns the bytes of fp32 training with `batch` images at once.

        They are the saved activations and, for each parameter, weight, gradient, average and the
        optimizer's slots.
        """
        return self.saved_bytes * batch + 4 * self.params * (3 + optimizer_slots)

    def _repr_html_(self) -> str:
        """Returns the totals as a table, for notebooks."""
        values = [(label, getattr(self, name)) for name, label in _LABELS.items()]
        rows = [(label, f"{v:,}" if isinstance(v, int) else f"{v!r:.40}") for label, v in values]
        return html_table(("cost of one image", ""), rows)


_LABELS = {
    "params": "parameters",
    "macs": "multiply-adds (MACs)",
    "activations": "activations (elements)",
    "saved_bytes": "saved for the backward pass (bytes, fp32)",
    "peak_bytes": "peak of inference (bytes, fp32)",
    "weight_bytes": "weights (bytes, fp32)",
    "weight_bytes_int8": "weights (bytes, int8)",
    "convs": "convolutions and linear layers",
}


def cost(model: Spec | str) -> Cost:
    """Counts the exact cost of one network, in total and layer by layer (`.layers`).

    `model`: a spec or a model's name. SpecError: there is no such model.
    """
    spec = as_spec(model)
    counted = count(spec, ScaledSizes.of(spec))
    return total(counted, tuple(in_forward_order(counted)))


def count(spec: Spec, sizes: ScaledSizes) -> list[Counted]:
    """Returns the layers of a network, of many scalings of it, or of an unrounded one."""
    return count_layers(spec, sizes, walk(spec, sizes))


@dataclass(frozen=True)
class CostGrid:
    """Costs of every (depth, width, resolution) of a lattice; the arrays broadcast to `shape`."""

    depths: tuple[Spec, ...]  # the base at each depth
    widths: tuple[Spec, ...]  # the base at each width
    resolutions: tuple[int, ...]  # pixels
    cost: Cost

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns the numbers of depths, widths and resolutions."""
        return len(self.depths), len(self.widths), len(self.resolutions)

    def spec(self, index: Sequence[int]) -> Spec:
        """Returns the network at this (depth, width, resolution) index."""
        deep, wide = self.depths[index[0]], self.widths[index[1]]
        stages = tuple(
            replace(stage, repeats=other.repeats)
            for stage, other in zip(wide.stages, deep.stages, strict=True)
        )
        return replace(wide, stages=stages, resolution=self.resolutions[index[2]])


def cost_grid(
    model: Spec | str,
    depths: Sequence[float | Spec],
    widths: Sequence[float],
    resolutions: Sequence[int],
) -> CostGrid:
    """Counts the costs of all scalings of a model by these multipliers, at these pixels.

    Multipliers that round to the same network appear once. A depth is a multiplier, or the model's
    spec with other repeats. SpecError: a sequence is empty, or a resolution is below 1.
    """
    import numpy as np

    spec = as_spec(model)
    if not (len(depths) and len(widths) and len(resolutions)):
        raise SpecError(
            "an empty lattice has no networks; use at least one depth, width and resolution."
        )
    if min(resolutions) < 1:
        raise SpecError(f"resolution={min(resolutions)} has no pixels; use 1 or more.")
    deep = tuple(
        dict.fromkeys(
            depth if isinstance(depth, Spec) else scale(spec, Scaling(depth=depth))
            for depth in depths
        )
    )
    wide = tuple(dict.fromkeys(scale(spec, Scaling(width=w)) for w in widths))
    pixels = tuple(sorted(set(resolutions)))

    def by_width(values: Iterable[int]) -> Any:
        return np.asarray(list(values), dtype=np.int64)[None, :, None]

    def by_depth(values: Iterable[int]) -> Any:
        return np.asarray(list(values), dtype=np.int64)[:, None, None]

    side = np.asarray(pixels, dtype=np.int64)[None, None, :]
    sizes = replace(
        _sizes_of(wide, by_width),
        repeats=_sizes_of(deep, by_depth).repeats,
        side=side,
    )
    return CostGrid(deep, wide, pixels, total(count(spec, sizes)))


def costs_of(networks: Sequence[Spec]) -> Cost:
    """Counts the costs of scalings of one network, without layers.

    The values are numpy arrays of shape (networks,).
    """
    import numpy as np

    sizes = _sizes_of(networks, lambda values: np.asarray(list(values), dtype=np.int64))
    return total(count(networks[0], sizes))


def _sizes_of(networks: Sequence[Spec], array: Callable[[Iterable[int]], Any]) -> ScaledSizes:
    """Returns what differs between scalings of one network, as arrays."""
    all_sizes = [ScaledSizes.of(network) for network in networks]

    def one(name: str) -> Any:
        return array(getattr(sizes, name) for sizes in all_sizes)

    def each_stage(name: str) -> tuple[Any, ...]:
        return tuple(
            array(values)
            for values in zip(*(getattr(sizes, name) for sizes in all_sizes), strict=True)
        )

    return ScaledSizes(
        stem=one("stem"),
        head=one("head"),
        side=one("side"),
        repeats=each_stage("repeats"),
        channels=each_stage("channels"),
        groups=each_stage("groups"),
        expand_from=each_stage("expand_from"),
    )


def measure_scaling(model: Spec | str, base: Spec | str, *, name: str = "") -> ScaledNetwork:
    """Returns a model as a scaling of `base`, with its multipliers as built and its cost ratio.

    `scaling.effective` counts the multipliers; the cost ratio is exact MACs over the base's.
    """
    spec, base = as_spec(model), as_spec(base)
    ratio = cost(spec).macs / cost(base).macs
    return ScaledNetwork(name=name, spec=spec, by=effective(spec, base), compute_ratio=ratio)


def total(counted: Sequence[Counted], layers: tuple[Layer, ...] = ()) -> Cost:
    """Sums the costs of layers. `layers`: the same in forward order, where they are wanted."""
    params = sum(layer.params * count for layer, count in counted)
    weights = sum(layer.weights * count for layer, count in counted)
    channels = sum(layer.channels * count for layer, count in counted)
    return Cost(
        params=params,
        macs=sum(layer.macs * count for layer, count in counted),
        activations=sum(layer.activations * count for layer, count in counted),
        saved_bytes=4 * sum(layer.saved * count for layer, count in counted),
        peak_bytes=4 * _largest(counted),
        weight_bytes=4 * params,
        weight_bytes_bf16=2 * params,
        weight_bytes_int8=weights + 8 * channels,
        depthwise_macs=sum(
            layer.macs * count for layer, count in counted if layer.kind == "depthwise"
        ),
        convs=sum(count for _, count in counted),
        layers=layers,
    )


def _largest(counted: Sequence[Counted]) -> Number:
    if all(isinstance(layer.live, int) for layer, _ in counted):
        return max(layer.live for layer, count in counted if count)
    import numpy as np

    largest: Any = 0
    for layer, count in counted:
        largest = np.maximum(largest, np.where(count > 0, layer.live, 0))  # type: ignore[operator]
    return largest
