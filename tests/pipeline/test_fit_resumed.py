"""`fit` run again in the same folder: with the same arguments, with others, with other images,
with damaged files."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.errors import BudgetError, CheckpointError, DataError, PhiscaleError
from phiscale.files import lock_folder, read_checked, sha256
from phiscale.pipeline.fit import fit
from phiscale.pipeline.run import FitRuntime, prepare_fit, run_fit
from phiscale.planning.device import DeviceModel
from support.fits import (
    BUDGET,
    EVERYTHING,
    fixed_measurements,
    flags,
    made_up_device,
    request,
    run_command,
)


def test_a_finished_fit_run_again_does_nothing_twice(
    fitted: Path, plan_files: Path, monkeypatch: pytest.MonkeyPatch
):
    def again(*_: object, **__: object) -> None:
        raise AssertionError("done already")

    for stage in ("audit", "choose", "logits_of", "export_onnx"):
        monkeypatch.setattr(f"phiscale.pipeline.run.{stage}", again)
    files = [path for path in fitted.rglob("*.*") if path.name in EVERYTHING - {"report.html"}]
    before = {path: path.read_bytes() for path in files}
    assert run_command(f"fit {flags(plan_files)} --out {fitted}") == 0
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("--macs 1M", "--macs 330000 -> 1000000"),
        ("--seed 4", "--seed 3 -> 4"),
        ("--params 1M", "--params not given -> 1000000"),
        ("--train-memory 1GB", "--train-memory not given -> 1000000000"),
        ("--on-bad skip", "--on-bad stop -> skip"),
        ("--base efficientnet_b0", "--base not given -> efficientnet_b0"),
        ("--coefficients {0}/found.json", "--coefficients not given -> {0}/found.json"),
    ],
)
def test_different_arguments_in_the_same_folder_are_refused_and_named(
    fitted: Path, plan_files: Path, changed: str, says: str, capsys: pytest.CaptureFixture[str]
):
    changed, says = changed.format(plan_files), says.format(plan_files)
    flag = changed.partition(" ")[0]
    others = re.sub(rf"{flag} \S+ ?", "", flags(plan_files))
    capsys.readouterr()
    assert run_command(f"fit {others} {changed} --out {fitted}") == 1
    lines = capsys.readouterr().err.splitlines()  # a busy machine is a warning of its own
    [error] = [line for line in lines if not line.startswith("warning: this machine is busy")]
    assert says in error and "another --out" in error


def test_python_names_the_parameters_that_differ(fitted: Path, plan_files: Path):
    with pytest.raises(CheckpointError, match=r"seed=3 -> 4\. .* or another `out`"):
        prepare_fit(request(plan_files, seed=4), fitted, fixed_measurements())


def test_a_budget_that_no_network_meets_can_be_raised_in_the_same_folder(
    plan_files: Path, tmp_path: Path
):
    out, tight = tmp_path / "out", replace(BUDGET, macs=10)
    with pytest.raises(BudgetError, match=r"smallest network needs .* Raise .*macs.* to"):
        prepare_fit(request(plan_files, budget=tight), out, fixed_measurements())
    enough = request(plan_files, budget=replace(BUDGET, macs=300_000))
    plan = prepare_fit(enough, out, fixed_measurements())
    assert plan.choice.predicted["macs"] <= 300_000
    before = (out / "choice.json").read_bytes()
    assert prepare_fit(enough, out, fixed_measurements()).choice == plan.choice
    assert (out / "choice.json").read_bytes() == before


@pytest.mark.parametrize(
    "mistake",
    [
        "--law {0}/nope.json",
        "--device-model {0}/nope.json",
        "--pretrained {0}/nope.x",
        "--coefficients {0}/nope.json",
    ],
)
def test_a_missing_file_is_reported_before_anything_is_made(
    tmp_path: Path, mistake: str, capsys: pytest.CaptureFixture[str]
):
    assert run_command(f"fit digits --out {tmp_path}/out {mistake.format(tmp_path)}") == 1
    assert "nope" in capsys.readouterr().err and not (tmp_path / "out").exists()


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(40):
        noise(tmp_path / "photos" / "ab"[seed % 2] / f"{seed}.png", seed)
    return tmp_path / "photos"


def test_images_that_changed_since_the_choice_are_noticed(photos: Path, plan_files: Path):
    unlimited = replace(BUDGET, macs=None, train_minutes=None, latency_ms=None)
    arguments = request(plan_files, data=str(photos), budget=unlimited, law=None, min_epochs=None)
    out = photos.parent / "out"
    plan = prepare_fit(arguments, out, fixed_measurements())
    noise(photos / "a" / "new.png", 99)
    with pytest.raises(CheckpointError, match="has changed since"):
        prepare_fit(arguments, out, fixed_measurements())
    (photos / "a" / "new.png").unlink()
    assert prepare_fit(arguments, out, fixed_measurements()).choice == plan.choice


def test_a_damaged_audit_of_images_that_changed_makes_the_choice_anew(
    photos: Path, plan_files: Path
):
    unlimited = replace(BUDGET, macs=None, train_minutes=None, latency_ms=None)
    arguments = request(plan_files, data=str(photos), budget=unlimited, law=None, min_epochs=None)
    out = photos.parent / "out"
    assert prepare_fit(arguments, out, fixed_measurements()).choice.spec.classes == 2
    (out / "audit.json").write_text("{}")
    for seed in range(100, 120):
        noise(photos / "c" / f"{seed}.png", seed)
    assert prepare_fit(arguments, out, fixed_measurements()).choice.spec.classes == 3
    assert json.loads((out / "choice.json").read_text())["spec"]["classes"] == 3


def test_a_damaged_request_keeps_no_device_of_another_request(plan_files: Path, tmp_path: Path):
    out, other = tmp_path / "out", tmp_path / "other.json"
    replace(made_up_device(), training_batch=32).write(other)
    prepare_fit(request(plan_files), out, fixed_measurements())
    assert DeviceModel.read(out / "device.json").training_batch == 64
    (out / "choice.json").unlink()
    (out / "request.json").write_text("not JSON")
    prepare_fit(request(plan_files, device_model=str(other)), out, fixed_measurements())
    assert DeviceModel.read(out / "device.json").training_batch == 32


def flip_bit(path: Path) -> None:
    """Flips one bit of a letter or digit in the middle of a file."""
    content = bytearray(path.read_bytes())
    middle = next(i for i in range(len(content) // 2, len(content)) if chr(content[i]).isalnum())
    content[middle] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "audit.json",
        "device.json",
        "evaluation.json",
        "test-predictions.csv",
        "model.onnx",
        "model.json",
    ],
)
def test_a_damaged_file_that_follows_from_others_is_made_anew(
    fitted: Path, plan_files: Path, tmp_path: Path, name: str
):
    out = tmp_path / "out"
    shutil.copytree(fitted, out)
    flip_bit(out / name)
    run_fit(request(plan_files), out, FitRuntime(measurements=fixed_measurements()))
    if name not in ("model.onnx", "model.json"):  # an export says when it was made
        assert (out / name).read_bytes() == (fitted / name).read_bytes()
    exported = read_checked(out / "model.json", "")["file"]
    assert exported["sha256"] == sha256((out / "model.onnx").read_bytes())


@pytest.mark.parametrize(
    "name", ["request.json", "choice.json", "spec.json", "recipe.json", "data.json"]
)
def test_a_damaged_file_that_decided_the_training_is_named_and_never_used(
    fitted: Path, plan_files: Path, tmp_path: Path, name: str
):
    out = tmp_path / "out"
    shutil.copytree(fitted, out)
    flip_bit(out / name)
    reason = r"(damaged: it does not match its checksum|not JSON: .*)"
    with pytest.raises(PhiscaleError, match=rf"{re.escape(str(out / name))} is {reason}\. Restore"):
        run_fit(request(plan_files), out, FitRuntime(measurements=fixed_measurements()))


def test_bad_images_are_all_listed_before_training_or_skipped_and_recorded(
    photos: Path, plan_files: Path, capsys: pytest.CaptureFixture[str]
):
    for name in ("a/cut.png", "b/words.png"):
        (photos / name).write_bytes(b"\x89PNG\r\n\x1a\n not an image")
    out = photos.parent / "out"
    command = f"fit {photos} --device-model {plan_files}/device.json --out {out}"
    assert run_command(command) == 1
    error = capsys.readouterr().err
    assert "a/cut.png" in error and "b/words.png" in error and "--on-bad skip" in error
    unlimited = replace(BUDGET, macs=None, train_minutes=None, latency_ms=None)
    arguments = request(plan_files, data=str(photos), budget=unlimited, law=None, min_epochs=None)
    with pytest.raises(DataError, match=r"on.bad"):
        prepare_fit(arguments, out, fixed_measurements())
    plan = prepare_fit(replace(arguments, on_bad="skip"), out, fixed_measurements())
    assert sum(len(split) for _, split in plan.images.splits()) == 40
    audited = json.loads((out / "audit.json").read_text())
    assert {file["key"] for file in audited["bad"]} == {"a/cut.png", "b/words.png"}


def test_a_folder_in_use_is_left_alone(plan_files: Path, tmp_path: Path):
    out = tmp_path / "out"
    with lock_folder(out), pytest.raises(PhiscaleError, match="in use by process"):
        fit("digits", out, law=plan_files / "law.json")
    assert {path.name for path in out.iterdir()} == {".lock"}
