"""A command line run in this process, the files that it names, and one in a process of its own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phiscale.cli import main
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Timing, UnitTimes

CLASSES = ("a", "b", "café 日本")


def draw(path: Path, shade: int, number: int) -> None:
    noise = np.random.default_rng([shade, number]).integers(0, 60, (16, 16, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise + np.uint8(shade)).save(path)


def device_model() -> DeviceModel:
    rates = UnitTimes(
        dense_macs=1e-9,
        depthwise_macs=1e-9,
        activations=1e-8,
        weight_bytes=0,
        convs=1e-4,
        constant=1e-3,
    )
    timing = Timing(rates=rates, median_error=0.05, max_error=0.1)
    made_up = DeviceFingerprint(
        device="made up", cores=1, threads=1, runtime="none", torch="0", date="2000-01-01"
    )
    return DeviceModel(fingerprint=made_up, latency=timing, training=timing, training_batch=64)


def ended(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    code = 0
    try:
        main(shlex.split(arguments))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def check_mistake(arguments: str, code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with that exit code and one line, which says what to do. It leaves nothing
    behind in the current folder."""
    before = sorted(Path.cwd().rglob("*"))
    ended_with, out, error = ended(arguments, capsys)
    assert "Traceback" not in out + error
    assert error.startswith("phiscale: ") and error.endswith("\n") and error.count("\n") == 1
    assert re.search(says, error), error
    assert ended_with == code, error
    assert re.search(r"[.?!;:] \S", error.removeprefix("phiscale: ")), f"no fix: {error}"
    assert sorted(Path.cwd().rglob("*")) == before  # nothing was left behind


def mistake_test(mistakes: Sequence[tuple[str, int, str]]) -> Callable[..., None]:
    """The test of mistakes, each with its exit code and what the line says, in the folder `place`.
    A module assigns it to a name that starts with `test_`."""

    @pytest.mark.parametrize(("arguments", "code", "says"), mistakes, ids=[m[0] for m in mistakes])
    def test(
        arguments: str,
        code: int,
        says: str,
        place: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(place)
        check_mistake(arguments, code, says, capsys)

    return test


def child(
    arguments: str,
    env: Mapping[str, str] | None = None,
    stdout: Any = subprocess.PIPE,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A command line in a process of its own; `env` is added to the environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "phiscale", *shlex.split(arguments)],
        env=environment,
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        # a shell ignores Ctrl-C in what it starts in the background: these tests, perhaps
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
