"""SIGTERM and Ctrl-C end a training within seconds, whatever it does, and nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._C._distributed_c10d import HashStore

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.datasets.open import open_dataset
from phiscale.data.loader import ImageCache
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import TrainingError
from phiscale.training import validation
from phiscale.training.determinism import deterministic_kernels
from phiscale.training.loop import train
from phiscale.training.ownership import own_process
from phiscale.training.parallel.processes import ProcessGroup, gpu_of
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.signals import Interrupted, StopSignal
from support.logs import log_without_times
from support.runs import network_weights

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
PREPROCESSING = Preprocessing(size=8, crop=1.0)
RECIPE = Recipe(epochs=0.4, batch=64, evaluations=3, optim=Optim(lr_peak=0.1))


def run_training(out: Path) -> Path:
    return train(
        out, SPEC, open_dataset("digits"), RECIPE, PREPROCESSING, Runtime(own_process=True)
    )


@pytest.fixture(scope="module")
def undisturbed(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_training(tmp_path_factory.mktemp("stops") / "undisturbed").parent


def stop_and_go_on(out: Path, undisturbed: Path, seconds: float) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted) as stop:
        run_training(out)
    assert stop.value.status == 143 and time.monotonic() - began < seconds


def test_an_interrupted_evaluation_is_repeated_on_resume(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second of three; without its SIGTERM it would take a minute."""
    evaluations, count_correct = [0], validation.count_correct

    def slow(*arguments: object) -> object:
        evaluations[0] += 1
        if evaluations[0] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        return count_correct(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(validation, "count_correct", slow)
        stop_and_go_on(tmp_path / "run", undisturbed, seconds=30)
    run_training(tmp_path / "run")
    assert log_without_times(tmp_path / "run") == log_without_times(undisturbed)
    for name, tensor in network_weights(undisturbed).items():
        assert torch.equal(network_weights(tmp_path / "run")[name], tensor)


def test_a_batch_that_hangs_is_abandoned(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    over, reads, pixels = threading.Event(), [0], ImageCache.pixels

    def hanging(self: ImageCache, index: int) -> object:
        reads[0] += 1
        if reads[0] == 300:
            os.kill(os.getpid(), signal.SIGTERM)
            over.wait(60)
        return pixels(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ImageCache, "pixels", hanging)
        stop_and_go_on(tmp_path / "run", undisturbed, seconds=30)
        over.set()
    run_training(tmp_path / "run")
    assert log_without_times(tmp_path / "run") == log_without_times(undisturbed)


def test_a_call_that_hangs_does_not_delay_the_end_beyond_its_time():
    """A step that hangs, a disk that does not respond: the process ends in time, with 143."""
    program = (
        "import os, signal, threading\n"
        "from phiscale.training.ownership import own_process\n"
        "from phiscale.training.signals import StopSignal\n"
        "with own_process(), StopSignal(exit_after_s=0.5):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Event().wait(60)\n"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert process.returncode == 143
    assert process.stderr.count(b"run the same command") == process.stderr.count(b"\n") == 1


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), own_process(), StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.caught == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)


# Processes that wait for each other


def two_groups(timeout_s: float) -> tuple[ProcessGroup, ProcessGroup]:
    store = HashStore()
    return ProcessGroup(0, 2, timeout_s, store), ProcessGroup(1, 2, timeout_s, store)


def test_a_process_with_heartbeats_is_waited_for_longer_than_the_timeout():
    first, second = two_groups(timeout_s=0.4)

    def late() -> None:
        with second.heartbeat():
            time.sleep(1.5)
            second.barrier()

    other = threading.Thread(target=late)
    other.start()
    began = time.monotonic()
    with first.heartbeat():
        first.barrier()
    other.join()
    assert time.monotonic() - began > 1.4


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_without_heartbeats_is_given_up_after_the_timeout(rank: int):
    here = two_groups(timeout_s=0.4)[rank]
    began = time.monotonic()
    with here.heartbeat(), pytest.raises(TrainingError, match=f"no heartbeat from rank {1 - rank}"):
        here.barrier()
    assert 0.3 < time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("local_rank", "local_size", "gpus", "gpu", "exclusive"),
    [(0, 1, 1, 0, True), (3, 4, 8, 3, True), (1, 2, 1, 0, False), (5, 6, 4, 1, False)],
)
def test_processes_beyond_the_gpus_of_a_machine_share_them(
    local_rank: int, local_size: int, gpus: int, gpu: int, exclusive: bool
):
    assert gpu_of(local_rank, local_size, gpus) == (torch.device("cuda", gpu), exclusive)


def test_the_deterministic_switch_is_on_inside_and_as_it_was_outside(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic_kernels(enabled=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_kernels(enabled=False):
        assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_nested_stop_signals_share_the_signal_that_one_of_them_caught():
    with own_process(), StopSignal() as outer:
        signal.raise_signal(signal.SIGTERM)
        with StopSignal() as inner:
            assert inner.run_interruptibly(lambda: "work") is None
    assert outer.caught == signal.SIGTERM
    with own_process(), StopSignal() as outer:
        with StopSignal() as inner:
            signal.raise_signal(signal.SIGINT)
        assert outer.caught == inner.caught == signal.SIGINT
        outer.caught = None
