"""As a library, a training leaves the process of its host as it was."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.training.callbacks import Callback, Progress
from phiscale.training.evaluate import logits_of
from phiscale.training.loop import train
from phiscale.training.ownership import is_own_process, own_process
from phiscale.training.parallel import replicas
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from support.host import changes, in_a_thread, process_state

SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=8)
PREPROCESSING = Preprocessing(size=8, crop=1.0)
RECIPE = Recipe(epochs=0.2, batch=64, lanes=2, evaluations=2, optim=Optim(lr_peak=0.1))


def run_training(out: Path, *callbacks: Any, **runtime: Any) -> Path:
    runtime_ = Runtime(callbacks=callbacks, **runtime)
    return train(out, SPEC, open_dataset("digits"), RECIPE, PREPROCESSING, runtime_)


@pytest.mark.parametrize("where", ["here", "thread", "event loop"])
def test_nothing_global_stays_changed(
    where: str, three_threads: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run_training(tmp_path / "first")  # what the first import of a library changes is not ours
    capfd.readouterr()
    before = process_state()

    def run() -> Path:
        return run_training(tmp_path / "run", deterministic=True)

    if where == "here":
        best = run()
    elif where == "thread":
        best = in_a_thread(run)
    else:
        best = asyncio.run(asyncio.to_thread(run))
    assert best.is_file()
    assert not changes(before)
    assert capfd.readouterr() == ("", "")


def test_threads_of_the_host_keep_their_thread_count_while_one_evaluates(three_threads: None):
    class Waiting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            counts.append(torch.get_num_threads())
            if len(counts) == 2:  # both have set their own count by now
                waiting.set()
            assert go_on.wait(60)
            return x.mean((1, 2, 3))[:, None]

    counts: list[int] = []
    waiting, go_on = threading.Event(), threading.Event()
    split = open_dataset("digits").test.subset(range(8))
    before = process_state()
    with ThreadPoolExecutor(2) as host:
        evaluations = [host.submit(logits_of, Waiting(), split, PREPROCESSING) for _ in range(2)]
        assert waiting.wait(60)
        assert in_a_thread(torch.get_num_threads) == 3
        go_on.set()
        assert all(evaluation.result().shape == (8, 1) for evaluation in evaluations)
    assert set(counts) == {1}
    assert not changes(before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_host_as_it_was_and_a_checkpoint_to_resume_from(
    error: type[BaseException], three_threads: None, tmp_path: Path
):
    def interrupt(progress: Progress) -> None:
        if progress.images_seen >= 192:
            raise error

    whole = run_training(tmp_path / "whole")
    before = process_state()
    with pytest.raises(error):
        run_training(tmp_path / "cut", interrupt, save_every_s=0)
    assert not changes(before)
    resumed: list[int] = []
    best = run_training(tmp_path / "cut", lambda progress: resumed.append(progress.images_seen))
    assert resumed[0] == 192
    assert best.read_bytes() == whole.read_bytes()


def test_the_signal_handler_of_the_host_stays_and_is_called(tmp_path: Path):
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    handler = signal.getsignal(signal.SIGTERM)

    def send(progress: Progress) -> None:
        assert signal.getsignal(signal.SIGTERM) is handler
        if progress.images_seen == 64:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        assert run_training(tmp_path / "run", send).is_file()
        assert received == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_freed_memory_is_kept_only_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[int] = []
    monkeypatch.setattr(replicas, "keep_freed_memory", lambda: calls.append(1))
    run_training(tmp_path / "guest")
    assert not calls
    run_training(tmp_path / "own", own_process=True)
    assert calls and not is_own_process()
    with own_process():
        assert Runtime().own_process
    assert not Runtime().own_process


def test_callbacks_receive_steps_and_evaluations(tmp_path: Path):
    class Recorder(Callback):
        def __init__(self) -> None:
            self.steps: list[Progress] = []
            self.evaluations: list[Progress] = []

        def on_step(self, progress: Progress) -> None:
            self.steps.append(progress)

        def on_evaluation(self, progress: Progress) -> None:
            self.evaluations.append(progress)

    class Silent(Callback): ...

    recorder, seen = Recorder(), []
    run_training(tmp_path / "run", recorder, Silent(), lambda progress: seen.append(progress))
    assert seen == recorder.steps and seen[-1].images_seen == seen[-1].total == 256
    assert all(progress.validation_top1 is None for progress in seen)
    assert [progress.images_seen for progress in recorder.evaluations] == [128, 256]
    assert all(0 <= (progress.validation_top1 or 0) <= 1 for progress in recorder.evaluations)
