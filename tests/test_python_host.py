"""phiscale in a program that is somebody else's: a thread, an event loop, a script."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import phiscale
from phiscale.training.callbacks import Progress
from support.host import changes, in_a_thread, process_state


@pytest.fixture(scope="module")
def arguments(plan_files: Path) -> dict[str, Any]:
    """Of a `fit` of a few seconds."""
    return {
        "train_minutes": 0.02,
        "macs": "330K",
        "min_epochs": 0.05,
        "device_model": plan_files / "device.json",
        "law": plan_files / "law.json",
    }


@pytest.fixture(scope="module", autouse=True)
def imported_libraries(fitted: Path) -> None:
    """One `fit` before all others: what the first import of a library changes is not ours."""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_fit_in_a_thread_leaves_the_host_its_signals_and_everything_else(
    arguments: dict[str, Any],
    three_threads: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    received: list[int] = []
    original = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))

    def send_once(progress: Progress) -> None:
        if not received:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        before = process_state()
        capfd.readouterr()
        run = in_a_thread(
            lambda: phiscale.fit("digits", tmp_path / "run", callbacks=[send_once], **arguments)
        )
        assert capfd.readouterr() == ("", "")
        assert not changes(before)
    finally:
        signal.signal(signal.SIGTERM, original)
    assert set(received) == {signal.SIGTERM}
    assert run.report is not None and run.report.is_file()


def test_fit_runs_inside_an_event_loop(arguments: dict[str, Any], tmp_path: Path):
    async def work() -> phiscale.Run:
        return phiscale.fit("digits", tmp_path / "run", **arguments)

    run = asyncio.run(work())
    assert run.report is not None and run.report.is_file()


def test_evaluate_and_predict_leave_the_host_as_it_was(
    fitted: Path, three_threads: None, capfd: pytest.CaptureFixture[str]
):
    digits = phiscale.open_dataset("digits")
    before = process_state()
    capfd.readouterr()
    for model in (fitted / "best.safetensors", fitted / "model.onnx"):
        phiscale.evaluate(model, digits)
        phiscale.predict(model, [digits.test.image(i) for i in range(3)])
        assert not changes(before)
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import os, signal, sys
import phiscale
data, out, device_model, law = sys.argv[1:]
def end(progress):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
phiscale.fit(data, out, train_minutes=0.02, macs="330K", min_epochs=0.05, device_model=device_model,
    law=law, callbacks=[end])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_ends_a_script_that_handles_no_signals(plan_files: Path, tmp_path: Path):
    files = (tmp_path / "run", plan_files / "device.json", plan_files / "law.json")
    script = subprocess.run(
        [sys.executable, "-c", SCRIPT, "digits", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert script.returncode == -signal.SIGTERM, script.stderr
    assert (script.stdout, script.stderr) == ("", "")
