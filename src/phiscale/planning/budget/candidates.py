"""A candidate: a network with its costs, its predicted error and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phiscale.arch.costs import Cost
from phiscale.arch.spec import Spec
from phiscale.planning.budget.limits import Limit, percent

_COLUMNS = (
    "name",
    "predicted_error",
    "macs",
    "params",
    "latency_ms",
    "train_images_per_s",
    "epochs",
    "pretrained",
    "excluded_by",
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network with its costs, its predicted error and the limits it was checked against."""

    name: str
    spec: Spec
    depth: float  # multipliers over the law's base, as built: blocks, channels, pixels
    width: float
    resolution: float
    cost: Cost
    error: float  # predicted, a fraction; of very small networks above 1: only its order counts
    limits: tuple[Limit, ...] = ()
    latency_ms: float | None = None
    train_images_per_s: float | None = None
    images_seen: int | None = None  # in this training
    epochs: float | None = None
    pretrained: str | None = None  # where its weights come from
    pretrained_images: int = 0  # images that its weights have seen, which the law counts too
    family_offset: float = 0.0  # extra error of its family at the same scaling, as Lite has
    probe_error: float | None = None  # measured, of a linear classifier on its frozen features

    @property
    def excluded_by(self) -> str | None:
        """The limits that it exceeds, in words; None if it is within all of them."""
        return ", ".join(str(limit) for limit in self.limits if not limit.met) or None

    @property
    def may_only_lack_time(self) -> bool:
        """Whether it is within all limits but, perhaps, that of the training minutes."""
        return all(limit.met or limit.name == "train_minutes" for limit in self.limits)

    @property
    def shown_error(self) -> float:
        """The predicted error, but not more than guessing has where all classes are as frequent."""
        classes = self.spec.classes
        return min(self.error, 1 - 1 / classes) if classes > 1 else self.error

    @property
    def allowed(self) -> dict[str, float]:
        """The limits that it was checked against, by name."""
        return {limit.name: limit.allowed for limit in self.limits}

    def to_dict(self) -> dict[str, Any]:
        """A row of plain numbers: what `solve --json` and `choice.json` hold.

        `depth_x`, `width_x`, `resolution_x`: multipliers over the base. `predicted_error`: a
        fraction, never above that of guessing. `probe_error`: measured, of a linear probe.
        """
        return {
            "name": self.name,
            "depth_x": self.depth,
            "width_x": self.width,
            "resolution_x": self.resolution,
            "pixels": self.spec.resolution,
            "predicted_error": self.shown_error,
            "macs": self.cost.macs,
            "params": self.cost.params,
            "weight_bytes": self.cost.weight_bytes,
            "latency_ms": self.latency_ms,
            "train_images_per_s": self.train_images_per_s,
            "images_seen": self.images_seen,
            "epochs": self.epochs,
            "pretrained": self.pretrained,
            "probe_error": self.probe_error,
            "excluded_by": self.excluded_by,
        }


def table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a terminal shows of `Candidate.to_dict()`: the main columns, the error in %."""
    shown = {name: row[name] for name in _COLUMNS}
    return shown | {"predicted_error": percent(row["predicted_error"])}
