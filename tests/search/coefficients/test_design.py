"""Designed experiments: their cost, and that laws learn more from them than from other designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.costs import cost
from phiscale.arch.families import get_spec
from phiscale.arch.scaling import ScaledNetwork
from phiscale.errors import UsageError
from phiscale.planning.budget import effective
from phiscale.search.coefficients.design import (
    candidates,
    d_optimal,
    networks_at,
    prior_information,
)

B0, SMALL = get_spec("efficientnet_b0"), get_spec("small")
CANDIDATES = {"efficientnet_b0": candidates(B0), "small": candidates(SMALL)}


def units(networks: tuple[ScaledNetwork, ...]) -> float:
    return sum(network.compute_ratio for network in networks)


def information(networks: tuple[ScaledNetwork, ...]) -> float:
    """Mean log-determinant of the information that runs give on the seven numbers of a law."""
    rows, prior = prior_information(networks, 0.0025, seed=99)
    return float(np.linalg.slogdet(prior + rows.transpose(0, 2, 1) @ rows)[1].mean())


def test_candidates_have_the_cost_of_the_networks_as_built() -> None:
    for point in CANDIDATES["efficientnet_b0"]:
        assert point.by == effective(point.spec, B0)
        assert point.compute_ratio == cost(point.spec).macs / cost(B0).macs
    assert len({point.spec for point in CANDIDATES["small"]}) == len(CANDIDATES["small"])


def test_candidates_cost_from_a_fifth_to_four_times_the_base_cheapest_first() -> None:
    for networks in CANDIDATES.values():
        costs = [network.compute_ratio for network in networks]
        assert costs == sorted(costs) and costs[0] >= 0.2 and costs[-1] <= 4


def test_no_candidate_has_more_pixels_than_the_images_or_too_few_for_its_stages() -> None:
    small_16 = replace(SMALL, resolution=16)
    pixels = {point.spec.resolution for point in candidates(small_16, native_pixels=24)}
    assert pixels == {16, 20, 24}


def test_a_base_at_the_least_pixels_of_native_images_has_no_resolution_to_vary() -> None:
    with pytest.raises(UsageError, match=r"differ in resolution.*more room below"):
        candidates(replace(SMALL, resolution=16), native_pixels=16)


@pytest.mark.parametrize(
    ("member", "budget", "runs"),
    [("efficientnet_b0", 7, 15), ("small", 7, 17), ("efficientnet_b0", 14, 30), ("small", 14, 33)],
)
def test_seven_units_buy_at_least_fifteen_trainings(member: str, budget: float, runs: int) -> None:
    design = d_optimal(CANDIDATES[member], budget)
    assert runs <= len(design)
    assert 0.95 * budget <= units(design) <= budget + 1e-9


@given(st.floats(3, 20), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_the_budget_is_kept_and_the_same_seed_gives_the_same_design(
    budget: float, seed: int
) -> None:
    design = d_optimal(CANDIDATES["small"], budget, seed=seed)
    assert units(design) <= budget + 1e-9
    assert design == d_optimal(CANDIDATES["small"], budget, seed=seed)
    assert set(design) <= set(CANDIDATES["small"])


def test_every_dimension_varies_from_small_to_large() -> None:
    design = d_optimal(CANDIDATES["efficientnet_b0"], 7)
    for name in ("depth", "width", "resolution"):
        values = [getattr(point.by, name) for point in design]
        assert max(values) / min(values) >= 3, name


def test_it_gives_more_information_for_its_compute_than_chance_or_one_dimension_at_a_time() -> None:
    networks = CANDIDATES["efficientnet_b0"]
    designed = information(d_optimal(networks, 7))
    random = np.random.default_rng(0)
    for _ in range(20):
        order = random.permutation(len(networks))
        affordable = np.cumsum([networks[i].compute_ratio for i in order]) <= 7
        assert designed > information(tuple(networks[i] for i in order[affordable]))
    one_at_a_time = networks_at(
        B0,
        [
            (1, 1, 1),
            *((d, 1, 1) for d in (0.5, 2, 4)),
            *((1, s, 1) for s in (0.71, 1.41, 2)),
            *((1, 1, s) for s in (0.71, 1.41, 2)),
        ],
    )
    assert information(d_optimal(networks, units(one_at_a_time))) > information(one_at_a_time)


def test_more_budget_gives_more_information() -> None:
    designs = [d_optimal(CANDIDATES["small"], budget) for budget in (4, 7, 14, 28)]
    values = [information(design) for design in designs]
    assert values == sorted(values)


def test_a_budget_that_buys_no_law_is_refused() -> None:
    with pytest.raises(UsageError, match=r"buys 2 trainings.*budget of 7"):
        d_optimal(CANDIDATES["small"], 0.5)
