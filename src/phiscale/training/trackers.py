"""Trackers besides log.jsonl: TensorBoard always; MLflow and Weights & Biases if selected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from phiscale.errors import MissingExtra
from phiscale.files import read_json, write_json


class Tracker(Protocol):
    """A service that draws curves. A resumed run starts it again at the images seen so far."""

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
    """Logs to $MLFLOW_TRACKING_URI, or a folder beside the run; `mlflow.json` keeps the id."""

    def __init__(self) -> None:
        self.mlflow = _extra("mlflow")

    def start(self, run: Path, images_seen: int) -> None:
        stored = _stored_id(run / "mlflow.json")
        run_id = self.mlflow.start_run(
            run_id=stored, run_name=None if stored else run.name
        ).info.run_id
        write_json(run / "mlflow.json", {"id": run_id})
        client, self.last_steps = self.mlflow.MlflowClient(), {}
        for name in client.get_run(run_id).data.metrics:
            self.last_steps[name] = max(
                point.step for point in client.get_metric_history(run_id, name)
            )

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        """Leaves out what was logged before a kill: a resumed run repeats the same numbers."""
        new = {name: v for name, v in values.items() if images_seen > self.last_steps.get(name, -1)}
        if new:
            self.mlflow.log_metrics(new, step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.mlflow.end_run()


class WandB:
    """Logs to Weights & Biases, which drops repeated steps; `wandb.json` keeps the id."""

    def __init__(self) -> None:
        self.wandb = _extra("wandb")

    def start(self, run: Path, images_seen: int) -> None:
        stored = _stored_id(run / "wandb.json")
        self.run = self.wandb.init(id=stored, name=run.name, dir=str(run), resume="allow")
        write_json(run / "wandb.json", {"id": self.run.id})

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.run.log(dict(values), step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.run.finish()


def _stored_id(path: Path) -> str | None:
    """Returns the id that an earlier start of this run received."""
    return read_json(path)["id"] if path.exists() else None


TRACKERS: Mapping[str, Callable[[], Tracker]] = {"mlflow": MLflow, "wandb": WandB}


def _extra(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(f"track={name}", name, "track") from None
