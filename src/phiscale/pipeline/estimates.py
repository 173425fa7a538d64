"""Estimates of candidates for a request: their cost, training time and error, from the evidence."""

from __future__ import annotations

from dataclasses import replace

from phiscale.arch.spec import Spec
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.request import Request
from phiscale.pipeline.suitable import native_pixels, suitable_recipe
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
    """Estimates the networks with weights at hand, with new heads for the images' classes."""
    candidates = []
    for name, path in evidence.pretrained.items():
        metadata = read_metadata(path)
        images_seen = metadata.metrics.get("validation", {}).get("images_seen")
        candidates.append(
            estimate_with_weights(
                request, evidence, name, metadata.spec, _pretraining(str(path), images_seen)
            )
        )
    return candidates


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
    return estimate(
        candidate.spec,
        budget,
        task=replace(task, min_epochs=min_epochs),
        name=candidate.name,
        pretraining=Pretraining(weights, candidate.pretrained_images) if weights else None,
        images_per_s=images_per_s,
        family_offset=candidate.family_offset,
    )


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
