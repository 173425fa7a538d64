"""Where figures go besides log.jsonl: TensorBoard always, others when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from phiscale.errors import MissingExtra
from phiscale.files import read_json, write_json


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
    """In $MLFLOW_TRACKING_URI, or a folder beside the run; which run it is, `mlflow.json` keeps."""

    def __init__(self) -> None:
        self.mlflow = _extra("mlflow")

    def start(self, run: Path, images_seen: int) -> None:
        known = _known(run / "mlflow.json")
        own = self.mlflow.start_run(run_id=known, run_name=None if known else run.name).info.run_id
        write_json(run / "mlflow.json", {"id": own})
        client, self.heard = self.mlflow.MlflowClient(), {}
        for name in client.get_run(own).data.metrics:
            self.heard[name] = max(point.step for point in client.get_metric_history(own, name))

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        """What a run that was killed has told already, it tells again with the same numbers."""
        new = {name: v for name, v in values.items() if images_seen > self.heard.get(name, -1)}
        if new:
            self.mlflow.log_metrics(new, step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.mlflow.end_run()


class WandB:
    """Drops by itself what a run that was killed tells again; its id is kept in `wandb.json`."""

    def __init__(self) -> None:
        self.wandb = _extra("wandb")

    def start(self, run: Path, images_seen: int) -> None:
        known = _known(run / "wandb.json")
        self.run = self.wandb.init(id=known, name=run.name, dir=str(run), resume="allow")
        write_json(run / "wandb.json", {"id": self.run.id})

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.run.log(dict(values), step=images_seen)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.run.finish()


def _known(path: Path) -> str | None:
    """The id that an earlier start of this run has got."""
    return read_json(path)["id"] if path.exists() else None


TRACKERS: Mapping[str, Callable[[], Tracker]] = {"mlflow": MLflow, "wandb": WandB}


def _extra(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(f"track={name}", name, "track") from None
