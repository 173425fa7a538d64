"""Coefficients: their file, the ray that they span, the selection on it, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiscale.arch.costs import cost, costs_of
from phiscale.arch.families import MEMBERS, get_spec
from phiscale.arch.scaling import compound, scale
from phiscale.arch.spec import Spec
from phiscale.errors import BudgetError, PhiscaleError, UsageError
from phiscale.planning.budget import Budget, PlanningTask, explain, ray, solve
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws import Law, Term
from phiscale.planning.priors import published_law

B0, SMALL = get_spec("efficientnet_b0"), get_spec("small")
PAPER = Coefficients(
    alpha=1.2,
    beta=1.1,
    gamma=1.15,
    method="grid",
    base="efficientnet_b0",
    data="imagenet",
    source="arXiv:1905.11946",
)
ON_RAY = PlanningTask(coefficients=PAPER)
FLAT = Law(
    e0=0.1,
    depth=Term(0.3, 1.0),
    width=Term(0.2, 1.0),
    resolution=Term(0.1, 1.0),
    sd=0.01,
    source="a test",
)
FULL = replace(PAPER, base=SMALL, law=FLAT, intervals={"alpha": (1.1, 1.3)}, extra={"seeds": [1]})

powers = st.floats(1.05, 2.0)
any_coefficients = st.builds(Coefficients, alpha=powers, beta=powers, gamma=powers)


# The file


@pytest.mark.parametrize("coefficients", [PAPER, FULL], ids=["least", "all"])
def test_a_file_is_read_as_it_was_written(coefficients: Coefficients, tmp_path: Path):
    coefficients.write(tmp_path / "found.json")
    assert Coefficients.read(tmp_path / "found.json") == coefficients


@given(any_coefficients)
def test_plain_data_are_complete(coefficients: Coefficients):
    assert Coefficients.from_dict(json.loads(json.dumps(coefficients.to_dict()))) == coefficients


def test_three_numbers_are_enough_for_a_file_made_by_hand():
    by_hand = {"phiscale_coefficients": 1, "alpha": 1.3, "beta": 1.1, "gamma": 1.1}
    assert Coefficients.from_dict(by_hand).at(1) == compound(1, 1.3, 1.1, 1.1)


MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    # what is changed in a good file, what the one line says
    ({"phiscale_coefficients": 2}, r'found\.json: "phiscale_coefficients" is 2, not 1\. Write '),
    ({"phiscale_coefficients": None}, r'"phiscale_coefficients" is None, not 1\. Write '),
    ({"alpha": 0}, r"alpha is 0, not between 0 and 100\. Use a number such as 1\.2"),
    ({"beta": -1.1}, r"beta is -1\.1, not between"),
    ({"gamma": float("nan")}, r"gamma is nan, not a finite number\. Write "),
    ({"alpha": float("inf")}, r"alpha is inf, not a finite number\. Write "),
    ({"alpha": 10**400}, r"alpha is 1000.*, not a finite number\. Write "),
    ({"alpha": "1.2"}, r"alpha is '1\.2', not a number\. Write "),
    ({"alpha": True}, r"alpha is True, not a number"),
    ({"alpha": None}, r"alpha is None, not a number"),
    ({"alpha": 0.5, "beta": 1.0}, r"= 0\.661., so no network grows .* more than 1"),
    (
        {"alfa": 1.2},
        r"has unknown fields 'alfa' \(known: alpha, beta, gamma, .*\)\. .* notes into \"extra\"",
    ),
    ({"intervals": [1.1, 1.3]}, r"intervals is \[1\.1, 1\.3\], not an object"),
    ({"intervals": {"alpha": [1.1]}}, r"intervals\.alpha is \[1\.1\], not a list of 2"),
    ({"intervals": {"delta": [1, 2]}}, r"intervals has 'delta'\. Use alpha"),
    ({"intervals": {"beta": [1.3, 1.1]}}, r"beta's interval \[1\.3, 1\.1\] is empty\. Swap"),
    ({"intervals": {"beta": ["a", 1.1]}}, r"intervals\.beta\[0\] is 'a', not a number"),
    ({"base": 3}, r"base is 3, not a text or a spec\."),
    ({"base": {"phiscale_spec": 1}}, r"found\.json: base: it lacks 'head_channels', "),
    ({"law": {"phiscale_law": 9}}, r'found\.json: law: "phiscale_law" is 9, not 1\.'),
    ({"method": 3}, r"method is 3, not a text"),
    ({"extra": 3}, r"extra is 3, not an object"),
)


@pytest.mark.parametrize(("change", "says"), MISTAKES, ids=[str(m[0])[:40] for m in MISTAKES])
def test_a_wrong_file_is_named_and_the_message_says_what_to_write(
    change: dict[str, Any], says: str, tmp_path: Path
):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(PAPER.to_dict() | change))
    with pytest.raises(UsageError, match=says) as caught:
        Coefficients.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["alpha", "beta", "gamma"])
def test_a_file_without_one_of_the_three_is_refused(lacking: str):
    values = {name: value for name, value in PAPER.to_dict().items() if name != lacking}
    with pytest.raises(UsageError, match=rf"it lacks '{lacking}'\. Write"):
        Coefficients.from_dict(values)


@pytest.mark.parametrize("text", ["", "[1.2, 1.1", "[1.2, 1.1, 1.15]", "1.2"])
def test_what_is_no_object_of_json_is_refused(text: str, tmp_path: Path):
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(
        PhiscaleError, match=r"found\.json (is not JSON|holds .* instead of a JSON).* Write "
    ):
        Coefficients.read(tmp_path / "found.json")


# What they mean

PUBLISHED = {  # width and depth of the members as printed, and the phi where the law comes near
    "efficientnet_b1": (1.0, 1.1, 0.5),
    "efficientnet_b2": (1.1, 1.2, 1.0),
    "efficientnet_b3": (1.2, 1.4, 2.0),
    "efficientnet_b4": (1.4, 1.8, 3.5),
    "efficientnet_b5": (1.6, 2.2, 5.0),
    "efficientnet_b6": (1.8, 2.6, 6.0),
    "efficientnet_b7": (2.0, 3.1, 7.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_coefficients_give_the_published_models_at_their_phi(name: str):
    width, depth, phi = PUBLISHED[name]
    by, member = PAPER.at(phi), MEMBERS[name].scaling
    assert (member.width, member.depth) == (width, depth)
    assert by.width == pytest.approx(member.width, rel=0.05)
    assert by.resolution == pytest.approx(member.resolution, rel=0.04)
    assert by.depth == pytest.approx(member.depth, rel=0.16)  # the large ones are less deep
    assert by == compound(phi) == compound(phi, **PAPER.powers)


def test_compound_and_a_file_agree_on_every_phi():
    assert PAPER.at(0) == compound(0) and PAPER.at(-1.5) == compound(-1.5)
    assert PAPER.growth == pytest.approx(1.920, abs=1e-3)


# The ray


@given(any_coefficients)
@settings(max_examples=20)
def test_along_a_ray_macs_grow_with_phi_and_no_network_comes_twice(coefficients: Coefficients):
    points = ray(SMALL, coefficients, native_pixels=96)
    phis, networks = list(points.values()), list(points)
    assert phis == sorted(phis) and len(set(phis)) == len(phis)
    macs = costs_of(networks).macs.tolist()
    assert all(one <= other for one, other in pairwise(macs)) and macs[-1] > macs[0]


@given(any_coefficients)
@settings(max_examples=20)
def test_a_ray_goes_through_the_base_and_every_point_is_what_scale_gives(
    coefficients: Coefficients,
):
    points = ray(SMALL, coefficients, native_pixels=96)
    assert points[SMALL] == 0
    assert all(scale(SMALL, coefficients.at(phi)) == network for network, phi in points.items())


def test_the_ray_of_the_paper_goes_as_far_as_the_lattice():
    phis = list(ray(B0, PAPER).values())
    assert (phis[0], phis[-1]) == (-7.6, 7.1)
    assert set(range(-7, 8)) <= set(phis)  # the roundest phi names a network
    assert max(network.resolution for network in ray(B0, PAPER)) == round(224 * 1.15**7.1)


def test_above_the_pixels_that_the_images_have_depth_and_width_go_on_alone():
    networks = list(ray(B0, PAPER, native_pixels=256))
    assert networks[-1].resolution == 256
    assert networks[-1].blocks == scale(B0, PAPER.at(7.1)).blocks


def test_coefficients_of_one_dimension_span_a_ray_too():
    only_wide = Coefficients(alpha=1.0, beta=1.4, gamma=1.0)
    assert {(net.blocks, net.resolution) for net in ray(B0, only_wide)} == {(16, 224)}


# The selection


def test_two_budgets_give_two_networks_of_one_ray_that_are_the_best_of_it():
    for macs in (3e8, 3e9):
        solution = solve(B0, Budget(macs=macs), task=ON_RAY)
        networks = list(ray(B0, PAPER))
        assert solution.best.spec in networks and solution.considered == len(networks)
        assert solution.fitting == sum(costs_of(networks).macs <= macs)
        assert solution.best.cost == replace(cost(solution.best.spec), layers=())
        assert solution.best.cost.macs > 0.8 * macs  # more blocks come many at a time
    small, large = (solve(B0, Budget(macs=macs), task=ON_RAY).best for macs in (3e8, 3e9))
    assert small.spec != large.spec and small.depth < large.depth


def test_the_explanation_names_the_coefficients_and_their_source():
    solution = solve(B0, Budget(macs=1e9), task=ON_RAY)
    assert solution.coefficients == PAPER
    assert solution.best.name.startswith("phi 1.0")
    assert (
        "the ray of the coefficients 1.2^phi, 1.1^phi, 1.15^phi (grid, efficientnet_b0 on im"
        in explain(solution)
    )
    assert "coefficients" not in explain(solve(B0, Budget(macs=1e9)))


def test_a_network_that_more_pixels_alone_would_change_keeps_its_phi():
    """Where pixels alone grow, all larger phi give the last network of real pixels."""
    only_pixels = Coefficients(alpha=1, beta=1, gamma=1.4)
    points = ray(SMALL, only_pixels, native_pixels=SMALL.resolution)
    assert points[SMALL] == 0 and max(points.values()) == 0


def test_a_lattice_has_a_network_at_least_as_good_as_the_ray():
    law = published_law()
    along = solve(B0, Budget(macs=1e9), task=PlanningTask(law=law, coefficients=PAPER)).best
    best = solve(B0, Budget(macs=1e9), task=PlanningTask(law=law)).best
    assert best.error <= along.error + 0.001  # 8 px apart


def test_limits_that_no_network_of_the_ray_meets_are_refused():
    with pytest.raises(BudgetError, match=r"by these coefficients has macs <= 10.*Raise `macs` to"):
        solve(SMALL, Budget(macs=10), task=ON_RAY)


@pytest.mark.parametrize(
    ("base", "network", "used"),
    [
        ("small", SMALL, True),
        ("small", replace(SMALL, classes=3), True),  # classes may differ
        (SMALL, SMALL, True),
        ("", B0, True),  # written by hand: for any network
        ("small", replace(SMALL, resolution=16), False),  # multipliers would be over other pixels
        ("small", B0, False),
        ("mine.py:NET", SMALL, False),
    ],
)
def test_a_law_predicts_only_for_the_network_it_was_fitted_over(
    base: str | Spec, network: Spec, used: bool
):
    along = replace(PAPER, base=base, law=FLAT)
    assert along.law_over(network) == (FLAT if used else None)
    budget = Budget(macs=2 * cost(network).macs)
    alone, with_law = (
        solve(network, budget, task=PlanningTask(coefficients=each)).best.error
        for each in (replace(along, law=None), along)
    )
    assert (with_law != alone) == used
