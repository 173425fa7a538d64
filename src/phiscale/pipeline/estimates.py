"""Estimates of candidates for a request: their cost, training time and error, from the evidence."""

from __future__ import annotations

from dataclasses import replace

from phiscale.arch.spec import Spec
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.fine_tuning import fine_tuned_error
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import native_pixels, suitable_recipe
from phiscale.pipeline.variants import Variant
from phiscale.planning.budget import (
    MAX_EPOCHS,
    Budget,
    Candidate,
    PlanningTask,
    Pretraining,
    estimate,
)
from phiscale.weights.header import read_metadata


def estimate_pretrained(request: Request, evidence: Evidence) -> list[Candidate]:
    """Estimates the variants of the pretrained networks, with what has been measured of them."""
    return [estimate_variant(request, evidence, variant) for variant in evidence.variants]


def estimate_variant(request: Request, evidence: Evidence, variant: Variant) -> Candidate:
    """Estimates one variant of a pretrained network."""
    images_seen = read_metadata(variant.weights).metrics.get("validation", {}).get("images_seen")
    pretraining = _pretraining(str(variant.weights), images_seen)
    candidate = estimate_with_weights(request, evidence, variant.name, variant.network, pretraining)
    return as_measured(evidence, candidate)


def as_measured(evidence: Evidence, candidate: Candidate) -> Candidate:
    """Returns the candidate with its measured latency, and the error that its probe promises.

    A probe fits into any training time, and it is never lost.
    """
    latency = evidence.latencies.get(candidate.name)
    if latency is not None:
        candidate = _with_limit(replace(candidate, latency_ms=latency), "latency_ms", latency)
    probe = evidence.probes.get(candidate.name)
    if probe is None:
        return candidate
    error = fine_tuned_error(probe, len(evidence.images.train), candidate.images_seen)
    candidate = replace(candidate, error=error, probe_error=probe.error)
    return _with_limit(candidate, "train_minutes", probe.seconds / 60)


def _with_limit(candidate: Candidate, name: str, value: float) -> Candidate:
    limits = (
        replace(each, value=value) if each.name == name else each for each in candidate.limits
    )
    return replace(candidate, limits=tuple(limits))


def estimate_with_weights(
    request: Request, evidence: Evidence, name: str, spec: Spec, pretraining: Pretraining
) -> Candidate:
    """Estimates a pretrained network, with a new head for the classes of the images."""
    return estimate(
        replace(spec, classes=len(evidence.images.classes)),
        request.budget,
        task=task_for(request, evidence, pretrained=True),
        name=name,
        pretraining=pretraining,
        images_per_s=evidence.pretrained_speeds.get(name),
    )


def estimate_again(
    request: Request,
    evidence: Evidence,
    candidate: Candidate,
    *,
    budget: Budget,
    images_per_s: float | None,
    min_epochs: float,
) -> Candidate:
    """Estimates the same candidate under another budget or at another training speed."""
    weights = candidate.pretrained
    task = task_for(request, evidence, pretrained=weights is not None)
    estimated = estimate(
        candidate.spec,
        budget,
        task=replace(task, min_epochs=min_epochs),
        name=candidate.name,
        pretraining=Pretraining(weights, candidate.pretrained_images) if weights else None,
        images_per_s=images_per_s,
        family_offset=candidate.family_offset,
    )
    return as_measured(evidence, estimated)


def task_for(request: Request, evidence: Evidence, *, pretrained: bool = False) -> PlanningTask:
    """Returns what is planned for: the images, the device and the law."""
    recipe = suitable_recipe(evidence.images, evidence.audit, pretrained=pretrained)
    return PlanningTask(
        train_images=len(evidence.images.train),
        native_pixels=native_pixels(evidence.audit),
        device_model=evidence.device_model,
        law=evidence.law,
        coefficients=evidence.coefficients,
        batch=recipe.batch,
        min_epochs=request.min_epochs,
        max_epochs=MAX_EPOCHS if request.budget.train_minutes else recipe.epochs,
        law_base=evidence.base,
    )


def _pretraining(weights: str, images_seen: int | None) -> Pretraining:
    return Pretraining(weights) if images_seen is None else Pretraining(weights, images_seen)
