"""The main job from images to answers, and what may happen to it on the way."""

import csv
import fnmatch
import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import phiscale
from phiscale.arch.families import get_spec
from phiscale.arch.spec import Spec
from phiscale.cli import main
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError, WeightsError
from phiscale.files import lock_folder
from phiscale.pipeline.choice import _regret
from phiscale.pipeline.run import fit
from phiscale.planning.budget import Budget, PlanningTask, Pretraining, estimate, ray
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel, Fingerprint, Rates, Timing
from phiscale.planning.laws import Law, Term
from phiscale.weights.pretrained import pretrained_weights

EVERYTHING = {
    "audit.json",
    "device.json",
    "choice.json",
    "spec.json",
    "recipe.json",
    "data.json",
    "log.jsonl",
    "checkpoints",
    "best.safetensors",
    "evaluation.json",
    "test-predictions.csv",
    "model.onnx",
    "model.json",
    "report.html",
    "request.json",
}
FLAGS = "digits --train-minutes 0.05 --min-epochs 0.1 --macs 330K --latency-ms 5 --seed 3"


def made_up_device() -> DeviceModel:
    latency = Rates(
        dense_macs=1e-9,
        depthwise_macs=5e-9,
        activations=1e-7,
        weight_bytes=0,
        convs=1e-3,
        constant=0.01,
    )
    step = Rates(
        dense_macs=2e-11,
        depthwise_macs=1e-10,
        activations=1e-9,
        weight_bytes=0,
        convs=1e-6,
        constant=2e-3,
    )
    which = Fingerprint(
        device="made up", cores=1, threads=1, runtime="onnxruntime", torch="2", date="2026-01-01"
    )
    return DeviceModel(
        fingerprint=which,
        latency=Timing(rates=latency, median_error=0.05, max_error=0.2),
        training=Timing(rates=step, median_error=0.05, max_error=0.2),
        training_batch=64,
    )


def made_up_law() -> Law:
    return Law(
        e0=0.01,
        depth=Term(0.02, 1.0),
        width=Term(0.03, 1.0),
        resolution=Term(0.02, 1.0),
        images=Term(0.01, 0.5),
        sd=0.03,
        source="made up",
    )


def same_speed_every_time(replace: Callable[[str, Any], None]) -> None:
    """Measured times differ from run to run, and choices with them; here they do not."""
    replace("phiscale.pipeline.short_runs.Trials.images_per_s", lambda *_: 400.0)
    replace("phiscale.pipeline.selection.measured_latency_ms", lambda *_, **__: 0.1)
    replace("phiscale.deploy.export.latency_ms", lambda *_, **__: 0.1)


def run(command: str) -> int:
    """Exit code of a command line, in this process."""
    try:
        main(shlex.split(command))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    same_speed_every_time(monkeypatch.setattr)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device model, a law and coefficients to plan with."""
    root = tmp_path_factory.mktemp("shelf")
    law = replace(made_up_law(), source="theirs")
    Coefficients(
        alpha=1.3, beta=1.15, gamma=1.1, base="small", data="a test", method="grid", law=law
    ).write(root / "found.json")
    made_up_device().write(root / "device.json")
    made_up_law().write(root / "law.json")
    return root


@pytest.fixture(scope="session")
def story(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `fit` has filled."""
    out = tmp_path_factory.mktemp("story") / "fitted"
    with pytest.MonkeyPatch.context() as monkeypatch:
        same_speed_every_time(monkeypatch.setattr)
        assert run(f"fit {planned(shelf)} --out {out}") == 0
    return out


def planned(shelf: Path) -> str:
    return f"{FLAGS} --device-model {shelf}/device.json --law {shelf}/law.json"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty of the test's digits as files."""
    root = tmp_path_factory.mktemp("pictures")
    test = open_dataset("digits").test
    for i in range(20):
        test.image(i).save(root / f"{i:02d}.png")
    return root


# What fit leaves


def test_fit_leaves_everything_in_one_folder(story: Path):
    assert {path.name for path in story.iterdir()} >= EVERYTHING
    choice = json.loads((story / "choice.json").read_text())
    assert json.loads((story / "spec.json").read_text()) == choice["spec"]
    assert json.loads((story / "recipe.json").read_text()) == choice["recipe"]
    assert choice["recipe"]["seed"] == 3
    assert choice["predicted"]["macs"] <= 330_000 and choice["why"]
    assert not list(story.rglob("*.part"))


