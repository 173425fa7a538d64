"""Figures go to TensorBoard always, and to others through the same four methods."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import MissingExtra
from phiscale.files import read_json
from phiscale.training import trackers
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.trackers import TRACKERS, MLflow

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
RECIPE = Recipe(epochs=0.3, batch=64, evaluations=2, optim=Optim(lr_peak=0.05))


class Recorder:
    """A tracker that keeps what it receives."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.values: list[tuple[int, Mapping[str, float]]] = []
        self.closed = 0

    def start(self, run: Path, images_seen: int) -> None:
        self.began.append(images_seen)

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.values.append((images_seen, values))

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed += 1


def run(out: Path, tracker: trackers.Tracker) -> None:
    train(
        out,
        SPEC,
        open_dataset("digits"),
        RECIPE,
        Preprocessing(size=8, crop=1.0),
        Runtime(trackers=[tracker]),
    )


def test_a_tracker_receives_every_step_and_evaluation_once(tmp_path: Path):
    recorder = Recorder()
    run(tmp_path / "run", recorder)
    steps = [r for r in read_log(tmp_path / "run") if "loss" in r]
    logged_at = [seen for seen, values in recorder.values if "train/loss" in values]
    assert logged_at == [r["images_seen"] for r in steps] and (recorder.began, recorder.closed) == (
        [0],
        1,
    )
    tops = [values for _, values in recorder.values if "validation/top1" in values]
    assert len(tops) == 2 and all("validation/raw_top1" in values for values in tops)
    assert {
        "train/lr",
        "train/wait_share",
        "train/memory_bytes",
        "train/images_per_s",
    } <= recorder.values[0][1].keys()


def test_mlflow_stores_a_run_in_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    run(tmp_path / "named", MLflow())
    run(tmp_path / "named", MLflow())  # resumed, with nothing left to do
    replayed = MLflow()  # as after a kill: the same steps again, from an earlier checkpoint
    replayed.start(tmp_path / "named", 0)
    replayed.log({"train/loss": 1.0}, 64)
    replayed.close()
    run(tmp_path / "elsewhere" / "named", MLflow())  # another run, though of the same name
    run_id = read_json(tmp_path / "named" / "mlflow.json")["id"]
    every = mlflow.search_runs(output_format="list")
    assert [r.info.run_name for r in every] == ["named", "named"]
    (mlflow_run,) = (r for r in every if r.info.run_id == run_id)
    steps = [r for r in read_log(tmp_path / "named") if "loss" in r]
    history = mlflow.MlflowClient().get_metric_history(mlflow_run.info.run_id, "train/loss")
    assert [(h.step, h.value) for h in history] == [
        (r["images_seen"], pytest.approx(r["loss"])) for r in steps
    ]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_names_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtra, match=rf"track={name} needs .*phiscale\[track\]"):
        TRACKERS[name]()  # before anything else is done
