"""Where candidates come from, as arrays: the lattice, the ray of coefficients, given networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from phiscale.arch.costs import Cost, cost_grid, costs_of
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.budget.candidates import Candidate, Plan
from phiscale.planning.budget.lattice import (
    lattice_depths,
    lattice_resolutions,
    lattice_widths,
    ray,
)
from phiscale.planning.coefficients import Coefficients

LATTICE_SIZE = 500_000


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Networks to choose among: an element each, and what makes a `Candidate` of an index."""

    error: Any
    costs: list[Any]  # macs, params
    latency: Any | None
    place: Any  # logs of depth, width, resolution: (3, networks)
    values: dict[str, Any]  # by limit
    make: Callable[[int], Candidate]
    pretrained: Any = 0


def lattice_pool(
    plan: Plan,
    spec: Spec,
    depths: Sequence[float] | None,
    widths: Sequence[float] | None,
    resolutions: Sequence[int] | None,
) -> Pool:
    """All scalings of `spec` by these multipliers at these pixels; the default lattice for None."""
    import numpy as np

    if depths is None:
        depths = lattice_depths(spec)
    if resolutions is None:
        resolutions = lattice_resolutions(spec, plan.native_pixels)
    if widths is None:
        widths = lattice_widths(LATTICE_SIZE // max(1, len(depths) * len(resolutions)))
    grid = cost_grid(spec, depths, widths, resolutions)
    by = (
        np.array([plan.by(each).depth for each in grid.depths])[:, None, None],
        np.array([plan.by(each).width for each in grid.widths])[None, :, None],
        np.array(
            [plan.by(replace(spec, resolution=pixels)).resolution for pixels in grid.resolutions]
        )[None, None, :],
    )

    def make(index: int) -> Candidate:
        return plan.candidate(grid.spec(tuple(int(i) for i in np.unravel_index(index, grid.shape))))

    return _pool(plan, grid.cost, by, grid.shape, make)


def ray_pool(plan: Plan, spec: Spec, along: Coefficients) -> Pool:
    """The scalings of `spec` by these coefficients, their phi in their names."""
    import numpy as np

    points = ray(spec, along, plan.native_pixels)
    networks = list(points)
    places = [plan.by(each) for each in networks]
    by = tuple(
        np.array([getattr(each, axis) for each in places])
        for axis in ("depth", "width", "resolution")
    )

    def make(index: int) -> Candidate:
        found = plan.candidate(networks[index])
        return replace(found, name=f"phi {points[networks[index]]:g}: {found.name}")

    return _pool(plan, costs_of(networks), by, (len(networks),), make)


def _pool(
    plan: Plan,
    cost: Cost,
    by: Sequence[Any],
    shape: tuple[int, ...],
    make: Callable[[int], Candidate],
) -> Pool:
    """`by`: depth, width and resolution, which broadcast to `shape` as the costs do."""
    import numpy as np

    figures = plan.figures(cost, *by)

    def flat(values: Any) -> Any:
        return np.broadcast_to(np.asarray(values, dtype=float), shape).ravel()

    return Pool(
        error=flat(figures.error),
        costs=[flat(each) for each in (cost.macs, cost.params)],
        latency=None if figures.latency_ms is None else flat(figures.latency_ms),
        place=np.log(np.stack([flat(each) for each in by])),
        values={limit: flat(values) for limit, values in figures.values.items()},
        make=make,
    )


def given_pools(candidates: Iterable[Candidate], limits: Mapping[str, float]) -> list[Pool]:
    """Candidates that were weighed for the same limits; none of them, no pool."""
    import numpy as np

    given = list(candidates)
    if not given:
        return []
    for each in given:
        if allowed_of(each) != limits:
            raise UsageError(
                f"{each.name} was weighed for {allowed_of(each) or 'no limits'}, not for "
                f"{dict(limits) or 'no limits'}. Weigh all networks for one budget."
            )
    latencies = [each.latency_ms for each in given]
    return [
        Pool(
            error=np.array([each.error for each in given]),
            costs=[
                np.array([getattr(each.cost, name) for each in given], dtype=float)
                for name in ("macs", "params")
            ],
            latency=None if None in latencies else np.array(latencies, dtype=float),
            place=np.log(
                [
                    [getattr(each, name) for each in given]
                    for name in ("depth", "width", "resolution")
                ]
            ),
            values={
                name: np.array(
                    [limit.value for each in given for limit in each.limits if limit.name == name]
                )
                for name in limits
            },
            make=given.__getitem__,
            pretrained=np.array([each.pretrained is not None for each in given]),
        )
    ]


def allowed_of(candidate: Candidate) -> dict[str, float]:
    """The limits that a candidate was weighed for."""
    return {limit.name: limit.allowed for limit in candidate.limits}
