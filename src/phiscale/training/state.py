"""What a training is at a moment, and what a run's folder says that it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from phiscale.arch.spec import Spec
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import CheckpointError
from phiscale.files import canonical, read_checked, remove_partial_files, sha256, write_checked
from phiscale.nn.network import Network
from phiscale.training.ema import Ema
from phiscale.training.recipes.recipe import Recipe, differences

logger = logging.getLogger(__name__)

RUN_FIX = "Restore it, or use another `out`."
DATA_FIELDS = {"train_images", "fingerprint", "notes", "skipped"}
"""Fields of data.json that images added, removed or edited change."""


@dataclass
class State:
    """All that a checkpoint holds."""

    network: Network  # what is optimised
    ema: Ema
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of fp16's losses; does nothing otherwise
    images_seen: int = 0
    evaluated: int = -1  # images seen at the last evaluation
    best_top1: float = -1.0
    stale: int = 0  # evaluations since the best one
    overflows: int = 0  # updates in a row that fp16 had no room for
    seconds: float = 0.0  # of training, over all starts
    log_bytes: int = 0  # log.jsonl up to here belongs to this state

    _PARTS = ("network", "ema", "optimizer", "scaler")
    _NUMBERS = (
        "images_seen",
        "evaluated",
        "best_top1",
        "stale",
        "overflows",
        "seconds",
        "log_bytes",
    )
    _ADDED: ClassVar[frozenset[str]] = frozenset()
    """Those of them that came after version 1: an older checkpoint lacks them."""

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        return parts | {name: getattr(self, name) for name in self._NUMBERS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = {*self._PARTS, *self._NUMBERS}
        if not known - self._ADDED <= state.keys() <= known:
            raise CheckpointError(
                "The checkpoint was written by another version of phiscale; this one cannot resume "
                "it. Use that version, or another `out`."
            )
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name in self._NUMBERS:
            setattr(self, name, state.get(name, getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is: resuming with another is refused."""

    spec: Spec
    images: ImageSet
    recipe: Recipe
    preprocessing: Preprocessing
    start_from: Path | None = None
    accept_changed_data: bool = False
    log_level: int = field(default=logging.INFO, compare=False)

    def log(self, message: str) -> None:
        """Says something of this run: quietly where it is part of a search."""
        logger.log(self.log_level, message)

    def digest(self) -> str:
        """Of what all processes of a training must have alike."""
        return sha256(canonical(self._files()))

    def begin_or_resume(self, run: Path) -> None:
        """Writes what this run is, or compares it with what the folder says it is."""
        remove_partial_files(run)
        for name, value in self._files().items():
            path = run / name
            if path.exists() and (run / "checkpoints").exists():
                self._compare(run, name, read_checked(path, RUN_FIX), value)
            write_checked(path, value)

    def _files(self) -> dict[str, dict[str, Any]]:
        images = self.images
        return {
            "recipe.json": self.recipe.to_dict(),
            "spec.json": self.spec.to_dict(),
            "data.json": {
                "source": images.source,
                "classes": list(images.classes),
                "train_images": len(images.train),
                "fingerprint": images.fingerprint(),
                "notes": list(images.notes),
                "preprocessing": self.preprocessing.to_dict(),
                "skipped": [asdict(file) for file in images.skipped],
                "start_from": str(self.start_from) if self.start_from else None,
            },
        }

    def _compare(
        self, run: Path, name: str, stored: Mapping[str, Any], value: Mapping[str, Any]
    ) -> None:
        """Compares values, so what an older phiscale did not write has its default."""
        as_now = _as_written_now(name, stored, str(run / name))
        changed = [each for each in differences(as_now, value) if each.name != "source"]
        if not changed:  # or only moved to another place
            return
        if name == "data.json" and {each.name for each in changed} <= DATA_FIELDS:
            if self.accept_changed_data:
                self.log(
                    f"the data are not those of the last start ({'; '.join(map(str, changed[:3]))})"
                )
                return
            raise CheckpointError(
                f"{run} was trained on other data: {'; '.join(map(str, changed[:5]))}. Put the old "
                "ones back, use `accept_changed_data=True` to resume with these, or use another "
                "`out`."
            )
        raise CheckpointError(
            f"{run} holds another run: {name} differs in {'; '.join(map(str, changed[:5]))}. "
            "Use the same arguments to resume it, or another `out`."
        )


def _as_written_now(name: str, stored: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What a file of a run holds, read and encoded again."""
    if name == "recipe.json":
        return Recipe.from_dict(stored, where).to_dict()
    if name == "spec.json":
        return Spec.from_dict(stored, where).to_dict()
    preprocessing = Preprocessing.from_dict(stored.get("preprocessing"), where).to_dict()
    return {**stored, "preprocessing": preprocessing}
