"""The metadata of a trained model: spec, preprocessing, classes, metrics.

This module needs no torch, so that a predictor without torch reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from phiscale.arch.families import name_of
from phiscale.arch.spec import Spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import WeightsError
from phiscale.files import Format


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """The metadata in a weights file or an exported model."""

    spec: Spec
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)  # with their conditions
    recipe: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""  # how the weights came about
    licence: str = ""  # as an SPDX name; empty where it is not known

    def __post_init__(self) -> None:
        if len(self.classes) != self.spec.classes:
            raise WeightsError(
                f"{len(self.classes)} class names, but {self.spec.classes} classes "
                "in the spec. Name each class once."
            )

    @property
    def member(self) -> str:
        """The registered model of this network, or ''. Classes, channels and pixels may differ."""
        return name_of(self.spec)

    def for_spec(self, spec: Spec) -> ModelMetadata:
        """Returns the metadata of an adapted network. New classes are called by their numbers."""
        same = spec.classes == self.spec.classes
        names = self.classes if same else tuple(map(str, range(spec.classes)))
        return replace(self, spec=spec, classes=names)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, complete and versioned."""
        return FORMAT.encode(self)

    @staticmethod
    def from_dict(data: Any, where: str = "the metadata") -> ModelMetadata:
        """The inverse of `to_dict`. Raises WeightsError, which names `where`."""
        return FORMAT.decode(data, where)


FORMAT = Format(
    ModelMetadata,
    "phiscale_metadata",
    WeightsError,
    "Copy the file or train it again.",
)
