"""Exact costs of a network, counted from its spec without torch.

MACs = multiply-adds of convolutions and linear layers. Activations = their output elements (as
pycls counts; Dollár et al., arXiv:2103.06877). Saved = what torch keeps for the backward pass of
training. Peak = the most elements alive at once in inference, batch norm folded, activations fused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phiscale.arch.families import as_spec
from phiscale.arch.layers import Counted, Layer, count_layers, in_forward_order
from phiscale.arch.ops import Number, ScaledSizes, walk
from phiscale.arch.scaling import ScaledNetwork, Scaling, effective, scale
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
        """The totals as a table, for notebooks."""
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
    counted = _count(spec, ScaledSizes.of(spec))
    return _total(counted, tuple(in_forward_order(counted)))


def _count(spec: Spec, sizes: ScaledSizes) -> list[Counted]:
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
    return CostGrid(deep, wide, pixels, _total(_count(spec, sizes), ()))


def costs_of(networks: Sequence[Spec]) -> Cost:
    """Counts the costs of scalings of one network, without layers.

    The values are numpy arrays of shape (networks,).
    """
    import numpy as np

    sizes = _sizes_of(networks, lambda values: np.asarray(list(values), dtype=np.int64))
    return _total(_count(networks[0], sizes), ())


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


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The MACs of a scaled network over its base's, and why they differ from d w^2 r^2.

    The paper's approximation d * w^2 * r^2 is called the monomial. The exact ratio is the monomial
    times four factors, which are 1 where the approximation holds:

        exact = monomial * structure * depth_rounding * channel_rounding * spatial_rounding

    *Structure* is what the monomial misses before anything is rounded. Depthwise convolutions, for
    example, grow with w instead of w^2, and stem and head do not grow with d.
    """

    monomial: float  # d * w^2 * r^2
    exact: float  # MACs of the network as built, over the base's
    structure: float  # parts of the network that grow with other powers of d, w and r
    depth_rounding: float  # blocks of a stage are whole numbers
    channel_rounding: float  # channels are multiples of the spec's divisor
    spatial_rounding: float  # sides of feature maps are whole numbers
    real_depth: float  # depth as built: blocks over the base's blocks

    @property
    def total(self) -> float:
        """Returns exact / monomial."""
        return self.exact / self.monomial


def deviation(base: Spec | str, by: Scaling) -> Deviation:
    """Compares a scaled network with the paper's FLOPS ~ d w^2 r^2 (arXiv:1905.11946, eq. 3)."""
    base = as_spec(base)
    net = scale(base, by)
    by = replace(by, resolution=net.resolution / base.resolution)
    built, ideal = ScaledSizes.of(net), ScaledSizes.ideal(base, by)
    deep = replace(ideal, repeats=built.repeats)
    wide = replace(
        deep,
        stem=built.stem,
        head=built.head,
        channels=built.channels,
        groups=built.groups,
        expand_from=built.expand_from,
    )
    at_base, at_ideal, at_deep, at_wide, at_built = (
        float(sum(layer.macs * count for layer, count in _count(base, sizes)))
        for sizes in (ScaledSizes.of(base), ideal, deep, wide, built)
    )
    return Deviation(
        monomial=by.macs,
        exact=at_built / at_base,
        structure=at_ideal / at_base / by.macs,
        depth_rounding=at_deep / at_ideal,
        channel_rounding=at_wide / at_deep,
        spatial_rounding=at_built / at_wide,
        real_depth=net.blocks / base.blocks,
    )


AXES = ("depth", "width", "resolution")
GROWING = ("macs", "params", "activations", "saved_bytes", "peak_bytes")
Powers = dict[str, tuple[float, float, float]]  # of depth, width and resolution, by cost


def doubling_powers(model: Spec | str) -> Powers:
    """Returns the power of depth, width and resolution with which each cost of a model grows.

    One dimension at a time is doubled and the network rounded as usual. A cost that becomes 4 times
    as large has the power 2. MACs would have the powers 1, 2 and 2 if they were d w^2 r^2.
    """
    spec = as_spec(model)
    return _powers(lambda by: cost(scale(spec, by)), Scaling(), 2.0)


def slopes(base: Spec | str, at: Scaling | None = None, *, step: float = 1.25) -> Powers:
    """Returns the powers of `doubling_powers` without rounding, around any scaling of the base.

    Blocks, channels and pixels stay fractions, so the powers show what the structure alone does.
    `at`: the scaling where they are measured; the base by default. `step`: the factor by which one
    dimension at a time grows.
    """
    spec = as_spec(base)

    def unrounded(by: Scaling) -> Cost:
        return _total(_count(spec, ScaledSizes.ideal(spec, by)), ())

    return _powers(unrounded, at or Scaling(), step)


def _powers(costs: Callable[[Scaling], Cost], at: Scaling, step: float) -> Powers:
    start = costs(at)
    ends = [costs(replace(at, **{axis: getattr(at, axis) * step})) for axis in AXES]

    def power(name: str, end: Cost) -> float:
        return math.log(getattr(end, name) / getattr(start, name)) / math.log(step)

    return {
        name: (power(name, ends[0]), power(name, ends[1]), power(name, ends[2])) for name in GROWING
    }


def _total(counted: Sequence[Counted], layers: tuple[Layer, ...]) -> Cost:
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
