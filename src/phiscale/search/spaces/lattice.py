"""The lattice of all networks that a base can be scaled to, with the cost of each.

A search reads its best network off this lattice. No optimum is relaxed or rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.arch.costs import Cost, cost
from phiscale.arch.families.small import SMALL_PIXELS
from phiscale.arch.scaling import ScaledNetwork, Scaling, Strategy, effective
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget import (
    LatticeAxes,
    ScalingLattice,
    lattice_depths,
    pixel_multiples,
    undominated,
)
from phiscale.planning.budget.lattice import MAX_RESOLUTION
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.search.spaces.rays import between, ray_distance

# Wider than the lattice of `solve` (planning.budget.lattice): a search trains its networks, far out
# in each dimension alone, where `solve` stays within what its law was fitted to.
DEPTHS, WIDTHS, SMALLEST_PART = (0.25, 6.0), (1 / 3, 3.0), 3  # multipliers; least pixels: a third
WIDTH_STEPS = 160
WITHIN = 0.03  # of a target cost: networks count as equally costly
ROUNDED = 0.01  # in logs: how far rounding may move a dimension that is to stay
CostMetric = Callable[[Cost], Any]

_COUNTED: Mapping[str, CostMetric] = {
    "macs": lambda c: c.macs,
    "params": lambda c: c.params,
    "activations": lambda c: c.activations,
    "weight-bytes": lambda c: c.weight_bytes,
    "peak-memory": lambda c: c.peak_bytes,
    "train-memory": lambda c: c.saved_bytes,
}
COSTS = (*_COUNTED, "latency-ms")


def cost_metric(name: str, device: DeviceModel | None) -> CostMetric:
    """Returns the cost metric of that name. UsageError: latency without a device model."""
    if name != "latency-ms":
        return _COUNTED[name]
    if device is None:
        raise UsageError(
            "cost='latency-ms' needs a device model. Make one with phiscale calibrate "
            "--out device.json, then use `device_model`."
        )
    return device.latency_ms


@dataclass(frozen=True, eq=False, kw_only=True)
class Lattice(ScalingLattice):
    """All scalings of `base`: width from a third to three times, depth from a quarter to six times,
    resolution up to the images' pixels."""

    cost: NDArray[np.float64]  # (networks,), over the base's cost
    macs: NDArray[np.float64]  # (networks,), over the base's MACs

    def errors(self, law: ErrorLaw, which: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Predicts the errors of all networks, or of `which`: (networks,)."""
        x = np.exp(self.logs if which is None else self.logs[which])
        return np.asarray(law.error(depth=x[:, 0], width=x[:, 1], resolution=x[:, 2]))

    def at(
        self, target: float, within: float = WITHIN, *, allow_opposed: bool = False
    ) -> NDArray[np.int64]:
        """Returns the numbers of networks that cost `target` times the base, or the nearest ones
        where steps are coarse.

        As in the paper (arXiv:1905.11946, eq. 3) no dimension shrinks while the network grows, nor
        the other way round, unless `allow_opposed`. UsageError: no cost is within a quarter of
        `target`.
        """
        off = np.abs(np.log(self.cost / target))
        opposed = (self.logs < -ROUNDED if target > 1 else self.logs > ROUNDED).any(axis=1)
        off = np.where(opposed & (not allow_opposed), np.inf, off)
        nearest = float(off.min())
        if nearest > math.log(1.25):
            raise UsageError(
                f"no network costs {target:g} times the base; the nearest is "
                f"{self.cost[off.argmin()]:.3g}. Use another `compute`."
            )
        return (off <= max(math.log1p(within), nearest + 1e-9)).nonzero()[0]

    def best(self, law: ErrorLaw, target: float, *, allow_opposed: bool = False) -> ScaledNetwork:
        """Finds the network of least error at `target` times the base's cost; of equals the
        cheapest."""
        which = self.at(target, allow_opposed=allow_opposed)
        errors = self.errors(law, which)
        return self.scaled(int(which[np.lexsort((self.cost[which], errors))[0]]))

    def on_ray(self, ray: Strategy | Scaling, target: float) -> ScaledNetwork:
        """Finds the network of that cost nearest to a ray; of equals the nearest in cost."""
        strategy = ray if isinstance(ray, Strategy) else Strategy.of(ray)
        which = self.at(target)
        off = ray_distance(self.logs[which], strategy).round(2)
        miss = np.abs(np.log(self.cost[which] / target))
        nearest = int(np.lexsort((miss, off))[0])
        return replace(self.scaled(int(which[nearest])), off_ray=float(off[nearest]))

    def indifferent(
        self, law: ErrorLaw, target: float, within: float = 0.001
    ) -> list[ScaledNetwork]:
        """Finds networks of that cost whose predicted error is within 0.1 point of the least."""
        which = self.at(target)
        errors = self.errors(law, which)
        near = errors <= errors.min() + within
        return [self.scaled(int(i)) for i in which[near][np.argsort(errors[near], kind="stable")]]

    def pareto(
        self, law: ErrorLaw, metrics: Mapping[str, CostMetric], most: float
    ) -> list[ScaledNetwork]:
        """Finds networks of at most `most` times the cost that no other beats in error and in every
        metric at once."""
        which = (self.cost <= most).nonzero()[0]
        columns = [self.errors(law, which)]
        for metric in metrics.values():
            columns.append(self.flat(metric(self.grid.cost))[which])
        return [self.scaled(int(i)) for i in which[undominated(np.stack(columns, axis=1))]]

    def path(
        self, terms: NDArray[np.float64], exponents: NDArray[np.float64], targets: Sequence[float]
    ) -> NDArray[np.float64]:
        """Returns ln of the best network's multipliers at each target: (laws, targets, 3).

        The laws are e0 + sum A x^-p, with `terms` A and `exponents` p of (laws, 3).
        """
        path = np.empty((len(terms), len(targets), 3))
        for number, target in enumerate(targets):
            logs = self.logs[self.at(target)]
            errors = np.einsum("ld,lnd->ln", terms, np.exp(-exponents[:, None] * logs[None]))
            path[:, number] = logs[errors.argmin(axis=1)]
        return path

    def scaled(self, number: int) -> ScaledNetwork:
        """Returns the network of this number in the flat arrays, with its multipliers and costs."""
        spec = self.network(number)
        return ScaledNetwork(
            spec=spec,
            by=effective(spec, self.base),
            compute_ratio=float(self.macs[number]),
            cost_ratio=float(self.cost[number]),
        )


@lru_cache(maxsize=4)  # a plan builds it many times, and it takes a second each
def lattice(base: Spec, metric: CostMetric, *, native_pixels: int | None = None) -> Lattice:
    """Builds the lattice of `base` for a cost metric, with no more pixels than `native_pixels`."""
    # Finer than `pixel_step` for small bases: a search compares networks of nearly equal cost.
    step = 8 if base.resolution > SMALL_PIXELS else 2
    most = min(int(MAX_RESOLUTION * base.resolution), native_pixels or 10**6)
    pixels = pixel_multiples(base, step, least=base.resolution // SMALLEST_PART, most=most)
    widths = np.geomspace(*WIDTHS, WIDTH_STEPS).tolist()
    depths = lattice_depths(base, *DEPTHS)
    axes = LatticeAxes(
        depths=[*depths, *between(base, depths)],
        widths=[1.0, *widths],
        pixels=sorted({base.resolution, *pixels}),
    )
    scalings, of_base = ScalingLattice.of(base, axes), cost(base)

    def over_base(metric: CostMetric) -> NDArray[np.float64]:
        return scalings.flat(metric(scalings.grid.cost)) / float(metric(of_base))

    return Lattice(base, scalings.grid, cost=over_base(metric), macs=over_base(_COUNTED["macs"]))
