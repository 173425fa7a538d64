"""What a machine may do to a training besides killing it: a full disk, a clock that jumps, too
little memory, a service that fails, data that moved, a process that stops where others meet."""

import io
import os
import resource
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
from phiscale.training import saving
from phiscale.training.checkpoint import load_newest, save_checkpoint
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.parallel.replicas import Replicas
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from support.logs import log_without_times

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
PREPROCESSING = Preprocessing(size=8, crop=1.0)
RECIPE = Recipe(epochs=0.4, batch=64, evaluations=2, optim=Optim(lr_peak=0.1))
QUIET = Runtime(save_every_s=0)


def trained(
    out: Path, data: str = "digits", runtime: Runtime = QUIET, recipe: Recipe = RECIPE
) -> Path:
    images = open_dataset(data)
    train(out, replace(SPEC, classes=len(images.classes)), images, recipe, PREPROCESSING, runtime)
    return out


def same(a: Path, b: Path) -> bool:
    one, two = log_without_times(a), log_without_times(b)
    x, y = load_file(a / "best.safetensors"), load_file(b / "best.safetensors")
    return one == two and all(torch.equal(x[name], y[name]) for name in x)


@pytest.fixture(scope="module")
def undisturbed(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("machine") / "run")


def test_a_full_disk_is_one_line_and_the_run_goes_on_where_there_is_room(tmp_path: Path):
    """Files may have 60 kB, a checkpoint needs more: what a full disk or a quota does."""
    command = [
        sys.executable,
        "-m",
        "phiscale",
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
    ]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}

    def train_limited(out: Path, limit: int) -> subprocess.CompletedProcess[str]:
        def little_room() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        return subprocess.run(
            [*command, str(out)],
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=little_room,
            env=one_thread,
        )

    full = train_limited(tmp_path / "full", 60_000)
    last = full.stderr.strip().splitlines()[-1]
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert last.startswith("phiscale: cannot write") and "Free some space" in last
    assert not list((tmp_path / "full").rglob("*.part"))
    unlimited = resource.RLIM_INFINITY
    assert train_limited(tmp_path / "full", unlimited).returncode == 0
    assert train_limited(tmp_path / "whole", unlimited).returncode == 0
    assert same(tmp_path / "full", tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(Exception, match="cannot write in /proc/run"):
        trained(Path("/proc/run"))


def test_a_clock_that_jumps_changes_nothing(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (1 + next(ticks) % 3))  # back and forth
    trained(tmp_path / "run")
    assert same(tmp_path / "run", undisturbed)
    assert all(r["eta_s"] >= 0 for r in read_log(tmp_path / "run") if "loss" in r)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to ...")])
def test_too_little_memory_says_how_much_was_asked_of_it(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(Replicas, "run", fail)
    with pytest.raises(TrainingError, match=r"64 images of 8 px at once.*`micro_batch=32`"):
        trained(tmp_path / "run")


class Failing:
    """A tracker whose service goes away."""

    def __init__(self) -> None:
        self.heard = 0

    def start(self, run: Path, images_seen: int) -> None: ...

    def log(self, values: Mapping[str, float], images_seen: int) -> None:
        self.heard += 1
        if self.heard == 3:
            raise ConnectionError("the service is gone")

    def flush(self) -> None: ...

    def close(self) -> None:
        raise AssertionError("it is no longer spoken to")


def test_a_tracker_that_fails_is_left_out_and_the_training_goes_on(
    undisturbed: Path, tmp_path: Path
):
    said: list[str] = []
    tracker = Failing()
    with log_to(said.append):
        trained(tmp_path / "run", runtime=replace(QUIET, trackers=[tracker]))
    assert tracker.heard == 3 and same(tmp_path / "run", undisturbed)
    assert [line for line in said if "the service is gone" in line] == [
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
    trained(tmp_path / "run", str(data), recipe=recipe)
    moved = data.rename(tmp_path / "there")
    trained(tmp_path / "run", str(moved), recipe=recipe)
    (moved / "a" / "0.png").unlink()
    with pytest.raises(CheckpointError, match="accept_changed_data=True"):
        trained(tmp_path / "run", str(moved), recipe=recipe)
    said: list[str] = []
    accepting = replace(QUIET, accept_changed_data=True)
    with log_to(said.append):
        trained(tmp_path / "run", str(moved), accepting, recipe)
    assert any("the data changed since the last start" in line for line in said)
    other = replace(PREPROCESSING, background=(0, 0, 0))
    with pytest.raises(CheckpointError, match="preprocessing"):  # does not depend on the images
        spec = replace(SPEC, classes=2)
        train(tmp_path / "run", spec, open_dataset(str(moved)), recipe, other, accepting)


def test_of_two_checkpoints_of_one_place_the_later_one_is_the_newest(tmp_path: Path):
    for number in range(20):  # their hashes come in any order
        save_checkpoint(tmp_path, 640, {"number": number}, keep=1)
        found = load_newest(tmp_path, print)
        assert found == {"number": number} and len(list(tmp_path.iterdir())) == 1


def test_saving_takes_a_hundredth_of_the_time_however_slow_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By a clock of its own: steps of 10 s, saves of 3 s."""
    now = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])

    def slow(*_: object) -> None:
        now[0] += 3.0

    monkeypatch.setattr(saving, "save_checkpoint", slow)

    class Flushed:
        def flush(self) -> int:
            return 0

    class Held:
        log_bytes = images_seen = 0

        def state_dict(self) -> dict[str, int]:
            return {}

    saver = saving.Saver(tmp_path, Held(), Flushed(), Runtime(), ProcessGroup())  # type: ignore[arg-type]
    saves = []
    for _ in range(2000):
        now[0] += 10.0
        if saver.is_due():
            saves.append(now[0])
            saver.save()
    assert saves[0] <= 60 + 10 and np.diff(saves).min() >= 300  # the first says how slow it is
    assert saver.share < 0.0101


def test_an_update_that_half_precision_skips_leaves_the_statistics_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One forward pass overflows; the average of weights and statistics must not hear of it."""
    run, steps = Replicas.run, [0]

    def overflowing(self: Replicas, step: object, images: int, sample_indices: np.ndarray) -> float:
        found = run(self, step, images, sample_indices)  # type: ignore[arg-type]
        steps[0] += 1
        if steps[0] == 3:
            for buffer in self.networks[0].buffers():
                if buffer.is_floating_point():
                    buffer.fill_(float("inf"))
            for parameter in self.networks[0].parameters():
                parameter.grad = torch.full_like(parameter, float("inf"))
        return found

    monkeypatch.setattr(Replicas, "run", overflowing)
    trained(tmp_path / "run", recipe=replace(RECIPE, precision="fp16"))
    state = load_newest(tmp_path / "run" / "checkpoints", print)
    assert state is not None
    for part in (state["network"], state["ema"]):
        for name, tensor in part.items():
            assert not torch.is_tensor(tensor) or torch.isfinite(tensor).all(), name


MEETING = """
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


def test_the_process_that_keeps_the_store_stops_and_the_others_leave(tmp_path: Path):
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
    said = tmp_path / "said"
    with said.open("w") as words:
        first, second = (
            subprocess.Popen(
                [sys.executable, "-c", MEETING],
                stdout=words,
                env={**environment, "RANK": str(rank)},
            )
            for rank in (0, 1)
        )
    try:
        assert second.wait(timeout=60) == 7
        assert "gone or does not answer" in said.read_text()
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


def test_a_disk_that_does_not_answer_does_not_keep_a_process_that_was_told_to_leave(
    tmp_path: Path,
):
    words = [
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
    done = subprocess.run(
        [sys.executable, "-c", HANGING, *words],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 143 and "run the same command to resume" in done.stderr
