"""Where figures go besides log.jsonl: TensorBoard always, others when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from phiscale.errors import MissingExtra


class Tracker(Protocol):
    """What draws curves. A resumed run starts it again at the images seen so far."""

    def start(self, run: Path, images_seen: int) -> None: ...

    def log(self, values: Mapping[str, float], images_seen: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    def start(self, run: Path, images_seen: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=images_seen + 1)

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        for name, value in values.items():
            self.board.add_scalar(name, value, images_seen)

    def flush(self) -> None:
        self.board.flush()

    def close(self) -> None:
        self.board.close()


class MLflow:
    """Runs by the folder's name, in $MLFLOW_TRACKING_URI or a folder beside the run."""

    def start(self, run: Path, images_seen: int) -> None:
        self.mlflow = _extra("mlflow")
        named = f"tags.mlflow.runName = '{run.name}'"
        found = self.mlflow.search_runs(filter_string=named, output_format="list")
        known = found[0].info.run_id if found else None
        self.mlflow.start_run(run_id=known, run_name=None if known else run.name)

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.mlflow.log_metrics(dict(values), step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.mlflow.end_run()


class WandB:
    """Runs by the folder's name, resumed by it."""

    def start(self, run: Path, images_seen: int) -> None:
        wandb = _extra("wandb")
        self.run = wandb.init(id=run.name, name=run.name, dir=str(run), resume="allow")

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.run.log(dict(values), step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.run.finish()


TRACKERS: Mapping[str, Callable[[], Tracker]] = {"mlflow": MLflow, "wandb": WandB}


def _extra(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(f"--track {name}", name, "track") from None
