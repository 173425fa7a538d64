"""The report of a comparison of two design spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.report.page import Section, page_files
from phiscale.search.spaces.compare_spaces import (
    ErrorComparison,
    SpaceComparison,
    SpaceRuns,
    compare_errors,
)
from phiscale.search.spaces.figures import error_distributions


def comparison_report(
    plan: SpaceComparison, runs: SpaceRuns, command: str
) -> tuple[dict[str, str | bytes], dict[str, Any]]:
    """Returns the files of the report by name, and its numbers as plain data. All errors are of the
    validation images."""
    comparison = compare_errors(plan, runs)
    section = Section(
        title="Error distribution functions",
        text=[_summary(plan, comparison), *plan.caveats()],
        rows=[
            _row(name, errors, plan.unique_counts[name])
            for name, errors in comparison.errors.items()
        ],
        figures=[error_distributions(comparison.errors)],
        note="Bands: 95 % by Dvoretzky, Kiefer, Wolfowitz and Massart, for the "
        "whole of each curve.",
    )
    title = f"Design spaces: {plan.spaces[0]} against {plan.spaces[1]}"
    return page_files(title, command, [section]), comparison.to_dict(plan.unique_counts)


def _summary(plan: SpaceComparison, comparison: ErrorComparison) -> str:
    first, second = plan.spaces
    return (
        f"{plan.networks} networks of each space at {plan.compute:g} times the base's MACs, "
        f"{plan.conditions.recipe.epochs:g} epochs each. A network of {first} has less error than "
        f"one of {second} with probability {comparison.probability:.2f} "
        f"[{comparison.low:.2f}, {comparison.high:.2f}] (Mann and Whitney's test: "
        f"p = {comparison.p_value:.3f})."
    )


def _row(name: str, errors: NDArray[np.float64], unique: int) -> dict[str, Any]:
    """Returns a row of the table; `errors` are sorted."""
    return {
        "space": name,
        "networks": len(errors),
        "best, %": f"{100 * errors[0]:.2f}",
        "median, %": f"{100 * np.median(errors):.2f}",
        "mean, %": f"{100 * errors.mean():.2f}",
        "worst, %": f"{100 * errors[-1]:.2f}",
        "different networks": unique,
    }
