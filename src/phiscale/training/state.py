"""Training state, and the identity of a run."""

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
from phiscale.files import (
    canonical,
    differences,
    read_checked,
    remove_partial_files,
    sha256,
    write_checked,
)
from phiscale.files.run_files import CHECKPOINTS, DATA, RECIPE, SPEC
from phiscale.nn.network import Network
from phiscale.training.ema import Ema
from phiscale.training.recipes.recipe import Recipe

logger = logging.getLogger(__name__)

RUN_FIX = "Restore it, or use another `out`."
DATA_FIELDS = {"train_images", "fingerprint", "notes", "skipped"}
"""Fields of data.json that images added, removed or edited change."""


@dataclass
class State:
    """Training state: everything that a checkpoint holds.

    Names of fields are keys of checkpoints, so they are final.
    """

    network: Network  # its raw weights are what the optimiser updates
    ema: Ema
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # scales the loss for fp16; disabled for other precisions
    images_seen: int = 0
    evaluated: int = -1  # `images_seen` at the last evaluation; -1 before the first
    best_top1: float = -1.0  # best validation accuracy of the EMA weights; -1 before the first
    stale: int = 0  # evaluations since the best one; early stopping compares it with `patience`
    overflows: int = 0  # updates in a row skipped because fp16 gradients were not finite
    seconds: float = 0.0  # of training, over all starts of the run
    log_bytes: int = 0  # length of log.jsonl at this state; a resumed run cuts off what follows

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
    """Fields added after the first version: older checkpoints lack them."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what `torch.save` writes into a checkpoint."""
        parts = {name: getattr(self, name).state_dict() for name in self._PARTS}
        return parts | {name: getattr(self, name) for name in self._NUMBERS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a checkpoint. Raises CheckpointError if it has other fields."""
        keys = {*self._PARTS, *self._NUMBERS}
        if not keys - self._ADDED <= state.keys() <= keys:
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
    """Identity of a run, which is resumed only with an equal one, and how that is handled.

    `accept_changed_data` and `log_level` are no part of the identity.
    """

    spec: Spec
    images: ImageSet
    recipe: Recipe
    preprocessing: Preprocessing
    start_from: Path | None = None
    accept_changed_data: bool = False
    log_level: int = field(default=logging.INFO, compare=False)

    def log(self, message: str) -> None:
        """Logs a message about this run, at `log_level` (lower for the trials of a search)."""
        logger.log(self.log_level, message)

    def digest(self) -> str:
        """Returns a hash of everything that must be equal in all processes of a training."""
        return sha256(canonical(self._files()))

    def begin_or_resume(self, run: Path) -> None:
        """Writes this identity into the folder `run`, or compares it with the one stored there.

        Raises CheckpointError if the folder holds another run.
        """
        remove_partial_files(run)
        for name, value in self._files().items():
            path = run / name
            if path.exists() and (run / CHECKPOINTS).exists():
                self._compare(run, name, read_checked(path, RUN_FIX), value)
            write_checked(path, value)

    def _files(self) -> dict[str, dict[str, Any]]:
        images = self.images
        return {
            RECIPE: self.recipe.to_dict(),
            SPEC: self.spec.to_dict(),
            DATA: {
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
        """Raises CheckpointError if values differ; fields that an older file lacks get defaults."""
        as_now = _as_written_now(name, stored, str(run / name))
        changed = [each for each in differences(as_now, value) if each.name != "source"]
        if not changed:  # or only moved to another place
            return
        if name == DATA and {each.name for each in changed} <= DATA_FIELDS:
            if self.accept_changed_data:
                lines = "; ".join(map(str, changed[:3]))
                self.log(f"the data changed since the last start ({lines})")
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
    """Returns the contents of a run's file as this version would write them."""
    if name == RECIPE:
        return Recipe.from_dict(stored, where).to_dict()
    if name == SPEC:
        return Spec.from_dict(stored, where).to_dict()
    preprocessing = Preprocessing.from_dict(stored.get("preprocessing"), where).to_dict()
    return {**stored, "preprocessing": preprocessing}
