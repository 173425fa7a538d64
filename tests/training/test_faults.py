"""What may happen to a training, and how it must end."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.cli.output import log_to
from phiscale.data.datasets.dataset import ImageSet
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import CheckpointError, PhiscaleError, TrainingError, UsageError
from phiscale.files import lock_folder
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.recipes.table import RECIPES
from phiscale.training.run import TrainRequest, train_run
from phiscale.training.runtime import Runtime
from support.killing import PREPROCESSING, SPEC, start
from support.logs import log_without_times
from support.runs import network_weights

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = replace(
    RECIPES["characters"],
    epochs=2,
    evaluations=4,
    dropout=0.1,
    drop_path=0.1,
    lanes=2,
    optim=Optim(name="muon", lr_peak=0.1),
)


def digits() -> ImageSet:
    return open_dataset("digits")


def run(
    out: Path | str, recipe: Recipe = RECIPE, images: ImageSet | None = None, spec: Spec = SPEC
):
    runtime = Runtime(own_process=True)
    return train(Path(out), spec, images or digits(), recipe, PREPROCESSING, runtime)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("run") / "undisturbed"
    run(out)
    return out


def assert_equal_runs(a: Path, b: Path) -> None:
    assert log_without_times(a) == log_without_times(b)
    ours, theirs = load_file(a / "best.safetensors"), load_file(b / "best.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    one, two = network_weights(a), network_weights(b)
    assert all(torch.equal(one[k], two[k]) for k in one)


def start_until(out: Path, share: float) -> Any:
    """A training in a process of its own, after this share of its images."""
    child = start(out, recipe=RECIPE, pause_s=0.02)
    images, deadline = share * RECIPE.images(len(digits().train)), time.monotonic() + 120
    while not any(int(p.name[:12]) >= images for p in (out / "checkpoints").glob("*.pt")):
        assert child.is_alive() and time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.01)
    return child


def test_a_training_writes_what_a_run_holds(undisturbed: Path):
    names = {path.name for path in undisturbed.iterdir()}
    assert names >= {
        "recipe.json",
        "spec.json",
        "data.json",
        "log.jsonl",
        "checkpoints",
        "best.safetensors",
        "tensorboard",
    }
    seen = [r["images_seen"] for r in read_log(undisturbed) if "loss" in r]
    assert seen == sorted(set(seen)) and seen[-1] == RECIPE.images(len(digits().train))


def test_the_same_seed_trains_the_same_weights_with_any_number_of_loader_threads(
    undisturbed: Path, tmp_path: Path
):
    train(tmp_path / "again", SPEC, digits(), RECIPE, PREPROCESSING, Runtime(workers=3))
    assert_equal_runs(undisturbed, tmp_path / "again")


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_killed_and_run_again_it_ends_with_identical_weights_and_log(
    share: float, undisturbed: Path, tmp_path: Path
):
    out = tmp_path / "killed"
    child = start_until(out, share)
    child.kill()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    run(out)
    assert_equal_runs(undisturbed, out)


def test_sigterm_saves_and_leaves_with_143_and_the_run_goes_on(undisturbed: Path, tmp_path: Path):
    out = tmp_path / "stopped"
    child = start_until(out, 0.2)
    child.terminate()
    child.join(60)
    assert child.exitcode == 143
    run(out)
    assert_equal_runs(undisturbed, out)


def test_a_finished_run_is_left_as_it_is(undisturbed: Path):
    before = (undisturbed / "best.safetensors").read_bytes()
    run(undisturbed)
    assert (undisturbed / "best.safetensors").read_bytes() == before


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    undisturbed: Path, tmp_path: Path
):
    import shutil

    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    newest = sorted((out / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    logged: list[str] = []
    with log_to(logged.append):
        train(out, SPEC, digits(), RECIPE, PREPROCESSING, Runtime())
    assert "damaged" in logged[0] and newest.name in logged[0]
    assert_equal_runs(undisturbed, out)


def test_with_every_checkpoint_damaged_it_names_them(undisturbed: Path, tmp_path: Path):
    import shutil

    out = tmp_path / "damaged"
    shutil.copytree(undisturbed, out)
    for path in (out / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="intact"):
        run(out)


def test_another_recipe_in_the_same_folder_is_refused_with_the_flag(undisturbed: Path):
    other = replace(RECIPE, optim=replace(RECIPE.optim, lr_peak=0.5))
    with pytest.raises(CheckpointError, match=r"optim.lr_peak: 0.1 -> 0.5"):
        run(undisturbed, other)


def test_changed_data_in_the_same_folder_are_refused(undisturbed: Path):
    fewer = replace(digits(), train=digits().train.subset(np.arange(100)))
    with pytest.raises(CheckpointError, match="fingerprint"):
        run(undisturbed, images=fewer)


def test_a_second_run_in_a_folder_in_use_is_refused(tmp_path: Path):
    with lock_folder(tmp_path), pytest.raises(PhiscaleError, match=f"process {os.getpid()}"):
        run(tmp_path)


def test_a_loss_that_is_no_number_stops_before_the_update(tmp_path: Path):
    wild = replace(
        RECIPE, optim=Optim(lr_peak=1e8), schedule=replace(RECIPE.schedule, warmup_fraction=0.0)
    )
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf).*lr_peak"):
        run(tmp_path / "wild", wild)
    for path in (tmp_path / "wild" / "checkpoints").glob("*.pt"):
        network = torch.load(path, weights_only=True)["network"]
        assert all(torch.isfinite(t).all() for t in network.values() if t.is_floating_point())
    assert all(np.isfinite(record["loss"]) for record in read_log(tmp_path / "wild"))


def test_training_on_a_handful_of_images_learns_them(tmp_path: Path):
    images = digits()
    few = images.train.subset(
        np.concatenate([np.flatnonzero(images.train.labels == c)[:4] for c in range(10)])
    )
    easy = replace(images, train=few, validation=few, test=few)
    recipe = replace(
        RECIPES["characters"],
        epochs=60,
        batch=20,
        label_smoothing=0.0,
        evaluations=2,
        augment=replace(RECIPES["characters"].augment, shift=0.0),
    )
    run(tmp_path / "few", recipe, easy)
    assert (
        max(r["validation_top1"] for r in read_log(tmp_path / "few") if "validation_top1" in r)
        == 1.0
    )


@pytest.mark.parametrize(
    ("batch", "micro_batch", "fix"), [(1, 0, "batch=2"), (4, 1, "micro_batch=2")]
)
def test_one_value_a_channel_in_a_batch_norm_is_refused_before_the_images_are_read(
    tmp_path: Path, batch: int, micro_batch: int, fix: str
):
    recipe = replace(RECIPES["small-data"], batch=batch, micro_batch=micro_batch, lanes=1)
    request = TrainRequest(
        spec=get_spec("efficientnet_b0"), data="no/such/folder", recipe=recipe, resolution=32
    )
    with pytest.raises(UsageError, match=f"`{fix}` or more"):
        train_run(request, tmp_path / "run")
    with pytest.raises(PhiscaleError, match="no/such/folder"):
        train_run(replace(request, resolution=128), tmp_path / "run")
