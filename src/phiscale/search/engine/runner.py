"""Where a plan is carried out, and by how many workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phiscale.data.batches import core_count
from phiscale.errors import UsageError
from phiscale.files.run_files import CHECKPOINTS, WEIGHTS
from phiscale.files.values import check_at_least
from phiscale.search.engine.database import normalized_url, open_storage, sqlite_url
from phiscale.search.engine.folder import (
    DatasetInfo,
    begin_or_resume,
    recorded_device_type,
)
from phiscale.search.engine.result import Result, Results
from phiscale.search.engine.store import HEARTBEAT_TIMEOUT_S, Store
from phiscale.search.engine.trial import Trial
from phiscale.training.devices import compute_device

if TYPE_CHECKING:
    from phiscale.data.datasets.dataset import ImageSet
    from phiscale.training.runtime import Runtime

Train = Callable[[Trial, "ImageSet", Path, "Runtime"], Result]


def train_with_torch(trial: Trial, images: ImageSet, run: Path, runtime: Runtime) -> Result:
    """Trains a trial. Importing this module imports no torch."""
    from phiscale.search.engine.train_trial import train_trial

    return train_trial(trial, images, run, runtime)


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """Folder, database, device and workers of a plan.

    Only the type of the device changes results, in their last digits: a study keeps to the one it
    was begun on.
    """

    out: Path
    storage: str | None = None  # None: an SQLite file in `out`
    name: str = "phiscale"
    workers: int = 1
    device: str = "cpu"
    heartbeat_timeout_s: float = HEARTBEAT_TIMEOUT_S  # a silent worker counts as dead after it
    plan_id: Mapping[str, Any] = field(default_factory=dict)  # kind, hash, type of device
    train: Train = train_with_torch  # trains a trial in its folder; may raise
    start: Literal["forkserver", "spawn", "fork"] = "forkserver"  # imports torch once for all

    @property
    def results(self) -> Results:
        """The results in `out`."""
        return Results(self.out / "results")

    @property
    def database(self) -> Path:
        """The SQLite file that is used without another storage."""
        return self.out / "study.db"

    def store(self) -> Store:
        """Opens the queue of trials."""
        self.out.mkdir(parents=True, exist_ok=True)
        return Store(
            self.storage or sqlite_url(self.database),
            self.name,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
        )

    def begin_or_resume(
        self, kind: str, dataset: DatasetInfo, plan: Mapping[str, Any]
    ) -> RunnerConfig:
        """Begins or resumes a plan in the folder. Returns the settings with the plan's identity.

        A server is tried first, so that a mistyped address leaves nothing behind. UsageError: the
        folder belongs to another plan.
        """
        if self.storage is not None:
            open_storage(normalized_url(self.storage), self.heartbeat_timeout_s).engine.dispose()
        plan_id = begin_or_resume(self.out, kind, dataset, plan)
        return replace(self, plan_id={**plan_id, "device": self.device_type})

    @property
    def device_type(self) -> str:
        """`cpu`, `cuda`, ...: the device without its number."""
        return self.device.partition(":")[0]

    def run_of(self, key: str) -> Path | None:
        """Returns the folder of a finished training, if it ran here."""
        runs = (path.parent for path in (self.out / "trainings").glob(f"{key}*/{WEIGHTS}"))
        # an abandoned training has a best network, too, but still has its checkpoints
        return min(runs, key=lambda run: ((run / CHECKPOINTS).exists(), run), default=None)


def runner_for(
    out: Path,
    storage: str | None,
    study_name: str,
    workers: int | None,
    threads: int,
    device: str,
) -> RunnerConfig:
    """Returns how the trainings of a public function run.

    `workers`: by default one for each core, or one on a GPU. The device "auto" is that of the
    earlier start in `out`. UsageError: an argument is out of range, or `storage` is no database.
    """
    check_at_least(1, workers=workers, threads=threads)
    if not study_name or study_name != study_name.strip():
        raise UsageError("`study_name` is empty or has spaces around it. Use a plain name.")
    if storage is not None:
        normalized_url(storage)  # raises where it is no database
    kind = compute_device(device).type
    if device == "auto" and (earlier := recorded_device_type(out)):
        with suppress(UsageError):  # it may not be on this machine
            kind = compute_device(earlier).type
    usual = max(1, core_count() // threads) if kind == "cpu" else 1
    return RunnerConfig(
        out=out, storage=storage, name=study_name, device=kind, workers=workers or usual
    )
