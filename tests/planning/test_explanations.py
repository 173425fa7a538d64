"""What people read of a solution: finalists, explanations, tables, notebooks."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.errors import SpecError
from phiscale.planning.budget import (
    Budget,
    LatticeAxes,
    PlanningTask,
    estimate,
    explain,
    finalists,
    rank,
    solve,
)
from support.planning import (
    AXES,
    B0,
    DEPTHS,
    FEW_WIDTHS,
    LAW,
    LAW_ALONE,
    PIXELS,
    SMALL,
    TASK,
    WIDTHS,
    solved,
)


def test_finalists_are_clearly_different_and_within_the_laws_error() -> None:
    solution = solve(B0, Budget(macs=400e6), axes=FEW_WIDTHS)
    networks = finalists(solution)
    assert networks[0] == solution.best
    assert 2 <= len(networks) <= 3
    assert len(finalists(solution, limit=2)) == 2
    for i, one in enumerate(networks):
        assert one.error <= solution.best.error + solution.law_sd
        for other in networks[:i]:
            ratios = [
                getattr(one, name) / getattr(other, name)
                for name in ("depth", "width", "resolution")
            ]
            assert any(ratio > 1.19 or ratio < 1 / 1.19 for ratio in ratios)


def test_a_certain_law_leaves_one_finalist() -> None:
    solution = solve(SMALL, task=PlanningTask(law=replace(LAW, sd=0.0)), axes=AXES)
    assert finalists(solution) == (solution.best,)


def test_the_explanation_names_what_won_what_it_costs_and_what_was_excluded() -> None:
    text = explain(solve(SMALL, Budget(macs=4e6, params=2e5), axes=AXES, task=TASK))
    for part in (
        " px (",
        "): predicted top-1 error ",
        " % (estimated from published results), the least of ",
        "networks within all limits",
        "Typical error of a predicted difference: ",
        " points",
        "M MACs",
        " ms",
        "epochs",
        f"Of {len(DEPTHS) * len(WIDTHS) * len(PIXELS)} networks, excluded by macs: ",
        "by params: ",
    ):
        assert part in text
    assert "\n" not in text


def test_the_explanation_names_the_origin_of_the_predicted_errors() -> None:
    small = LatticeAxes(depths=[1.0], widths=[1.0], pixels=[32])
    assert "(estimated from our runs of small on CIFAR-10)" in explain(solve(SMALL, axes=small))
    published = explain(solve(B0, axes=replace(small, pixels=[224])))
    assert "(estimated from published results)" in published
    yours = explain(solve(SMALL, axes=small, task=PlanningTask(law=replace(LAW, source="ours"))))
    assert "(estimated with your law)" in yours
    assert "(" not in explain(rank([estimate(SMALL)], sd=0.01)).partition("predicted")[2]


def test_a_printed_solution_is_its_pareto_front_and_the_explanation() -> None:
    solution = solve(SMALL, Budget(macs=4e6), axes=AXES, task=TASK)
    heads, *rows, last = str(solution).split("\n")
    assert heads.split()[:3] == ["name", "predicted_error", "macs"]
    assert len(rows) == len(solution.pareto) and last == explain(solution)
    assert f" {100 * solution.best.error:.1f} % " in rows[0]


def test_the_explanation_of_tied_networks_names_short_runs() -> None:
    text = explain(solve(B0, Budget(macs=400e6), axes=FEW_WIDTHS))
    assert "Statistically tied with depth x" in text
    assert text.endswith("; short runs can separate them.")


def test_a_notebook_shows_the_explanation_and_the_pareto_front_as_a_table() -> None:
    solution = solve(SMALL, Budget(macs=4e6), axes=AXES, task=TASK)
    page = solution._repr_html_()
    assert f"<caption>{html.escape(explain(solution))}</caption>" in page
    assert "<th>predicted top-1 error</th>" in page and "<th>latency</th>" in page
    assert page.count("<tr>") == 1 + len(solution.pareto)
    assert all(f"<td>{html.escape(each.name)}</td>" in page for each in solution.pareto)
    assert "latency" not in solve(SMALL, axes=AXES, task=LAW_ALONE)._repr_html_()


def test_a_notebook_shows_the_names_of_candidates_as_text() -> None:
    named = estimate(SMALL, task=LAW_ALONE, name="<b>bold</b> & plain")
    page = rank([named], sd=0.01)._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; plain" in page and "<b>" not in page


def test_a_base_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(SMALL.to_json())
    (tmp_path / "mine.py").write_text(
        "from phiscale.arch.families import get_spec\nNET = get_spec('small')\n"
    )
    for base in ("small", str(tmp_path / "spec.json"), f"{tmp_path / 'mine.py'}:NET"):
        assert (
            solve(base, Budget(macs=4e6), axes=AXES, task=TASK).best
            == solved(Budget(macs=4e6)).best
        )
        assert estimate(base, task=TASK) == estimate(SMALL, task=TASK)
    for function in (solve, estimate):
        with pytest.raises(SpecError, match=r"'smal' is not a model.*small"):
            function("smal")


def test_a_candidate_is_a_row_of_plain_numbers() -> None:
    row = estimate(SMALL, Budget(macs=1e3), name="small", task=TASK).to_dict()
    assert row["name"] == "small"
    assert (row["depth_x"], row["width_x"], row["resolution_x"], row["pixels"]) == (1, 1, 1, 32)
    assert row["excluded_by"] == "macs 3.32M > 1K"
    assert all(value is None or isinstance(value, str | int | float) for value in row.values())
