"""Second step of a choice: what of the pretrained variants is measured, since predictions of it are
poor: their latency, and the error of a linear probe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phiscale.arch.costs import cost
from phiscale.errors import UsageError
from phiscale.pipeline.estimates import estimate_pretrained, task_for
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import native_pixels
from phiscale.pipeline.variants import Variant, VariantLimits, variants_of

logger = logging.getLogger(__name__)

PROBE_SHARE = 0.12  # of the training minutes, for all probes together
PROBE_SECONDS = 120.0  # where there is no limit of minutes
MOST_TRAIN, MOST_VALIDATION = 6000, 2000  # images: more hardly change a probe
LEAST_TRAIN, LEAST_OF_CLASS = 100, 5  # images: fewer measure nothing


def probe_pretrained(request: Request, evidence: Evidence, measurements: Measurements) -> Evidence:
    """Measures the latency of every variant that may be within the limit, then probes those that
    are within all limits.

    What does not fit into the time for probes is left out, of the most expensive first.
    """
    evidence = _with_variants(request, evidence)
    evidence = _with_latencies(request, evidence, measurements)
    fitting = {
        candidate.name
        for candidate in estimate_pretrained(request, evidence)
        if candidate.may_only_lack_time
    }
    variants = [variant for variant in evidence.variants if variant.name in fitting]
    if not variants or not len(evidence.images.validation):
        return evidence
    start = measurements.clock()
    plan = plan_probes(
        [cost(variant.network).macs for variant in variants],
        seconds_per_image=1 / measurements.features_per_s(evidence, variants[0]),
        seconds=_seconds(request),
        train=len(evidence.images.train),
        validation=len(evidence.images.validation),
        classes=len(evidence.images.classes),
    )
    probes: dict[str, Probe] = {}
    for variant in variants[: plan.variants]:
        probe = measurements.probe(evidence, variant, plan.train_images, plan.validation_images)
        probes[variant.name] = probe
        logger.info(
            f"{variant.name}: linear probe on {probe.train_images} images has "
            f"{100 * probe.error:.1f} % top-1 error"
        )
    if left_out := [variant.name for variant in variants[plan.variants :]]:
        logger.info(f"not probed, since these minutes are too few: {', '.join(left_out)}")
    kept = tuple(each for each in evidence.variants if each.name not in left_out)
    return replace(evidence, probes=probes, variants=kept).used(measurements.clock() - start)


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """How many variants are probed, the cheapest first, and on how many images each."""

    variants: int
    train_images: int
    validation_images: int


def plan_probes(
    macs: Sequence[float],
    *,
    seconds_per_image: float,
    seconds: float,
    train: int,
    validation: int,
    classes: int,
) -> ProbePlan:
    """Spreads the seconds over as many variants as can be probed on enough images.

    `macs`: of each variant. `seconds_per_image`: of the first one; the others take as much more as
    they have MACs. `train`, `validation`, `classes`: of the image set.
    """
    order = sorted(macs)
    most = min(train, MOST_TRAIN) + min(validation, MOST_VALIDATION)
    least = min(most, max(LEAST_TRAIN, LEAST_OF_CLASS * classes) * 3 // 2)

    def images_each(count: int) -> int:
        return min(most, int(seconds * macs[0] / (seconds_per_image * sum(order[:count]))))

    enough = [count for count in range(1, len(order) + 1) if images_each(count) >= least]
    count = max(enough, default=1)
    images = max(images_each(count), least)
    validated = min(validation, MOST_VALIDATION, max(1, images // 3))
    return ProbePlan(
        variants=count,
        train_images=max(1, min(train, MOST_TRAIN, images - validated)),
        validation_images=validated,
    )


def _with_variants(request: Request, evidence: Evidence) -> Evidence:
    limits = VariantLimits(
        budget=request.budget,
        device_model=evidence.device_model,
        native_pixels=native_pixels(evidence.audit),
        batch=task_for(request, evidence, pretrained=True).memory_batch(),
    )
    variants: list[Variant] = []
    for name, weights in evidence.pretrained.items():
        network = evidence.pretrained_network(weights)
        found = variants_of(name, weights, network, limits, named=name not in evidence.found)
        if not found:
            logger.info(
                f"{name} does not compete: images of {limits.native_pixels} px would be enlarged "
                f"too much. To let it compete, name it with `pretrained`"
            )
        variants += found
    if not variants and not request.from_scratch:
        raise UsageError(
            "`from_scratch=False` leaves no network to choose: no pretrained network is for images "
            f"of {limits.native_pixels} px. Name weights with `pretrained`."
        )
    ordered = sorted(variants, key=lambda variant: cost(variant.network).macs)
    return replace(evidence, variants=tuple(ordered))


def _with_latencies(request: Request, evidence: Evidence, measurements: Measurements) -> Evidence:
    """Measures the latency of the variants here: a wrong device model must not exclude them."""
    allowed = request.budget.latency_ms
    if allowed is None or request.targets_other_device:
        return evidence
    latencies: dict[str, float] = {}
    for variant in evidence.variants:
        latencies[variant.name] = measurements.latency_ms(variant.network)
        logger.info(
            f"{variant.name}: {latencies[variant.name]:.3g} ms measured, {allowed:g} ms allowed"
        )
    return replace(evidence, latencies=latencies)


def _seconds(request: Request) -> float:
    minutes = request.budget.train_minutes
    return PROBE_SECONDS if minutes is None else 60 * minutes * PROBE_SHARE
