"""First step of a choice: which pretrained weights compete."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from phiscale.errors import WeightsError
from phiscale.pipeline.estimates import estimate_with_weights
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import native_pixels
from phiscale.pipeline.variants import too_small
from phiscale.planning.budget import Pretraining
from phiscale.weights.pretrained import PretrainedWeights

logger = logging.getLogger(__name__)

MOST_FETCHED = 2  # pretrained networks from the cache or the hub
MOST_REFUSED = 2  # of them that cannot be fetched, before no other is tried


def propose_pretrained(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    """Adds the pretrained weights at hand: installed packages first, then the cache and the hub.

    Nothing is measured. Weights that the request names compete in any case.
    Raises WeightsError where no network is left to compete.
    """
    if request.known_weights:
        evidence = _with_weights_at_hand(request, evidence, measurements)
    if not request.from_scratch and not evidence.pretrained:
        raise WeightsError("no pretrained weights are at hand. Name some with `pretrained`.")
    return evidence


def _with_weights_at_hand(
    request: Request, evidence: Evidence, measurements: Measurements
) -> Evidence:
    pixels = native_pixels(evidence.audit)
    known = [row for row in measurements.known_weights() if not too_small(pixels, row.pixels)]
    found = dict(measurements.packaged_weights())
    found |= _fetched(_fitting(request, evidence, known, {*found}), measurements)
    if found:
        logger.info(f"pretrained weights at hand: {', '.join(found)}")
    return replace(
        evidence,
        pretrained={**found, **evidence.pretrained},
        found=frozenset(found) - evidence.pretrained.keys(),
    )


def _fitting(
    request: Request, evidence: Evidence, known: list[PretrainedWeights], at_hand: set[str]
) -> list[str]:
    """Returns the names of the known weights that fit the budget, the most promising first."""
    fitting: list[tuple[float, str]] = []
    for row in known:
        spec = replace(evidence.spec(row.member), resolution=row.pixels)
        name = f"{row.member}.{row.tag}"
        candidate = estimate_with_weights(request, evidence, name, spec, Pretraining(row.source))
        if candidate.excluded_by is None and row.member not in at_hand:
            fitting.append((candidate.error, name))
    return [name for _, name in sorted(fitting)]


def _fetched(names: list[str], measurements: Measurements) -> dict[str, Path]:
    """Fetches the first of these weights; gives up soon where there is no connection."""
    fetched: dict[str, Path] = {}
    refused: list[str] = []
    for name in names:
        if len(fetched) == MOST_FETCHED or len(refused) == MOST_REFUSED:
            break
        try:
            fetched[name] = measurements.fetch_weights(name)
        except WeightsError as error:
            refused.append(str(error))
    if refused:
        logger.info(f"known pretrained weights that cannot be fetched: {refused[0]}")
    return fetched
