"""The paper's grid of alpha, beta and gamma (arXiv:1905.11946, section 3.3), as networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from phiscale.arch.scaling import ScaledNetwork, Scaling
from phiscale.arch.spec import Spec
from phiscale.errors import UsageError
from phiscale.planning.laws.optimum import Triple
from phiscale.search.spaces.lattice import Lattice
from phiscale.search.spaces.rays import paper_grid


def grid_networks(
    lattice: Lattice, compute: float, units: float
) -> tuple[list[ScaledNetwork], dict[Spec, list[Triple]]]:
    """Returns as many networks of the grid as `units` trainings of the base pay for, spread over
    it, and the candidates that round to each. UsageError: the units pay for fewer than two."""
    phi = math.log2(compute)
    networks: dict[Spec, ScaledNetwork] = {}
    candidates: dict[Spec, list[Triple]] = {}
    for alpha, beta, gamma in paper_grid():
        by = Scaling(depth=alpha**phi, width=beta**phi, resolution=gamma**phi)
        network = lattice.on_ray(by, compute)
        nearest = networks.get(network.spec)
        if nearest is None or network.off_ray < nearest.off_ray:
            networks[network.spec] = network
        candidates.setdefault(network.spec, []).append((alpha, beta, gamma))
    selected = _spread_out(list(networks.values()), units)
    spent = sum(network.compute_ratio for network in selected)
    if len(selected) < min(2, len(networks)) or spent > units:
        most = max(network.compute_ratio for network in networks.values())
        raise UsageError(
            f"units={units:g} pays for no grid at compute={compute:g}. "
            f"Use units={math.ceil(2 * most)} or more, or method='lawscale'."
        )
    return selected, candidates


def _spread_out(networks: Sequence[ScaledNetwork], units: float) -> list[ScaledNetwork]:
    """As many as the units pay for: the one nearest the middle, then always the one furthest from
    all that are selected."""
    logs = np.array(
        [
            [math.log(n.by.depth), 2 * math.log(n.by.width), 2 * math.log(n.by.resolution)]
            for n in networks
        ]
    )
    costs = [network.compute_ratio for network in networks]
    middle = int(np.linalg.norm(logs - logs.mean(axis=0), axis=1).argmin())
    selected, left = [middle], units - costs[middle]
    while len(selected) < len(networks):
        gap = np.linalg.norm(logs[:, None] - logs[selected][None], axis=2).min(axis=1)
        gap[[i for i, ratio in enumerate(costs) if ratio > left or i in selected]] = -1
        best = int(gap.argmax())
        if gap[best] < 0:
            break
        selected.append(best)
        left -= costs[best]
    return [networks[i] for i in sorted(selected)]