def answers(command: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float]]:
    """Class and probability of each picture, from `predict` in one of its formats."""
    assert run(command) == 0
    out = capsys.readouterr().out
    if command.endswith("json"):
        return [(r["top"][0]["class"], r["top"][0]["probability"]) for r in json.loads(out)]
    if command.endswith("csv"):
        rows = csv.DictReader(io.StringIO(out))
        return [(row["class"], float(row["probability"])) for row in rows]
    found = re.findall(r"(\S+) (\d+\.\d) %$", out, re.MULTILINE)
    return [(name, float(percent) / 100) for name, percent in found]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
@pytest.mark.parametrize("model", ["", "/model.onnx", "/best.safetensors"])
def test_predict_answers_as_the_loaded_network_does(
    story: Path, pictures: Path, model: str, form: str, capsys: pytest.CaptureFixture[str]
):
    network = phiscale.load(story)
    files = sorted(pictures.iterdir())
    images = np.stack([network.preprocessing(Image.open(file)) for file in files])
    with torch.inference_mode():
        best = network(torch.from_numpy(images)).softmax(1).max(1)
    expected = [
        (network.metadata.classes[i], float(p))
        for p, i in zip(best.values, best.indices, strict=True)
    ]
    given = answers(f"predict {story}{model} {pictures} --format {form}", capsys)
    assert [name for name, _ in given] == [name for name, _ in expected]
    assert [p for _, p in given] == pytest.approx([p for _, p in expected], abs=1e-3)


def test_the_python_predictor_answers_the_same(story: Path, pictures: Path):
    files = sorted(pictures.iterdir())
    from_file, from_folder = (
        phiscale.Predictor(where)(files) for where in (story / "model.onnx", story)
    )
    assert [p.label for p in from_file] == [p.label for p in from_folder]


