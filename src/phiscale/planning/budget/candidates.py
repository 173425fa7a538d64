"""A candidate: a network with its costs, its predicted error and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phiscale.arch.costs import Cost
from phiscale.arch.spec import Spec
from phiscale.planning.budget.limits import Limit


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network with its costs, its predicted error and the limits it was checked against."""

    name: str
    spec: Spec
    depth: float  # multipliers over the law's base, as built: blocks, channels, pixels
    width: float
    resolution: float
    cost: Cost
    error: float  # predicted, a fraction; far below the base only a rank, which may exceed 1
    limits: tuple[Limit, ...] = ()
    latency_ms: float | None = None
    train_images_per_s: float | None = None
    images_seen: int | None = None  # in this training
    epochs: float | None = None
    pretrained: str | None = None  # where its weights come from
    pretrained_images: int = 0  # images that its weights have seen, which the law counts too
    family_offset: float = 0.0  # error of its family beyond the law's, at the same scaling

    @property
    def excluded_by(self) -> str | None:
        """The limits that it exceeds, in words; None if it is within all of them."""
        return ", ".join(str(limit) for limit in self.limits if not limit.met) or None

    @property
    def allowed(self) -> dict[str, float]:
        """The limits that it was checked against, by name."""
        return {limit.name: limit.allowed for limit in self.limits}

    def to_dict(self) -> dict[str, Any]:
        """The numbers of a table's row."""
        return {
            "name": self.name,
            "depth": self.depth,
            "width": self.width,
            "resolution": self.resolution,
            "pixels": self.spec.resolution,
            "error": self.error,
            "macs": self.cost.macs,
            "params": self.cost.params,
            "weight_bytes": self.cost.weight_bytes,
            "latency_ms": self.latency_ms,
            "train_images_per_s": self.train_images_per_s,
            "images_seen": self.images_seen,
            "epochs": self.epochs,
            "pretrained": self.pretrained,
            "ruled_out": self.excluded_by,
        }
