"""A `fit` that is killed at any time and run again ends as if undisturbed."""

import fnmatch
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from phiscale.pipeline import run as pipeline
from phiscale.pipeline.measurements import Measurements
from phiscale.pipeline.request import Request
from phiscale.pipeline.run import FitRuntime, run_fit
from support.fits import BUDGET, EVERYTHING, fixed_measurements, flags, made_up_device, made_up_law


def counted_measurements(events: Path) -> Measurements:
    """In a process of its own: measurements are fixed, and each stage is logged."""

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with events.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            return function(*args, **kwargs)

        return call

    pipeline.audit = counted("audited", pipeline.audit)
    pipeline.choose = counted("chosen", pipeline.choose)
    pipeline.logits_of = counted("tested", pipeline.logits_of)
    return fixed_measurements(
        calibrate=counted("calibrated", lambda *_: made_up_device()),
        least_short_run_s=0.0,  # so that there are short runs
        least_short_run_epochs=0.0,
    )


def kill_before_writing(pattern: str, nth: int) -> None:
    """SIGKILL at the nth file of that name, its content written beside, not yet renamed."""
    plain, remaining = Path.replace, [nth]

    def replace(self: Path, target: Path) -> Path:
        if fnmatch.fnmatch(str(target), f"*/out/{pattern}"):
            remaining[0] -= 1
            if not remaining[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, target)

    Path.replace = replace  # type: ignore[method-assign]


def fit_with_kills(root: Path, points: Sequence[tuple[str, int]]) -> None:
    """One fit, killed at each point in turn and run again; a fork each, so torch loads once."""
    root.mkdir()
    os.chdir(root)  # the same paths in every request
    made_up_law().write(Path("law.json"))
    for pattern, nth in points:
        pid = os.fork()
        if pid == 0:
            runtime = FitRuntime(measurements=counted_measurements(root / "events"))
            if pattern:
                kill_before_writing(pattern, nth)
            request = Request(data="digits", budget=BUDGET, law="law.json", min_epochs=0.1, seed=3)
            run_fit(request, root / "out", runtime)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        expected = signal.SIGKILL if pattern else 0
        assert status == expected, f"{pattern} {nth}: ended with {status}"


def in_a_child(*fits: tuple[Path, Sequence[tuple[str, int]]]) -> None:
    code = f"""
import importlib.util, json, pathlib, sys
location = importlib.util.spec_from_file_location("kills", {__file__!r})
kills = importlib.util.module_from_spec(location)
location.loader.exec_module(kills)
for heavy in ("onnxruntime", "onnxscript", "torch.utils.tensorboard", "torchvision"):
    importlib.import_module(heavy)
kills.torch.set_num_threads(1)
from phiscale.data.datasets.open import open_dataset
open_dataset("digits")
for root, points in json.loads(sys.argv[1]):
    kills.fit_with_kills(pathlib.Path(root), points)
"""
    tests = str(Path(__file__).parents[1])  # where `support` is
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    jobs = json.dumps([(str(root), points) for root, points in fits])
    subprocess.run([sys.executable, "-c", code, jobs], check=True, env=environment)


TO_THE_END = ("", 0)

POINTS = (  # file, and which of those of that name: where fit is killed, in the order of the stages
    ("request.json", 1),
    ("audit.json", 1),
    ("device.json", 1),
    ("short-runs/1/best.safetensors", 1),
    ("choice.json", 1),
    ("spec.json", 1),
    ("best.safetensors", 1),
    ("checkpoints/*.pt", 2),
    ("test-predictions.csv", 1),
    ("evaluation.json", 1),
    ("model.onnx", 1),
    ("model.json", 1),
    ("report.html", 1),
)


@pytest.fixture(scope="session")
def fits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that was killed at every point, and the same one undisturbed."""
    root = tmp_path_factory.mktemp("fits")
    killed, undisturbed = root / "killed", root / "undisturbed"
    points = [point for point in POINTS if point[0] != "model.onnx"]  # as the next, and slow
    in_a_child((killed, [*points, TO_THE_END]), (undisturbed, [TO_THE_END]))
    return killed, undisturbed


def assert_equal_folders(disturbed: Path, undisturbed: Path) -> None:
    for name in (
        "request.json",
        "device.json",
        "choice.json",
        "spec.json",
        "recipe.json",
        "evaluation.json",
        "test-predictions.csv",
    ):
        assert (disturbed / name).read_text() == (undisturbed / name).read_text(), name
    ours, theirs = (load_file(folder / "best.safetensors") for folder in (disturbed, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {path.name for path in disturbed.iterdir()} >= EVERYTHING
    assert not list(disturbed.rglob("*.part"))


def events(root: Path) -> Counter[str]:
    return Counter((root / "events").read_text().split())


def test_a_fit_killed_in_every_stage_ends_as_if_undisturbed(fits: tuple[Path, Path]):
    killed, undisturbed = fits
    assert_equal_folders(killed / "out", undisturbed / "out")


def test_only_a_stage_whose_file_was_not_whole_is_done_again(fits: tuple[Path, Path]):
    killed, undisturbed = fits
    assert events(killed) == {"audited": 2, "calibrated": 2, "chosen": 3, "tested": 3}
    assert events(undisturbed) == {"audited": 1, "calibrated": 1, "chosen": 1, "tested": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "nth"), POINTS, ids=[p for p, _ in POINTS])
def test_a_fit_killed_once_ends_as_if_undisturbed(
    fits: tuple[Path, Path], tmp_path: Path, pattern: str, nth: int
):
    in_a_child((tmp_path / "once", [(pattern, nth), TO_THE_END]))
    assert_equal_folders(tmp_path / "once" / "out", fits[1] / "out")


@pytest.mark.slow
def test_the_command_killed_at_any_time_and_run_again_ends(plan_files: Path, tmp_path: Path):
    """With real measurements: the choice is made once."""
    command = [
        sys.executable,
        "-m",
        "phiscale",
        "fit",
        *shlex.split(flags(plan_files)),
        "--out",
        "o",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    chance, choice = random.Random(0), tmp_path / "o" / "choice.json"
    choices: set[str] = set()
    for name in (
        "request.json",
        "audit.json",
        "device.json",
        "choice.json",
        "log.jsonl",
        "best.safetensors",
        "evaluation.json",
        "model.json",
        "report.html",
    ):
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
        ) as running:
            while not (tmp_path / "o" / name).exists() and running.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 2))
            running.kill()
        if choice.exists():
            choices.add(choice.read_text())
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert choices == {choice.read_text()}
    assert {path.name for path in choice.parent.iterdir()} >= EVERYTHING
    assert not list(tmp_path.rglob("*.part"))
