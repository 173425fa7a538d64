"""Caveats of the reports of studies and searches: interim looks, and machines of several kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from phiscale.search.engine.result import Result, unique_results


def interim_look_notes(interim_looks: Sequence[int]) -> list[str]:
    """Returns caveats of a report whose results were reported before more seeds followed.

    An interim look is such an early report. Each one can end a study by chance, so that together
    they give a false verdict more often than one look at the end.
    """
    if not interim_looks:
        return []
    return [
        f"Looked at before with {', '.join(map(str, interim_looks))} seeds, then continued: "
        "every look adds its own chance of a false verdict, which the interval does not count."
    ]


def machine_notes(results: Iterable[Result]) -> list[str]:
    """Returns caveats of a report whose trainings ran on several kinds of machine."""
    kinds = Counter(", ".join(map(str, each.made_by.values())) for each in unique_results(results))
    if len(kinds) < 2:
        return []
    listed = "; ".join(f"{count} on {kind}" for kind, count in kinds.most_common())
    return [
        f"Trained on several kinds of machine ({listed}). Floating-point results differ "
        "between them: a seed repeated on another kind is another draw, not the same training."
    ]
