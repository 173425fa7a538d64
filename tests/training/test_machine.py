"""What a machine may do to a training besides killing it: a full disk, a clock that jumps, too
little memory, a service that fails, data that moved, a process that stops while others wait."""

import io
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.cli.output import log_to
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import CheckpointError, TrainingError
from phiscale.training.checkpoint import load_newest, save_checkpoint
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.parallel.replicas import Replicas
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.saving import Saver
from support.fits import run_command
from support.logs import log_without_times

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
PREPROCESSING = Preprocessing(size=8, crop=1.0)
RECIPE = Recipe(epochs=0.4, batch=64, evaluations=2, optim=Optim(lr_peak=0.1))
QUIET = Runtime(save_every_s=0)


def run_training(
    out: Path, data: str = "digits", runtime: Runtime = QUIET, recipe: Recipe = RECIPE
) -> Path:
    images = open_dataset(data)
    train(out, replace(SPEC, classes=len(images.classes)), images, recipe, PREPROCESSING, runtime)
    return out


def equal_runs(a: Path, b: Path) -> bool:
    one, two = log_without_times(a), log_without_times(b)
    x, y = load_file(a / "best.safetensors"), load_file(b / "best.safetensors")
    return one == two and all(torch.equal(x[name], y[name]) for name in x)


