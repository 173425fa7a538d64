"""Many processes train what one would: started by torchrun on one machine, over gloo."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.augment.augment import Augment
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.loop import train
from phiscale.training.parallel.processes import ProcessGroup
from phiscale.training.recipes.recipe import Growth, Optim, Recipe, Schedule
from phiscale.training.runtime import Runtime
from support.logs import log_without_times
from support.runs import child_environment, newest_state

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=16)
PREPROCESSING = Preprocessing(size=16, crop=1.0)
STEPS = 20
RECIPE = Recipe(
    epochs=STEPS * 24 / 1438,
    batch=24,
    micro_batch=12,
    precision="fp64",
    evaluations=2,
    optim=Optim(name="rmsprop_tf", lr_peak=0.01, decayed="all-but-norms"),
    schedule=Schedule(warmup_fraction=0.2),
    dropout=0.2,
    drop_path=0.2,
    class_weights="balanced",
    augment=Augment(policy="randaugment", magnitude=5, erase=0.3, mixup=0.4, cutmix=1.0),
    growth=Growth(first_size=0.75, until=0.5),
    ema_half_life_fraction=0.2,
)
TIMEOUT_S = 5.0
pytestmark = pytest.mark.usefixtures("one_thread")


def main(out: str, lanes: str, pause_s: str) -> None:
    """What each process runs."""
    torch.set_num_threads(1)
    runtime = Runtime(
        own_process=True,
        save_every_s=0,
        timeout_s=TIMEOUT_S,
        callbacks=[lambda progress: time.sleep(float(pause_s))],
    )
    train(
        Path(out),
        SPEC,
        open_dataset("digits"),
        replace(RECIPE, lanes=int(lanes)),
        PREPROCESSING,
        runtime,
    )


def torchrun(
    out: Path, processes: int, lanes: int = 1, pause_s: float = 0.0, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = ["--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}"]
    start = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", *where, *options]
    with (out.parent / f"{out.name}.stderr").open("wb") as stderr:
        return subprocess.Popen(
            [
                sys.executable,
                *start,
                __file__,
                str(out),
                str(lanes),
                str(pause_s),
            ],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=child_environment(),
        )


def run_to_end(out: Path, processes: int, lanes: int = 1) -> Path:
    if processes == 1:
        main(str(out), str(lanes), pause_s="0")
        return out
    child = torchrun(out, processes, lanes)
    assert child.wait(timeout=240) == 0, (out.parent / f"{out.name}.stderr").read_text()
    return out


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    state = newest_state(run)
    averages = {f"ema {k}": v for k, v in state["ema"].items() if torch.is_tensor(v)}
    return state["network"] | averages


def relative_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    x, y = (torch.cat([t.double().flatten() for t in s.values()]) for s in (a, b))
    return float((x - y).norm() / x.norm())


@pytest.fixture(scope="module")
def one_process(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_to_end(tmp_path_factory.mktemp("world") / "one", 1)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_to_end(tmp_path_factory.mktemp("world") / "two", 2)


def test_two_processes_train_the_weights_of_one(one_process: Path, two_processes: Path):
    """Weights, batch statistics, moving average: with dropout, stochastic depth, mixed images,
    accumulated micro-batches and classes of different weight."""
    assert len(log_without_times(one_process)) == len(log_without_times(two_processes)) == STEPS + 2
    assert relative_difference(final_weights(one_process), final_weights(two_processes)) < 1e-9


@pytest.mark.slow
def test_three_processes_train_the_weights_of_one(one_process: Path, tmp_path: Path):
    assert (
        relative_difference(
            final_weights(one_process), final_weights(run_to_end(tmp_path / "three", 3))
        )
        < 1e-9
    )


@pytest.mark.slow
def test_two_lanes_are_the_same_in_two_processes_as_in_one(tmp_path: Path):
    together, apart = (
        run_to_end(tmp_path / "together", 1, lanes=2),
        run_to_end(tmp_path / "apart", 2, lanes=2),
    )
    assert relative_difference(final_weights(together), final_weights(apart)) < 1e-9


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_one_process_killed_takes_the_job_down_and_it_resumes_to_the_bit(
    rank: int, two_processes: Path, tmp_path: Path
):
    out = tmp_path / "killed"
    job = torchrun(out, 2, pause_s=0.3)
    os.kill(_process(job, rank, out), signal.SIGKILL)
    assert job.wait(timeout=TIMEOUT_S + 30) != 0
    run_to_end(out, 2)
    assert log_without_times(out) == log_without_times(two_processes)
    assert relative_difference(final_weights(out), final_weights(two_processes)) == 0


@pytest.mark.slow
def test_a_process_that_hangs_takes_the_job_down_within_the_timeout(
    two_processes: Path, tmp_path: Path
):
    out = tmp_path / "hung"
    job = torchrun(out, 2, pause_s=0.3)
    hung = _process(job, 1, out)
    os.kill(hung, signal.SIGSTOP)
    assert job.wait(timeout=TIMEOUT_S + 40) != 0
    run_to_end(out, 2)
    assert relative_difference(final_weights(out), final_weights(two_processes)) == 0


@pytest.mark.slow
def test_an_elastic_job_restarts_itself(two_processes: Path, tmp_path: Path):
    out = tmp_path / "elastic"
    job = torchrun(out, 2, pause_s=0.1, options=["--max-restarts=2"])
    os.kill(_process(job, 1, out), signal.SIGKILL)
    assert job.wait(timeout=120) == 0
    assert relative_difference(final_weights(out), final_weights(two_processes)) == 0


@pytest.mark.slow
def test_sigterm_saves_and_the_job_goes_on(two_processes: Path, tmp_path: Path):
    out = tmp_path / "stopped"
    job = torchrun(out, 2, pause_s=0.3)
    _process(job, 0, out)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=40) != 0
    run_to_end(out, 2)
    assert log_without_times(out) == log_without_times(two_processes)
    assert relative_difference(final_weights(out), final_weights(two_processes)) == 0


@pytest.mark.slow
def test_the_command_line_under_torchrun_prints_once_and_starts_from_weights(tmp_path: Path):
    """Two processes train a network, then two fine-tune it: the first one decides and writes."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node=2",
                "-m",
                "phiscale",
                "train",
                *arguments,
                "--data",
                "digits",
                "--device",
                "cpu",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env=child_environment(),
        )

    first = command(
        "characters",
        "--model",
        "small",
        "--resolution",
        "16",
        "--epochs",
        "0.5",
        "--evaluations",
        "1",
        "--out",
        "run",
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == ["run/best.safetensors"]
    second = command(
        "finetune",
        "--model",
        "run/spec.json",
        "--pretrained",
        "run",
        "--epochs",
        "0.3",
        "--evaluations",
        "1",
        "--out",
        "tuned",
    )
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("linear probe: validation top-1") == 1
    wrong = command("characters", "--model", "small", "--out", "run", "--lanes", "3")
    assert wrong.returncode != 0
    assert wrong.stderr.count("--lanes 3 cannot be spread over 2 processes") == 1


def _process(job: subprocess.Popen[bytes], rank: int, out: Path) -> int:
    """The process of that rank, once the training has begun to save."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and job.poll() is None:
        if list((out / "checkpoints").glob("*.pt")):
            children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
            ranks = {_rank(int(child)): int(child) for child in children}
            if rank in ranks:
                return ranks[rank]
        time.sleep(0.05)
    raise AssertionError((out.parent / f"{out.name}.stderr").read_text() or "nothing in time")


def _rank(pid: int) -> int:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    ranks = (v.removeprefix(b"RANK=") for v in variables if v.startswith(b"RANK="))
    return int(next(ranks, -1))


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_every_image_of_a_batch_is_in_one_lane_of_one_process(lanes: int, size: int):
    if size % lanes and lanes % size:
        pytest.skip("they do not divide one another")
    parts = [
        part for rank in range(size) for part in ProcessGroup(rank, size).lane_ranges(25, lanes)
    ]
    assert [a for a, _ in parts] == [0, *(b for _, b in parts[:-1])] and parts[-1][1] == 25
    for rank in range(size):
        group = ProcessGroup(rank, size)
        assert group.local_range(25, lanes) == (
            group.lane_ranges(25, lanes)[0][0],
            group.lane_ranges(25, lanes)[-1][1],
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
