"""The folder of a finished `fit` whose files were damaged, edited or replaced by others'."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phiscale.errors import CheckpointError, PhiscaleError
from phiscale.pipeline.run import FitRuntime, prepare_fit, run_fit
from phiscale.pipeline.run_folder import Run
from phiscale.report.runs import read_runs
from phiscale.report.trained_networks import sheet_of_runs
from support.damage import DAMAGE
from support.fits import fixed_measurements, request

READERS: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "evaluation.json": (lambda out: Run(out).metrics, lambda out: sheet_of_runs([out])),
    "spec.json": (lambda out: Run(out).spec, lambda out: read_runs([out])),
    "recipe.json": (lambda out: Run(out).recipe, lambda out: read_runs([out])),
    "data.json": (lambda out: read_runs([out]),),
}
MADE_ANEW = ("audit.json", "device.json")


@pytest.fixture(scope="module")
def copy(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damaged") / "out"
    shutil.copytree(fitted, out)
    return out


@pytest.fixture
def restored(copy: Path, fitted: Path) -> Iterator[Path]:
    """The same folder for all tests, which each damage one file."""
    yield copy
    for path in fitted.glob("*.*"):
        shutil.copy(path, copy / path.name)


def check_one_line(error: PhiscaleError, path: Path) -> None:
    message = str(error)
    assert "\n" not in message and str(path) in message and message.endswith("."), message


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_a_run_is_one_line_for_whoever_reads_it(
    name: str, damage: str, restored: Path
):
    path = restored / name
    path.write_text(DAMAGE[damage](path.read_text()))
    for read in READERS[name]:
        with pytest.raises(PhiscaleError) as caught:
            read(restored)
        check_one_line(caught.value, path)


@pytest.mark.parametrize("name", ["request.json", "choice.json", *MADE_ANEW])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_a_plan_is_one_line_or_made_anew(
    name: str,
    damage: str,
    restored: Path,
    plan_files: Path,
    caplog: pytest.LogCaptureFixture,
):
    path = restored / name
    path.write_text(DAMAGE[damage](path.read_text()))
    if name in MADE_ANEW:
        with caplog.at_level(logging.WARNING, "phiscale"):
            prepare_fit(request(plan_files), restored, fixed_measurements())
        assert json.loads(path.read_text())["sha256"]
        [warning] = [line for line in caplog.messages if str(path) in line]
        assert warning.endswith("It is made anew.") and "\n" not in warning
        return
    with pytest.raises(PhiscaleError) as caught:
        prepare_fit(request(plan_files), restored, fixed_measurements())
    check_one_line(caught.value, path)


def test_without_an_evaluation_the_metrics_are_those_of_the_validation_split(restored: Path):
    (restored / "evaluation.json").unlink()
    run = Run(restored)
    assert run.metrics == run.metadata.metrics["validation"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("evaluation.json", lambda text: text.replace('"top1": 0.', '"top1": 0.9')),
        ("evaluation.json", DAMAGE["an empty list"]),
        ("test-predictions.csv", DAMAGE["empty"]),
        ("model.json", DAMAGE["cut in half"]),
    ],
)
def test_an_edited_result_of_a_finished_fit_is_named_and_made_anew(
    name: str,
    damage: Callable[[str], str],
    restored: Path,
    plan_files: Path,
    caplog: pytest.LogCaptureFixture,
):
    path, metrics = restored / name, dict(Run(restored).metrics)
    path.write_text(damage(path.read_text()))
    with caplog.at_level(logging.WARNING, "phiscale"):
        run_fit(request(plan_files), restored, FitRuntime(measurements=fixed_measurements()))
    [warning] = [line for line in caplog.messages if str(path) in line]
    assert warning.endswith("It is made anew.") and "\n" not in warning
    assert Run(restored).metrics == metrics


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"7",
        b'{"images_seen": 64, "loss": 2.3',
        b'{"loss": 2.3}',
        b'{"images_seen": "64", "seconds": 1.0}',
        b'{"images_seen": 64, "seconds": 1.0, "loss": NaN}',
        b'{"images_seen": 64, "seconds": 1.0, "lo\xf3s": 2.3}',
    ],
)
def test_a_damaged_line_of_the_log_is_named(line: bytes, restored: Path):
    path = restored / "log.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    readers: tuple[Callable[[], Any], ...] = (
        lambda: Run(restored).history,
        lambda: read_runs([restored]),
    )
    for read in readers:
        with pytest.raises(CheckpointError, match=r"log\.jsonl is damaged in line 2: .*\.$"):
            read()


def test_a_log_that_a_kill_cut_is_read_up_to_the_cut(restored: Path):
    path = restored / "log.jsonl"
    before = Run(restored).history
    with path.open("ab") as log:
        log.write(b'{"images_seen": 7')
    assert Run(restored).history == before
