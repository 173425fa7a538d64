"""The first section of a search's report: alpha, beta and gamma, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from phiscale.planning.budget.solver import NEAR_BEST_ERROR
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.laws.posterior import Posterior
from phiscale.planning.laws.sheet import DIMENSIONS
from phiscale.report.law_report import describe_bootstrap
from phiscale.report.page import Section
from phiscale.search.coefficients.completed import CompletedSearch
from phiscale.search.coefficients.law import MethodResult, law_error
from phiscale.search.coefficients.law_report import useless_dimensions
from phiscale.search.coefficients.plan import CoefficientSearch


def answer_section(search: CompletedSearch) -> Section:
    """The coefficients of each method, and what is known of them."""
    return Section(
        title="Answer",
        text=list(_text(search)),
        rows=[
            _row(result, each)
            for result, each in zip(search.outcome.searched, search.answers, strict=True)
        ],
        note="The paper's coefficients, from ImageNet: 1.2, 1.1, 1.15. Intervals end at 1, where "
        "another dimension would shrink, and for MACs at 2, 1.41 and 1.41. An interval that ends "
        "there shows that bound, not data. A grid has no interval: it is the network that won, "
        "with blocks and channels as built.",
    )


def _row(result: MethodResult, coefficients: Coefficients) -> dict[str, Any]:
    by = result.proposal.by
    return {
        "method": result.method,
        "trainings": len(result.runs),
        "units": f"{result.units:.1f}",
        **coefficients.row(),
        "network": f"depth x{by.depth:.2f}, width x{by.width:.2f}, "
        f"{result.proposal.spec.resolution} px",
    }


def _text(search: CompletedSearch) -> Iterator[str]:
    plan, answers, law = search.plan, search.answers, search.law
    extras = [each.extra for each in answers]
    yield (
        f"The best scaling of the base to {plan.compute:g} times its {search.cost_name}, as "
        "multipliers for each doubling. A unit is the cost of one training of the base."
    )
    yield from (extra["refused"] for extra in extras if "refused" in extra)
    yield from (extra["symmetric_null"] for extra in extras if "symmetric_null" in extra)
    if law is not None and not useless_dimensions(law):
        yield from (_asymptote(each) for each in answers if "slopes" in each.extra)
    yield from (describe_bootstrap(*extra["bootstrap"]) for extra in extras if "bootstrap" in extra)
    yield from (_by_cross_entropy(each) for each in answers if "by_cross_entropy" in each.extra)
    for each in answers:
        yield from _held_at_one(plan, each)
    yield from (_as_built(search.cost_name, each) for each in answers)
    if law is not None:
        yield from _if_free(plan, law)


def _asymptote(coefficients: Coefficients) -> str:
    """The path of the law's optimum: a line in logs, through the base only if that is balanced."""
    paths = [
        f"{name} {math.exp(offset):.2f} T^{slope:.2f}"
        if math.isfinite(offset)
        else f"{name} T^{slope:.2f}"
        for name, slope, offset in zip(
            DIMENSIONS, coefficients.extra["slopes"], coefficients.extra["offsets"], strict=True
        )
    ]
    return f"For large T the law's optimum tends to {', '.join(paths)}."


def _held_at_one(plan: CoefficientSearch, coefficients: Coefficients) -> Iterator[str]:
    """An interval of no width is a bound, not certainty."""
    bound = [
        name
        for name, ends in (coefficients.intervals or {}).items()
        if all(math.isclose(end, 1, abs_tol=0.005) for end in ends)
    ]
    if not bound:
        return
    rule = ("shrinks while the network grows", "grows while the network shrinks")
    yield (
        f"As in the paper, no dimension {rule[plan.compute < 1]}. Without that rule, 19 in 20 of "
        f"the laws that explain the trainings would move {' and '.join(bound)} the other way; "
        "here they are held at 1."
    )


def _by_cross_entropy(coefficients: Coefficients) -> str:
    values = ", ".join(
        f"{name} {value:.2f} [{low:.2f}, {high:.2f}]"
        for name, (value, low, high) in coefficients.extra["by_cross_entropy"].items()
    )
    return f"From the cross-entropy of the same trainings, which decides nothing: {values}."


def _as_built(cost_name: str, coefficients: Coefficients) -> str:
    """What one phi costs as built: blocks are rounded up."""
    ratios = " and ".join(
        f"{ratio:.2f} times at phi {phi}"
        for phi, ratio in coefficients.extra["exact_costs"].items()
    )
    return (
        f"{coefficients.method}: as built by alpha^phi, beta^phi, gamma^phi, with blocks rounded "
        f"up, the network has the base's {cost_name} {ratios}."
    )


def _if_free(plan: CoefficientSearch, law: Posterior) -> Iterator[str]:
    """What the rule that no dimension shrinks while others grow keeps the law from."""
    lattice = plan.lattice()
    held, free = (
        lattice.best(law, plan.compute, allow_opposed=allow_opposed)
        for allow_opposed in (False, True)
    )
    gain = law_error(law, held.by) - law_error(law, free.by)
    if gain > NEAR_BEST_ERROR:
        yield (
            f"If one dimension could shrink, the law would choose depth x{free.by.depth:.2f}, "
            f"width x{free.by.width:.2f}, {free.spec.resolution} px at the same cost. It predicts "
            f"{100 * gain:.1f} points less error there than for the proposal. That network is no "
            "scaling of the base and was not confirmed; it suggests a better base."
        )
