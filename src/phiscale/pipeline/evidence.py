"""What is known when a network is selected, and what each step adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.data.audit import Audit
from phiscale.data.datasets.dataset import ImageSet
from phiscale.pipeline.fine_tuning import Probe
from phiscale.pipeline.request import LoadedInputs, Request
from phiscale.pipeline.suitable import has_small_images
from phiscale.pipeline.variants import Variant
from phiscale.planning.budget import Candidate, Solution
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws import ErrorLaw
from phiscale.planning.priors import law_for
from phiscale.weights.header import read_metadata

# Extra top-1 error of a family at the same scaling, compared with EfficientNet-B0. Lite0 has 75.1 %
# top-1 where B0 has 76.7 %: ImageNet, both without AutoAugment, from the READMEs of
# tensorflow/tpu's EfficientNet and EfficientNet-Lite.
FAMILY_OFFSETS = {"efficientnet_lite0": 0.016}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known when a network is selected. Each step returns it with more."""

    images: ImageSet
    audit: Audit
    device_model: DeviceModel  # where the model is to run; corrected by measured training speeds
    torch_device: torch.device  # where torch trains
    bases: tuple[str, ...]  # models whose scalings compete from scratch
    law: ErrorLaw
    coefficients: Coefficients | None = None  # scalings by these alone compete
    pretrained: Mapping[str, Path] = field(default_factory=dict)  # weights files by name
    found: frozenset[str] = frozenset()  # of them those that nobody named: "auto" found them
    variants: tuple[Variant, ...] = ()  # of the pretrained networks
    latencies: Mapping[str, float] = field(default_factory=dict)  # measured ms, by variant
    probes: Mapping[str, Probe] = field(default_factory=dict)  # measured, by variant
    pretrained_speeds: Mapping[str, float] = field(default_factory=dict)  # images/s, by variant
    proposal: Solution | None = None  # all candidates, by the law and the device model
    finalists: tuple[Candidate, ...] = ()  # best of the proposal, at their measured speeds
    pretrained_candidates: tuple[Candidate, ...] = ()  # all of them, at their measured speeds
    ranking: Solution | None = None  # finalists and pretrained candidates, by measured speeds
    winner: Candidate | None = None  # the best of the ranking, or of the short runs
    short_runs: tuple[Mapping[str, Any], ...] = ()  # a row for each finalist
    remark: str = ""  # on the short runs, for `Choice.why`
    seconds_used: float = 0.0  # of the training time, by measurements and short runs

    @property
    def base(self) -> Spec:
        """The network that the law's multipliers refer to."""
        return self.spec(self.bases[0])

    def spec(self, name: str) -> Spec:
        """Returns a registered model's spec, with as many classes as the images have."""
        return replace(get_spec(name), classes=len(self.images.classes))

    def pretrained_network(self, weights: Path) -> Spec:
        """Returns the network of a weights file, with as many classes as the images have."""
        return replace(read_metadata(weights).spec, classes=len(self.images.classes))

    @property
    def largest_class_error(self) -> float:
        """The error of always naming the class with the most training images."""
        labels = self.images.train.labels
        return 1 - float(np.bincount(labels).max()) / len(labels)

    def used(self, seconds: float) -> Evidence:
        """Counts seconds of the training time as used."""
        return replace(self, seconds_used=self.seconds_used + seconds)


def first_evidence(
    request: Request,
    inputs: LoadedInputs,
    audit: Audit,
    device_model: DeviceModel,
    torch_device: torch.device,
) -> Evidence:
    """Returns what is known before the first step."""
    bases = (request.base,) if request.base else bases_for(audit)
    over = replace(get_spec(bases[0]), classes=len(inputs.images.classes))
    coefficients = inputs.coefficients
    found_law = coefficients.law_over(over) if coefficients else None
    return Evidence(
        images=inputs.images,
        audit=audit,
        device_model=device_model,
        torch_device=torch_device,
        bases=bases,
        law=inputs.law or found_law or law_for(over),
        coefficients=coefficients,
        pretrained=inputs.pretrained,
    )


def bases_for(audit: Audit) -> tuple[str, ...]:
    """Returns the models whose scalings compete; the law's multipliers refer to the first."""
    return ("small",) if has_small_images(audit) else ("efficientnet_b0", *FAMILY_OFFSETS)