@pytest.fixture(scope="module")
def undisturbed(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_training(tmp_path_factory.mktemp("machine") / "run")


def test_a_full_disk_is_one_line_and_the_run_goes_on_where_there_is_room(tmp_path: Path):
    """Files may have 60 kB, a checkpoint needs more: what a full disk or a quota does."""
    arguments = "train characters --model small --data digits --resolution 8 --epochs 0.4"

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

    full = subprocess.run(
        [sys.executable, "-m", "phiscale", *shlex.split(f"{arguments} --out {tmp_path}/full")],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit_files,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    last = full.stderr.strip().splitlines()[-1]
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert last.startswith("phiscale: cannot write") and "Free some space" in last
    assert not list((tmp_path / "full").rglob("*.part"))
    assert run_command(f"{arguments} --out {tmp_path}/full") == 0
    assert run_command(f"{arguments} --out {tmp_path}/whole") == 0
    assert equal_runs(tmp_path / "full", tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(Exception, match="cannot write in /proc/run"):
        run_training(Path("/proc/run"))


def test_a_clock_that_jumps_changes_nothing(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (1 + next(ticks) % 3))  # back and forth
    run_training(tmp_path / "run")
    assert equal_runs(tmp_path / "run", undisturbed)
    assert all(r["eta_s"] >= 0 for r in read_log(tmp_path / "run") if "loss" in r)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to ...")])
def test_too_little_memory_names_the_images_at_once_and_a_smaller_micro_batch(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(Replicas, "run", fail)
    with pytest.raises(TrainingError, match=r"64 images of 8 px at once.*`micro_batch=32`"):
        run_training(tmp_path / "run")


class Failing:
    """A tracker whose service goes away."""

    def __init__(self) -> None:
        self.calls = 0

    def start(self, run: Path, images_seen: int) -> None: ...

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.calls += 1
        if self.calls == 3:
            raise ConnectionError("the service is gone")

    def flush(self) -> None: ...

    def close(self) -> None:
        raise AssertionError("it is no longer spoken to")


def test_a_tracker_that_fails_is_left_out_and_the_training_goes_on(
    undisturbed: Path, tmp_path: Path
):
    logged: list[str] = []
    tracker = Failing()
    with log_to(logged.append):
        run_training(tmp_path / "run", runtime=replace(QUIET, trackers=[tracker]))
    assert tracker.calls == 3 and equal_runs(tmp_path / "run", undisturbed)
    assert [line for line in logged if "the service is gone" in line] == [
        "warning: Failing failed, so it is left out: the service is gone"
    ]


def image_folder(folder: Path, count: int = 24) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng([number, ord(name)])
            content = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(content, "PNG")
            (folder / name / f"{number}.png").write_bytes(content.getvalue())
    return folder


def test_data_may_move_but_a_change_must_be_accepted(tmp_path: Path):
    data = image_folder(tmp_path / "here")
    recipe = replace(RECIPE, batch=8, epochs=2)
    run_training(tmp_path / "run", str(data), recipe=recipe)
    moved = data.rename(tmp_path / "there")
    run_training(tmp_path / "run", str(moved), recipe=recipe)
    (moved / "a" / "0.png").unlink()
    with pytest.raises(CheckpointError, match="accept_changed_data=True"):
        run_training(tmp_path / "run", str(moved), recipe=recipe)
    logged: list[str] = []
    accepting = replace(QUIET, accept_changed_data=True)
    with log_to(logged.append):
        run_training(tmp_path / "run", str(moved), accepting, recipe)
    assert any("the data changed since the last start" in line for line in logged)
    other = replace(PREPROCESSING, background=(0, 0, 0))
    with pytest.raises(CheckpointError, match="preprocessing"):  # does not depend on the images
        spec = replace(SPEC, classes=2)
        train(tmp_path / "run", spec, open_dataset(str(moved)), recipe, other, accepting)


def test_of_two_checkpoints_of_one_place_the_later_one_is_the_newest(tmp_path: Path):
    for number in range(20):  # their hashes come in any order
        save_checkpoint(tmp_path, 640, {"number": number}, keep=1)
        state = load_newest(tmp_path, print)
        assert state == {"number": number} and len(list(tmp_path.iterdir())) == 1


def test_saving_takes_a_hundredth_of_the_time_however_slow_the_disk(tmp_path: Path):
    """By a clock of its own: steps of 10 s, saves of 3 s."""
    now_s = 0.0

    class EmptyLog:
        def flush(self) -> int:
            return 0

    class SlowState:
        log_bytes = images_seen = 0

        def state_dict(self) -> dict[str, int]:
            nonlocal now_s
            now_s += 3.0
            return {}

    saver = Saver(
        tmp_path,
        SlowState(),  # type: ignore[arg-type]
        EmptyLog(),  # type: ignore[arg-type]
        Runtime(),
        ProcessGroup(),
        clock=lambda: now_s,
    )
    saves = []
    for _ in range(2000):
        now_s += 10.0
        if saver.is_due():
            saves.append(now_s)
            saver.save()
    assert saves[0] <= 60 + 10 and np.diff(saves).min() >= 300  # the first says how slow it is
    assert saver.time_fraction < 0.0101


def test_an_update_that_half_precision_skips_leaves_the_statistics_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One forward pass overflows; the average of weights and statistics must not change."""
    run, steps = Replicas.run, [0]

    def overflowing(self: Replicas, step: object, images: int, sample_indices: np.ndarray) -> float:
        loss = run(self, step, images, sample_indices)  # type: ignore[arg-type]
        steps[0] += 1
        if steps[0] == 3:
            for buffer in self.networks[0].buffers():
                if buffer.is_floating_point():
                    buffer.fill_(float("inf"))
            for parameter in self.networks[0].parameters():
                parameter.grad = torch.full_like(parameter, float("inf"))
        return loss

    monkeypatch.setattr(Replicas, "run", overflowing)
    run_training(tmp_path / "run", recipe=replace(RECIPE, precision="fp16"))
    state = load_newest(tmp_path / "run" / "checkpoints", print)
    assert state is not None
    for part in (state["network"], state["ema"]):
        for name, tensor in part.items():
            assert not torch.is_tensor(tensor) or torch.isfinite(tensor).all(), name


BARRIERS = """
import os, signal
import torch
from phiscale.errors import TrainingError
from phiscale.training.parallel.processes import init_distributed

with init_distributed(torch.device("cpu"), timeout_s=2.0) as (group, _):
    try:
        group.barrier()
        if group.is_rank0:
            os.kill(os.getpid(), signal.SIGSTOP)
        group.barrier()
    except TrainingError as error:
        print(error, flush=True)
        os._exit(7)
"""


def test_the_process_that_keeps_the_store_hangs_and_the_others_end(tmp_path: Path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    stderr = tmp_path / "stderr"
    with stderr.open("w") as file:
        first, second = (
            subprocess.Popen(
                [sys.executable, "-c", BARRIERS],
                stdout=file,
                env={**environment, "RANK": str(rank)},
            )
            for rank in (0, 1)
        )
    try:
        assert second.wait(timeout=60) == 7
        assert "gone or does not answer" in stderr.read_text()
    finally:
        for child in (first, second):
            child.send_signal(signal.SIGKILL)
            child.wait()


HANGING = """
import os, signal, sys, time
from phiscale.data.loader import ImageCache

reads, pixels = [0], ImageCache.pixels

def hanging(self, index):
    reads[0] += 1
    if reads[0] == 300:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    return pixels(self, index)

ImageCache.pixels = hanging
from phiscale.cli import main
main(sys.argv[1:])
"""


def test_a_disk_that_does_not_respond_does_not_delay_a_process_that_was_told_to_end(
    tmp_path: Path,
):
    arguments = [
        "train",
        "characters",
        "--model",
        "small",
        "--data",
        "digits",
        "--resolution",
        "8",
        "--epochs",
        "0.4",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.run(
        [sys.executable, "-c", HANGING, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 143 and "run the same command to resume" in process.stderr