def test_evaluate_of_the_run_and_of_the_export_agree_with_the_evaluation(
    story: Path, capsys: pytest.CaptureFixture[str]
):
    said = json.loads((story / "evaluation.json").read_text())["metrics"]
    for model in ("", "/model.onnx", "/best.safetensors"):
        assert run(f"evaluate {story}{model} digits --json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["images"], found["top1"]) == (said["images"], said["top1"])
        assert found["cross_entropy"] == pytest.approx(said["cross_entropy"], abs=1e-4)
        assert found["confusion"] == said["confusion"]


def test_every_test_pictures_answer_is_kept(story: Path):
    with (story / "test-predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    said = json.loads((story / "evaluation.json").read_text())["metrics"]
    assert [row["key"] for row in rows] == list(open_dataset("digits").test.keys)
    right = sum(row["truth"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(said["top1"])


def test_the_report_stands_alone_and_tells_the_accuracy(story: Path):
    page = (story / "report.html").read_text(encoding="utf-8")
    said = json.loads((story / "evaluation.json").read_text())["metrics"]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert re.search(rf"\b{100 * said['top1']:.1f}\s*%", text)
    assert "accuracy" in text.lower() and "interval" in text.lower()
    assert "<script" not in page and "<link" not in page and "@import" not in page
    sources = re.findall(r"(?:src|href)=[\"']?([^\"'>\s]+)", page)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(http" not in page


# Asking again


def test_a_finished_fit_run_again_does_nothing_twice(
    story: Path, shelf: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    def again(*_: object, **__: object) -> None:
        raise AssertionError("done already")

    for stage in ("audit", "calibrate", "choose", "logits_of", "export_onnx"):
        monkeypatch.setattr(f"phiscale.pipeline.run.{stage}", again)
    kept = [path for path in story.rglob("*.*") if path.name in EVERYTHING - {"report.html"}]
    before = {path: path.read_bytes() for path in kept}
    assert run(f"fit {planned(shelf)} --out {story}") == 0
    assert {path: path.read_bytes() for path in kept} == before


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
def test_another_request_in_the_same_folder_is_refused_and_the_flag_named(
    story: Path, shelf: Path, changed: str, says: str, capsys: pytest.CaptureFixture[str]
):
    changed, says = changed.format(shelf), says.format(shelf)
    flag = changed.partition(" ")[0]
    kept = re.sub(rf"{flag} \S+ ?", "", planned(shelf))
    capsys.readouterr()
    assert run(f"fit {kept} {changed} --out {story}") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error and "another --out" in error


class Stopped(PhiscaleError):
    """Raised where training would begin."""


def test_a_run_folder_competes_as_pretrained_and_counts_what_it_has_seen(
    quick: None, story: Path, shelf: Path, tmp_path: Path
):
    flags = planned(shelf).replace("--macs", "--no-from-scratch --macs")
    assert run(f"fit {flags} --pretrained {story} --out {tmp_path / 'again'}") == 0
    choice = json.loads((tmp_path / "again" / "choice.json").read_text())
    assert choice["pretrained"] == str(story / "best.safetensors")
    assert choice["name"] == story.name  # not "best", as all such files are called
    started = load_file(story / "best.safetensors")
    assert started.keys() == load_file(tmp_path / "again" / "best.safetensors").keys()


def test_auto_lets_the_best_known_weights_compete(
    quick: None,
    story: Path,
    shelf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    asked: list[str] = []

    def fetched(name: str) -> Path:
        asked.append(name)
        if name.endswith("huge"):
            raise WeightsError("the hub cannot be reached")
        return story / "best.safetensors"

    one = replace(pretrained_weights()[0], member="small", tag="ours", pixels=32)
    both = (replace(one, tag="huge"), one, replace(one, member="efficientnet_b7", pixels=600))
    monkeypatch.setattr("phiscale.pipeline.selection.best_known", lambda: both)
    monkeypatch.setattr("phiscale.pipeline.selection.weights_file", fetched)
    flags = re.sub("--macs 330K", "--no-from-scratch --pretrained auto --macs 1G", planned(shelf))
    capsys.readouterr()
    assert run(f"fit {flags} --out {tmp_path / 'auto'}") == 0
    assert asked == ["small.huge", "small.ours"]  # the third breaks the limits: not fetched
    said = "--pretrained auto: 1 of the known weights cannot be had: the hub cannot be reached"
    assert said in capsys.readouterr().err
    assert json.loads((tmp_path / "auto" / "choice.json").read_text())["name"] == "small.ours"


def test_a_latency_that_no_measured_network_keeps_is_told_with_the_users_own_limit(
    quick: None,
    shelf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("phiscale.pipeline.selection.measured_latency_ms", lambda *_, **__: 50.0)
    monkeypatch.setattr("phiscale.pipeline.run.calibrate", lambda *_: made_up_device())
    flags = f"{FLAGS} --law {shelf}/law.json"
    assert run(f"fit {flags} --out {tmp_path / 'slow'}") == 1
    error = capsys.readouterr().err
    assert "within --latency-ms 5; the last one took 50 ms. Raise it to 55" in error


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped("training would begin")

    monkeypatch.setattr("phiscale.pipeline.run.train", stop)


def test_a_budget_that_no_network_meets_can_be_mended_in_the_same_folder(
    shelf: Path, tmp_path: Path, no_training: None, capsys: pytest.CaptureFixture[str]
):
    flags = re.sub(r"--macs \S+ ", "", planned(shelf))
    assert run(f"fit {flags} --macs 10 --out {tmp_path}/out") == 1
    assert re.search(r"smallest network takes .* Raise --macs to", capsys.readouterr().err)
    assert run(f"fit {flags} --macs 300K --out {tmp_path}/out") == 1
    assert "training would begin" in capsys.readouterr().err
    choice = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert choice["predicted"]["macs"] <= 300_000


def test_with_coefficients_two_budgets_give_two_networks_of_their_ray(
    shelf: Path, tmp_path: Path, no_training: None, capsys: pytest.CaptureFixture[str]
):
    flags = re.sub(r"--(macs|law) \S+ ?", "", planned(shelf))
    found = Coefficients.read(shelf / "found.json")
    on_the_ray = [net.stages for net in ray(get_spec("small"), found, native_pixels=8)]
    names: list[str] = []
    for macs in ("200K", "800K"):
        asked_for = f"--macs {macs} --coefficients {shelf}/found.json"
        command = f"fit {flags} {asked_for} --out {tmp_path}/{macs}"
        assert run(command) == 1 and "training would begin" in capsys.readouterr().err
        asked, choice = (
            json.loads((tmp_path / macs / name).read_text())
            for name in ("request.json", "choice.json")
        )
        assert asked["coefficients"] == f"{shelf}/found.json"
        assert choice["coefficients"] == found.to_dict()
        assert choice["law_source"] == "theirs"
        assert "ray of the coefficients 1.3^phi" in choice["why"]
        assert choice["name"].startswith("phi ")
        assert Spec.from_dict(choice["spec"]).stages in on_the_ray
        before = (tmp_path / macs / "choice.json").read_bytes()
        assert run(command) == 1  # goes on where it was
        assert (tmp_path / macs / "choice.json").read_bytes() == before
        names.append(choice["name"])
    assert len(set(names)) == 2


def test_the_report_says_that_coefficients_were_given(quick: None, shelf: Path, tmp_path: Path):
    out = tmp_path / "along"
    assert run(f"fit {planned(shelf)} --coefficients {shelf}/found.json --out {out}") == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "only those by given coefficients competed: 1.3^phi, 1.15^phi, 1.1^phi (grid, " in page
    assert json.loads((out / "choice.json").read_text())["law_source"] == "made up"  # --law wins


@pytest.mark.parametrize(
    "mistake",
    [
        "--law {0}/nope.json",
        "--device-model {0}/nope.json",
        "--pretrained {0}/nope.x",
        "--coefficients {0}/nope.json",
    ],
)
def test_a_file_that_is_missing_is_told_before_anything_is_made(
    tmp_path: Path, mistake: str, capsys: pytest.CaptureFixture[str]
):
    assert run(f"fit digits --out {tmp_path}/out {mistake.format(tmp_path)}") == 1
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


def test_pictures_that_changed_since_the_choice_are_noticed(
    photos: Path, shelf: Path, no_training: None, capsys: pytest.CaptureFixture[str]
):
    command = f"fit {photos} --device-model {shelf}/device.json --out {photos.parent}/out"
    assert run(command) == 1
    assert "training would begin" in capsys.readouterr().err
    noise(photos / "a" / "new.png", 99)
    assert run(command) == 1
    assert "has changed since" in capsys.readouterr().err
    (photos / "a" / "new.png").unlink()
    assert run(command) == 1
    assert "training would begin" in capsys.readouterr().err


def test_bad_pictures_are_all_listed_before_training_or_skipped_and_recorded(
    photos: Path, shelf: Path, no_training: None, capsys: pytest.CaptureFixture[str]
):
    for name in ("a/cut.png", "b/words.png"):
        (photos / name).write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    command = f"fit {photos} --device-model {shelf}/device.json --out {photos.parent}/out"
    assert run(command) == 1
    error = capsys.readouterr().err
    assert "a/cut.png" in error and "b/words.png" in error and "--on-bad skip" in error
    assert run(f"{command} --on-bad skip") == 1
    assert "training would begin" in capsys.readouterr().err
    audited = json.loads((photos.parent / "out" / "audit.json").read_text())
    assert {file["key"] for file in audited["bad"]} == {"a/cut.png", "b/words.png"}


def test_a_folder_in_use_is_left_alone(shelf: Path, tmp_path: Path):
    out = tmp_path / "out"
    with lock_folder(out), pytest.raises(PhiscaleError, match="in use by process"):
        fit("digits", out, law=str(shelf / "law.json"))
    assert {path.name for path in out.iterdir()} == {".lock"}


# Killed


def stand_ins(events: Path) -> None:
    """In a process of its own: no measurement differs, and what is done is written down."""

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with events.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            return function(*args, **kwargs)

        return call

    from phiscale.pipeline import run as pipeline

    put = pytest.MonkeyPatch().setattr
    same_speed_every_time(put)
    for least in ("LEAST_RACE_S", "LEAST_RACE_EPOCHS"):
        put(f"phiscale.pipeline.selection.{least}", 0.0)  # so that there is a race
    put("phiscale.pipeline.run.calibrate", counted("calibrated", lambda *_: made_up_device()))
    put("phiscale.pipeline.run.audit", counted("audited", pipeline.audit))
    put("phiscale.pipeline.run.choose", counted("chosen", pipeline.choose))
    put("phiscale.pipeline.run.logits_of", counted("tested", pipeline.logits_of))


def die_before_writing(pattern: str, nth: int) -> None:
    """SIGKILL at the nth file of that name, its content written beside, not yet renamed."""
    plain, left = Path.replace, [nth]

    def replace(self: Path, target: Path) -> Path:
        if fnmatch.fnmatch(str(target), f"*/out/{pattern}"):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, target)

    Path.replace = replace  # type: ignore[method-assign]


def fit_with_kills(root: Path, points: Sequence[tuple[str, int]]) -> None:
    """One fit, killed at each point in turn and begun again; a fork each, so torch loads once."""
    root.mkdir()
    os.chdir(root)  # the same words in every request
    made_up_law().write(Path("law.json"))
    for pattern, nth in points:
        pid = os.fork()
        if pid == 0:
            stand_ins(root / "events")
            if pattern:
                die_before_writing(pattern, nth)
            budget = Budget(train_minutes=0.05, latency_ms=5, macs=330_000)
            fit("digits", root / "out", budget, law="law.json", min_epochs=0.1, seed=3)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        expected = signal.SIGKILL if pattern else 0
        assert status == expected, f"{pattern} {nth}: ended with {status}"


def in_a_child(*fits: tuple[Path, Sequence[tuple[str, int]]]) -> None:
    code = f"""
import importlib.util, json, pathlib, sys
found = importlib.util.spec_from_file_location("story", {__file__!r})
story = importlib.util.module_from_spec(found)
found.loader.exec_module(story)
for heavy in ("onnxruntime", "onnxscript", "torch.utils.tensorboard", "torchvision"):
    importlib.import_module(heavy)
story.torch.set_num_threads(1)
story.open_dataset("digits")
for root, points in json.loads(sys.argv[1]):
    story.fit_with_kills(pathlib.Path(root), points)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    jobs = json.dumps([(str(root), points) for root, points in fits])
    subprocess.run([sys.executable, "-c", code, jobs], check=True, env=environment)


TO_THE_END = ("", 0)

POINTS = (  # file, and which of those of that name: where fit dies, in the order of the stages
    ("request.json", 1),
    ("audit.json", 1),
    ("device.json", 1),
    ("race/1/best.safetensors", 1),
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
    """One that was killed at every point, and the same one left alone."""
    root = tmp_path_factory.mktemp("fits")
    killed, alone = root / "killed", root / "alone"
    points = [point for point in POINTS if point[0] != "model.onnx"]  # as the next, and slow
    in_a_child((killed, [*points, TO_THE_END]), (alone, [TO_THE_END]))
    return killed, alone


def same(disturbed: Path, alone: Path) -> None:
    for name in (
        "request.json",
        "device.json",
        "choice.json",
        "spec.json",
        "recipe.json",
        "evaluation.json",
        "test-predictions.csv",
    ):
        assert (disturbed / name).read_text() == (alone / name).read_text(), name
    ours, theirs = (load_file(folder / "best.safetensors") for folder in (disturbed, alone))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {path.name for path in disturbed.iterdir()} >= EVERYTHING
    assert not list(disturbed.rglob("*.part"))


def events(root: Path) -> Counter[str]:
    return Counter((root / "events").read_text().split())


def test_a_fit_killed_in_every_stage_ends_as_if_it_had_not_been(fits: tuple[Path, Path]):
    killed, alone = fits
    same(killed / "out", alone / "out")


def test_only_a_stage_whose_file_was_not_whole_is_done_again(fits: tuple[Path, Path]):
    killed, alone = fits
    assert events(killed) == {"audited": 2, "calibrated": 2, "chosen": 3, "tested": 3}
    assert events(alone) == {"audited": 1, "calibrated": 1, "chosen": 1, "tested": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "nth"), POINTS, ids=[p for p, _ in POINTS])
def test_a_fit_killed_once_ends_as_if_it_had_not_been(
    fits: tuple[Path, Path], tmp_path: Path, pattern: str, nth: int
):
    in_a_child((tmp_path / "once", [(pattern, nth), TO_THE_END]))
    same(tmp_path / "once" / "out", fits[1] / "out")


@pytest.mark.slow
def test_the_command_killed_at_any_time_and_run_again_ends(shelf: Path, tmp_path: Path):
    """With real measurements: what the first choice was, the end must still say."""
    command = [sys.executable, "-m", "phiscale", "fit", *shlex.split(planned(shelf)), "--out", "o"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    chance, choice = random.Random(0), tmp_path / "o" / "choice.json"
    chosen: set[str] = set()
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
            chosen.add(choice.read_text())
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert chosen == {choice.read_text()}
    assert {path.name for path in choice.parent.iterdir()} >= EVERYTHING
    assert not list(tmp_path.rglob("*.part"))


def test_a_pretrained_network_that_only_lacks_time_is_named_beside_the_winner():
    spec = replace(get_spec("small"), classes=10)
    budget = Budget(train_minutes=1.0)
    task = PlanningTask(train_images=6000, native_pixels=32, batch=32, law_base=get_spec("small"))
    late = estimate(
        spec,
        budget,
        task=task,
        name="theirs",
        pretraining=Pretraining("w.safetensors", 10**9),
        images_per_s=10,
    )
    winner = estimate(spec, budget, task=task, name="ours", images_per_s=1000)
    assert late.excluded_by and not winner.excluded_by and late.error < winner.error
    said = _regret(winner, [late])
    assert "theirs is foretold" in said and "train_minutes" in said and "--min-epochs" in said
    assert _regret(late, [winner]) == "" and _regret(winner, []) == ""
