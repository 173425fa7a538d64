"""First step of a choice: which known pretrained weights compete."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from phiscale.errors import WeightsError
from phiscale.pipeline.estimates import estimate_with_weights
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.planning.budget import Candidate, Pretraining

logger = logging.getLogger(__name__)

MOST_KNOWN = 2  # pretrained networks that are fetched


def propose_pretrained(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Adds the best of the known pretrained weights that fit the budget, by estimates alone.

    Nothing is measured. Weights that the request names compete in any case.
    Raises WeightsError where no network is left to compete.
    """
    if request.known_weights:
        evidence = _with_known_weights(request, evidence, measurements)
    if not request.from_scratch and not evidence.pretrained:
        raise WeightsError("no pretrained weights are at hand. Name some with `pretrained`.")
    return evidence


def _with_known_weights(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Fetches the best of the known weights that fit the budget."""
    fitting: list[Candidate] = []
    for known in measurements.known_weights():
        spec = replace(evidence.spec(known.member), resolution=known.pixels)
        name = f"{known.member}.{known.tag}"
        candidate = estimate_with_weights(request, evidence, name, spec, Pretraining(known.source))
        if candidate.excluded_by is None:
            fitting.append(candidate)
    fetched: dict[str, Path] = {}
    refused: list[str] = []
    for candidate in sorted(fitting, key=lambda candidate: candidate.error):
        if len(fetched) == MOST_KNOWN:
            break
        try:
            fetched[candidate.name] = measurements.fetch_weights(candidate.name)
        except WeightsError as error:
            refused.append(str(error))
    if refused:
        logger.warning(
            f"pretrained='auto': {len(refused)} of the known weights cannot be fetched: "
            f"{refused[0]}"
        )
    return replace(evidence, pretrained={**evidence.pretrained, **fetched})
