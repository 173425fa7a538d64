"""The report of a family over phi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from phiscale.planning.laws import ErrorLaw
from phiscale.planning.laws.checks import MAX_EXTRAPOLATION
from phiscale.planning.laws.posterior import Posterior
from phiscale.report.page import Section, page_files
from phiscale.search.spaces.family import (
    FEWEST,
    PHIS,
    FamilyMember,
    FamilyPlan,
    FamilyRuns,
    family_members,
)
from phiscale.search.spaces.figures import family_figure

ENOUGH = 5  # trained members that show where errors level off


def family_report(
    plan: FamilyPlan,
    runs: FamilyRuns,
    law: ErrorLaw,
    command: str,
    phis: Sequence[float] = PHIS,
) -> tuple[dict[str, str | bytes], list[dict[str, Any]]]:
    """Returns the files of the report by name, and the members as plain data.

    `law` predicts where too few members were trained to fit one to them.
    """
    members, fitted = family_members(plan, runs, law, phis)
    section = Section(
        title="Members",
        text=list(_text(members, law, fitted)),
        rows=[_row(member) for member in members],
        figures=[family_figure(members)],
        note="Errors of the test images, %; intervals of 95 %, for a new run.",
    )
    files = page_files("A family over phi", command, [section])
    return files, [member.to_dict() for member in members]


def _text(
    members: Sequence[FamilyMember], law: ErrorLaw, fitted: Posterior | None
) -> Iterator[str]:
    if fitted is None:
        yield (
            f"Errors are predicted by {law.source}. Its level is that of its own data; differences "
            f"between members mean more. Train {FEWEST} members with `phi` to fit a law to this "
            "family."
        )
        return
    trained = [member for member in members if member.errors]
    yield (
        f"Errors are predicted by a law in MACs through the {len(trained)} members that were "
        f"trained (run-to-run standard deviation {100 * fitted.run_sd:.2f} points)."
    )
    if len(trained) < ENOUGH:
        yield (
            f"Fewer than {ENOUGH} members hardly show where errors level off: larger members are "
            "likely to have higher errors than predicted. From EfficientNet's B0 to B3, the errors "
            "predicted for B4 to B7 are 0.2 to 0.9 points too low."
        )
    largest = max(trained, key=lambda member: member.macs)
    yield (
        f"Nothing is predicted beyond {MAX_EXTRAPOLATION:g} times the MACs of phi {largest.phi:g}, "
        "the largest that was trained. Train a larger one with `phi` for that."
    )


def _row(member: FamilyMember) -> dict[str, Any]:
    """Returns a row of the table."""
    return {
        "phi": f"{member.phi:g}",
        "depth": f"x{member.by.depth:.2f}",
        "width": f"x{member.by.width:.2f}",
        "pixels": member.spec.resolution,
        "MACs": f"{member.macs / 1e6:.4g}M",
        "predicted": _predicted_cell(member),
        "measured": _measured_cell(member.errors),
        "seeds": len(member.errors) or None,
    }


def _predicted_cell(member: FamilyMember) -> str | None:
    if member.predicted is None:
        return None
    error, low, high = (100 * min(1.0, max(0.0, value)) for value in member.predicted)
    return f"{error:.1f} [{low:.1f}, {high:.1f}]"


def _measured_cell(errors: Sequence[float]) -> str | None:
    if not errors:
        return None
    spread = f" ± {100 * np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
    return f"{100 * np.mean(errors):.2f}{spread}"
