"""What a `fit` measures or fetches: everything in choosing a network that is no computation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from phiscale.arch.spec import Spec
from phiscale.deploy.calibrate import calibrate, measure_latency_ms
from phiscale.pipeline.candidate_training import error_after, measure_training_speed
from phiscale.pipeline.evidence import Evidence
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.probe_measurement import measure_features_per_s, measure_probe
from phiscale.pipeline.request import Request
from phiscale.pipeline.variants import Variant
from phiscale.planning.budget import Candidate
from phiscale.planning.device import DeviceModel
from phiscale.weights.packaged import installed_weights
from phiscale.weights.pretrained import PretrainedWeights, default_weights
from phiscale.weights.sources import weights_file


class MeasureSpeed(Protocol):
    """Measures images per second of a candidate's training, for about `seconds`."""

    def __call__(
        self, request: Request, evidence: Evidence, candidate: Candidate, seconds: float
    ) -> float: ...


def system_load() -> float:
    """Returns the mean number of busy threads in the last minute; 0 where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def busy_warning(load: float, cores: int) -> str:
    """Returns a sentence where other programs use more than half of the cores, else nothing."""
    if load <= cores / 2:
        return ""
    return (
        f"this machine is busy: {load:.1f} threads run on its {cores} cores. Speed and latency are "
        "measured beside them, so the model may be smaller and the training longer than planned. "
        "End other programs for better results."
    )


def packaged_weights() -> dict[str, Path]:
    """Returns the weights files of the installed packages by their models' names."""
    return {name: weights_file(name) for name in installed_weights()}


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """How a `fit` measures, trains briefly and fetches weights. Tests pass fixed figures."""

    calibrate: Callable[[torch.device], DeviceModel] = calibrate
    latency_ms: Callable[[Spec], float] = measure_latency_ms
    features_per_s: Callable[[Evidence, Variant], float] = measure_features_per_s
    probe: Callable[[Evidence, Variant, int, int], Probe] = measure_probe
    images_per_s: MeasureSpeed = measure_training_speed
    error_after: Callable[[Request, Evidence, Candidate, float, Path], float] = error_after
    clock: Callable[[], float] = time.monotonic
    load: Callable[[], float] = system_load
    packaged_weights: Callable[[], Mapping[str, Path]] = packaged_weights
    known_weights: Callable[[], Sequence[PretrainedWeights]] = default_weights
    fetch_weights: Callable[[str], Path] = weights_file
    export_latency_s: float = 2.0  # how long the exported network is timed
    least_short_run_s: float = 30.0  # shorter ones do not separate networks
    least_short_run_epochs: float = 2.0  # after fewer, errors predict the whole training badly
