"""Measures the linear probe of a variant on some of the images."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from phiscale.data.preprocessing import Preprocessing
from phiscale.nn.network import Network, build
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.variants import Variant
from phiscale.training.determinism import seeded
from phiscale.training.probe import drawn, fit_probe, pooled_features
from phiscale.weights.adapt import adapt_weights
from phiscale.weights.header import read_metadata
from phiscale.weights.store import fill, read

TIMED = 32  # images, after as many that are not timed


def measure_features_per_s(evidence: Evidence, variant: Variant) -> float:
    """Measures how many images per second are read and go through a variant's network."""
    network, preprocessing = _network(evidence, variant), _preprocessing(variant)
    split = drawn(evidence.images.train, TIMED)
    pooled_features(network, split, preprocessing, evidence.torch_device)  # plans its kernels
    start = time.monotonic()
    pooled_features(network, split, preprocessing, evidence.torch_device)
    return len(split) / max(1e-6, time.monotonic() - start)


def measure_probe(
    evidence: Evidence, variant: Variant, train_images: int, validation_images: int
) -> Probe:
    """Fits a linear classifier to the frozen features of so many images, and measures its error."""
    start = time.monotonic()
    network, preprocessing = _network(evidence, variant), _preprocessing(variant)
    splits = [
        drawn(evidence.images.train, train_images),
        drawn(evidence.images.validation, validation_images),
    ]
    train, validation = (
        (pooled_features(network, split, preprocessing, evidence.torch_device), split.labels)
        for split in splits
    )
    probe = fit_probe(train, validation, classes=len(evidence.images.classes))
    return Probe(
        error=1 - probe.validation_top1,
        train_images=len(splits[0]),
        validation_images=len(splits[1]),
        seconds=round(time.monotonic() - start, 2),
    )


def _network(evidence: Evidence, variant: Variant) -> Network:
    metadata, tensors = read(variant.weights)
    with seeded(0):
        network = build(variant.network)
    fresh = network.state_dict()
    adapted = adapt_weights(tensors, metadata.spec, variant.network, fresh, new_head=True)
    fill(network, adapted, variant.weights)
    network = network.to(evidence.torch_device).to(memory_format=torch.channels_last)
    return network.eval()


def _preprocessing(variant: Variant) -> Preprocessing:
    expected = read_metadata(variant.weights).preprocessing
    return replace(expected, size=variant.network.resolution)
