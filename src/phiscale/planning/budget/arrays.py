"""Candidates as arrays: the lattice, the ray of coefficients, single networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from phiscale.arch.costs import costs_of
from phiscale.arch.sizes import Number
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.candidates import Candidate
from phiscale.planning.budget.estimates import Estimates, Estimator
from phiscale.planning.budget.lattice import ALL_AXES, LatticeAxes, ScalingLattice
from phiscale.planning.budget.ray import ray
from phiscale.planning.coefficients import Coefficients

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CandidateArrays:
    """Numbers of all candidates, one element each, and a function that makes a `Candidate`."""

    error: Floats  # (networks,), like all that follow
    macs: Floats
    params: Floats
    latency: Floats | None  # milliseconds
    logs: Floats  # of depth, width, resolution: (3, networks)
    values: Mapping[str, Floats]  # what each limit bounds, by its name
    pretrained: NDArray[np.bool_]
    candidate: Callable[[int], Candidate]


def lattice_arrays(
    estimator: Estimator, network: Spec, axes: LatticeAxes = ALL_AXES
) -> CandidateArrays:
    """All scalings of `network` at these axes."""
    import numpy as np

    lattice = ScalingLattice.of(
        network, axes, base=estimator.base, native_pixels=estimator.native_pixels
    )
    depth, width, resolution = map(np.array, lattice.multipliers)
    multipliers = depth[:, None, None], width[None, :, None], resolution[None, None, :]
    cost = lattice.grid.cost
    return _arrays(
        estimator.estimates(cost, *multipliers),
        (cost.macs, cost.params, *multipliers),
        lattice.flat,
        lambda number: estimator.candidate(lattice.network(number)),
    )


def ray_arrays(estimator: Estimator, network: Spec, coefficients: Coefficients) -> CandidateArrays:
    """The scalings of `network` by these coefficients, their phi in their names."""
    import numpy as np

    points = ray(network, coefficients, estimator.native_pixels)
    networks = list(points)
    scalings = [estimator.multipliers(scaled) for scaled in networks]
    multipliers = (
        np.array([by.depth for by in scalings]),
        np.array([by.width for by in scalings]),
        np.array([by.resolution for by in scalings]),
    )
    cost = costs_of(networks)

    def flat(values: Number) -> Floats:
        return np.broadcast_to(np.asarray(values, dtype=float), (len(networks),))

    def candidate(number: int) -> Candidate:
        result = estimator.candidate(networks[number])
        return replace(result, name=f"phi {points[networks[number]]:g}: {result.name}")

    return _arrays(
        estimator.estimates(cost, *multipliers),
        (cost.macs, cost.params, *multipliers),
        flat,
        candidate,
    )


def _arrays(
    estimates: Estimates,
    numbers: Sequence[Number],
    flat: Callable[[Number], Floats],
    candidate: Callable[[int], Candidate],
) -> CandidateArrays:
    """`numbers`: MACs, parameters, depth, width and resolution, which `flat` broadcasts."""
    import numpy as np

    macs, params, *multipliers = map(flat, numbers)
    return CandidateArrays(
        error=flat(estimates.error),
        macs=macs,
        params=params,
        latency=None if estimates.latency_ms is None else flat(estimates.latency_ms),
        logs=np.log(np.stack(multipliers)),
        values={limit: flat(values) for limit, values in estimates.values.items()},
        pretrained=np.zeros(len(macs), dtype=bool),
        candidate=candidate,
    )


def candidate_arrays(
    candidates: Iterable[Candidate], limits: Mapping[str, float]
) -> CandidateArrays | None:
    """Arrays of candidates that were estimated for these limits; None if there are none.

    Raises UsageError for one that was estimated for others.
    """
    import numpy as np

    rows = list(candidates)
    if not rows:
        return None
    for row in rows:
        if row.allowed != limits:
            raise UsageError(
                f"{row.name} was estimated for {row.allowed or 'no limits'}, not for "
                f"{dict(limits) or 'no limits'}. Estimate all networks for one budget."
            )

    def column(values: Iterable[float]) -> Floats:
        return np.fromiter(values, dtype=float, count=len(rows))

    latencies = [row.latency_ms for row in rows if row.latency_ms is not None]
    multipliers = (
        column(row.depth for row in rows),
        column(row.width for row in rows),
        column(row.resolution for row in rows),
    )
    return CandidateArrays(
        error=column(row.error for row in rows),
        macs=column(row.cost.macs for row in rows),
        params=column(row.cost.params for row in rows),
        latency=column(latencies) if len(latencies) == len(rows) else None,
        logs=np.log(np.stack(multipliers)),
        values={
            name: column(limit.value for row in rows for limit in row.limits if limit.name == name)
            for name in limits
        },
        pretrained=np.array([row.pretrained is not None for row in rows]),
        candidate=rows.__getitem__,
    )


def merge(parts: Sequence[CandidateArrays]) -> CandidateArrays:
    """Joins the arrays, in this order; without latencies if one part has none."""
    import numpy as np

    starts = np.cumsum([0, *(len(arrays.error) for arrays in parts)])

    def candidate(number: int) -> Candidate:
        part = int(np.searchsorted(starts, number, side="right")) - 1
        return parts[part].candidate(int(number - starts[part]))

    latencies = [arrays.latency for arrays in parts if arrays.latency is not None]
    return CandidateArrays(
        error=np.concatenate([arrays.error for arrays in parts]),
        macs=np.concatenate([arrays.macs for arrays in parts]),
        params=np.concatenate([arrays.params for arrays in parts]),
        latency=np.concatenate(latencies) if len(latencies) == len(parts) else None,
        logs=np.concatenate([arrays.logs for arrays in parts], axis=1),
        values={
            limit: np.concatenate([arrays.values[limit] for arrays in parts])
            for limit in parts[0].values
        },
        pretrained=np.concatenate([arrays.pretrained for arrays in parts]),
        candidate=candidate,
    )
