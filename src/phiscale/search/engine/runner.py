"""Where a plan is carried out, and by how many: the settings of workers, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phiscale.search.engine.database import normalized_url, open_storage, sqlite_url
from phiscale.search.engine.folder import DatasetInfo, pin_folder
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.store import HEARTBEAT_TIMEOUT_S, Store
from phiscale.search.engine.trial import Trial

if TYPE_CHECKING:
    from phiscale.data.datasets.dataset import ImageSet
    from phiscale.training.runtime import Runtime

Train = Callable[[Trial, "ImageSet", Path, "Runtime"], Result]


def train_with_torch(trial: Trial, images: ImageSet, run: Path, runtime: Runtime) -> Result:
    """Trains it; torch is only imported where that happens."""
    from phiscale.search.engine.train_trial import train_trial

    return train_trial(trial, images, run, runtime)


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """Where a plan is carried out, and by how many. Of all this only the type of the device changes
    results, in their last digits: a study keeps to the one it was begun on."""

    out: Path
    storage: str | None = None  # None: an SQLite file in `out`
    name: str = "phiscale"
    workers: int = 1
    device: str = "cpu"
    heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S
    attrs: Mapping[str, Any] = field(default_factory=dict)  # of the plan, for the dashboard
    train: Train = train_with_torch  # in the folder of the training; may raise
    start: Literal["forkserver", "spawn", "fork"] = "forkserver"  # imports torch once for all

    @property
    def results(self) -> Results:
        return Results(self.out / "results")

    @property
    def database(self) -> Path:
        """SQLite's file, where there is no other storage."""
        return self.out / "study.db"

    def store(self) -> Store:
        self.out.mkdir(parents=True, exist_ok=True)
        return Store(
            self.storage or sqlite_url(self.database),
            self.name,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
        )

    def pinned(self, kind: str, dataset: DatasetInfo, plan: Mapping[str, Any]) -> RunnerConfig:
        """The same in a folder that is this plan's from here on. A server is tried before, so that
        a mistyped address leaves nothing behind. UsageError: the folder is of another plan."""
        if self.storage is not None:
            open_storage(normalized_url(self.storage), self.heartbeat_timeout_s).engine.dispose()
        kept = pin_folder(self.out, kind, dataset, plan)
        return replace(self, attrs={**kept, "device": self.device_type})

    @property
    def device_type(self) -> str:
        return self.device.partition(":")[0]

    def run_of(self, key: str) -> Path | None:
        """The folder of a finished training, if it was done here."""
        found = (path.parent for path in (self.out / "trainings").glob(f"{key}*/best.safetensors"))
        # one that was lost in its midst has a best network, too, but is not tidied
        return min(found, key=lambda run: ((run / "checkpoints").exists(), run), default=None)
