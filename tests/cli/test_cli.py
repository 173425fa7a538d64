"""The command line as people meet it: what it prints, how it fails, how it ends."""

import itertools
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.arch.families import get_spec
from phiscale.cli import VERBS, main
from phiscale.data.preprocessing import Preprocessing
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceFingerprint, DeviceModel, Rates, Timing
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPES
from phiscale.training.run import TrainRequest

CLASSES = ("a", "b", "café 日本")


def draw(path: Path, shade: int, number: int) -> None:
    noise = np.random.default_rng([shade, number]).integers(0, 60, (16, 16, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise + np.uint8(shade)).save(path)


def device_model() -> DeviceModel:
    rates = Rates(
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


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the command lines below name, good and bad."""
    import torch

    from phiscale.nn.network import build
    from phiscale.weights.metadata import ModelMetadata
    from phiscale.weights.store import save

    root = tmp_path_factory.mktemp("place")
    for shade, name in enumerate(CLASSES):
        for number in range(10):
            draw(root / "pictures" / name / f"{number}.png", 60 * shade, number)
    draw(root / "one.png", 60, 0)
    draw(root / "single" / "a" / "0.png", 0, 0)
    for name in "ab":
        for number in range(10):
            draw(root / "spoilt" / name / f"{number}.png", 60, number + 10 * (name == "b"))
    (root / "spoilt" / "a" / "cut.png").write_bytes((root / "one.png").read_bytes()[:60])
    shutil.copytree(root / "pictures", root / "pictures-cut")
    for file in (root / "pictures-cut" / "a").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    for folder in ("empty", "no-weights"):
        (root / folder).mkdir()
    (root / "no-weights" / "notes.txt").write_text("nothing here")
    (root / "text.txt").write_text("plain words")
    (root / "broken.json").write_text('{"phiscale_spec": 1,')
    (root / "other.json").write_text('{"phiscale_spec": 99, "phiscale_device": 99}')
    (root / "raises.py").write_text("NET = 1 / 0\n")
    (root / "values.py").write_text("X = 3\n")
    for name in ("junk.safetensors", "junk.onnx"):
        (root / name).write_bytes(b"junk")
    device_model().write(root / "device.json")
    Coefficients(alpha=1.3, beta=1.1, gamma=1.1, method="grid", base="small", data="cifar10").write(
        root / "found.json"
    )
    (root / "shrinks.json").write_text(
        '{"phiscale_coefficients": 1, "alpha": 0.9, "beta": 1, "gamma": 1}'
    )

    spec = replace(get_spec("small"), resolution=16, classes=len(CLASSES))
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=16, crop=1.0)
    metadata = ModelMetadata(spec=spec, preprocessing=preprocessing, classes=CLASSES)
    save(root / "model" / "best.safetensors", build(spec).state_dict(), metadata)
    main(["export", str(root / "model"), "--data", str(root / "pictures")])
    (root / "exported").mkdir()
    shutil.copy(root / "model" / "model.onnx", root / "exported")
    return root


def ended(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    code = 0
    try:
        main(shlex.split(arguments))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    said = capsys.readouterr()
    return code, said.out, said.err


TRAIN = "train characters --model small --data digits --out new"
FIT = "fit digits --out new"
SEARCH = "search coefficients small pictures --out new"
STUDY = "study pictures --out new"

MISTAKES = (
    # command line, exit code, what the one line says
    ("fitt digits", 2, r"'fitt' is no verb\. Did you mean fit\?"),
    ("--verbose", 2, r"'--verbose' is a flag, no verb\. They are models, "),
    ("fit", 2, r"fit needs DATA and --out\. See phiscale fit --help"),
    ("fit digits", 2, r"fit needs --out\. See phiscale fit --help"),
    ("fit digits --out", 2, r"--out needs a value"),
    ("fit digits --ot x", 2, r"unknown flag --ot\. Did you mean --out\?"),
    ("fit digits --out new --seeed=1", 2, r"unknown flag --seeed\. Did you mean --seed\?"),
    ("fit digits --out new --on-bad drop", 2, r"--on-bad drop is unknown: use one of 'stop', 'sk"),
    ("describe", 2, r"describe needs SPEC"),
    ("describe small extra", 2, r"extra is unexpected"),
    ("describe small -x", 2, r"-x is unexpected"),
    ("solve small --macs 1M --macs 2M", 2, r"--macs is given twice"),
    ("evaluate model pictures --split tset", 2, r"--split tset is unknown: use one of 'test'"),
    ("train", 2, r"train needs a recipe: .*Use one of small-images, characters"),
    ("train fotos --model small", 2, r"'fotos' is no recipe\. Use one of small-images"),
    ("train photos", 2, r"train photos needs --model, --data and --out"),
    ("train photos --optim.lr 1", 2, r"unknown flag --optim\.lr\. Did you mean --optim\.lr-peak"),
    # names of networks
    ("describe nope", 2, r"'nope' is not a model\. `phiscale models` lists"),
    ("describe efficientnet_b00", 2, r"Did you mean efficientnet_b0 or "),
    ("train photos --model resnet5 --data digits --out new", 2, r"Did you mean resnet50 or "),
    (f"{FIT} --base smal", 2, r"'smal' is not a model\. Did you mean small"),
    ("models zzz", 2, r"no member matches 'zzz'\. Quote a pattern"),
    ("models --plot x.txt", 2, r"cannot draw 'x\.txt'\. Let the name end in"),
    ("deviation zzz*", 2, r"no member matches 'zzz\*'\. Quote a pattern"),
    ("deviation zzz", 2, r"'zzz' is not a model"),
    ("deviation nope.json", 1, r"nope\.json does not exist"),
    ("deviation resnet* --phi 1", 2, r"names 5 networks, and --phi scales one\. Name one"),
    ("deviation small --phi 1e9", 2, r"--phi=1000000000\.0 is out of range"),
    ("deviation small --phi 1 100", 2, r"--phi 100 makes depth x8.28e\+07\. Use at most x500"),
    (
        "deviation --timings other.json",
        2,
        r'"phiscale_timings" is None, not 1\. Make it again: phis',
    ),
    ("deviation --measure --timings none/t.json", 2, r"there is no folder none\. Make it first"),
    ("deviation --measure --rounds 0", 2, r"--rounds 0 is out of range"),
    ("deviation --html empty", 2, r"--html empty is a folder"),
    ("search coefficients small", 2, r"search coefficients needs --out"),
    ("search coefficients small --out new", 2, r"search coefficients needs DATA"),
    ("search coefficients nope pictures --out new", 2, r"'nope' is not a model"),
    ("search coefficients small none --out new", 1, r"'none' does not exist"),
    (f"{SEARCH} --method annealing", 2, r"--method annealing is unknown: use one of 'lawscale'"),
    (f"{SEARCH} --cost money", 2, r"--cost money is unknown\. Use one of macs, params"),
    (f"{SEARCH} --cost latency-ms", 2, r"needs a model of the device\. Make one with phiscale cal"),
    (f"{SEARCH} --compute 1", 2, r"--compute 1 scales nothing\. Use 2, or 0\.5 to shrink"),
    (f"{SEARCH} --units 1", 2, r"--units 1 cannot teach a law\. Use 7 or more"),
    (f"{SEARCH} --seeds 1", 2, r"--seeds 1 has no spread\. Use 3 or more"),
    (f"{SEARCH} --epochs nan", 2, r"--epochs nan trains nothing"),
    ("study pictures --out new --preset family --phi 50 --plan", 2, r"--phi 50 .* -10 to 10"),
    (f"{SEARCH} --rates 0", 2, r"--rates 0 trains nothing"),
    (f"{SEARCH} --storage mysql://x/y", 2, r"only kept apart in PostgreSQL and SQLite"),
    (f"{SEARCH} --storage nonsense", 2, r"--storage nonsense is no database"),
    (f"{SEARCH} --workers 0", 2, r"--workers 0 is out of range"),
    (f"{SEARCH} --out text.txt", 2, r"--out is given twice"),
    (
        "search coefficients small pictures --out text.txt",
        2,
        r"text\.txt is a file\. Use a folder",
    ),
    ("search coefficients small pictures --out model", 2, r"holds other files\. Use a new folder"),
    (f"{STUDY} --preset huge", 2, r"--preset huge is unknown: use one of 'smoke'"),
    (f"{STUDY} --seeds 0", 2, r"--seeds 0 is out of range"),
    (f"{STUDY} --epochs 0", 2, r"--epochs 0 trains nothing"),
    (f"{STUDY} --phi 1", 2, r"--phi and --coefficients are for --preset family"),
    (f"{STUDY} --preset family --phi inf", 2, r"--phi inf is out of range"),
    (f"{STUDY} --networks 9", 2, r"--networks is for --design-space"),
    (f"{STUDY} --design-space free", 2, r"compares two\. Use e\.g\. --design-space free compound"),
    (f"{STUDY} --design-space free tidy", 2, r"tidy is unknown\. Use two of free, compound"),
    (f"{STUDY} --resolution 16", 2, r"arm resolution needs 32 px, the pictures have 16"),
    (f"{STUDY} --seed=-1", 2, r"--seed -1 is out of range"),
    (f"{STUDY} --study-name=", 2, r"--study-name is empty"),
    # what excludes each other
    ("deviation --json --markdown", 2, r"--json and --markdown exclude each other"),
    ("models --json --markdown", 2, r"--json, --markdown and --plot exclude each other"),
    ("describe small --phi 1 --depth 2", 2, r"Give --phi or those, not both"),
    ("describe small --coefficients found.json", 2, r"powers of phi\. Give --phi too"),
    (
        f"{FIT} --no-from-scratch --pretrained model --coefficients found.json",
        2,
        r"which --no-from-scratch leaves out\. Drop one",
    ),
    (f"{FIT} --no-from-scratch", 2, r"--no-from-scratch leaves no network.* Add --pretrained"),
    # counts, sizes, numbers
    ("solve small --macs lots", 2, r"--macs: 'lots' is no count\. Write 400M or 1\.8G"),
    ("solve small --macs -5", 2, r"--macs: '-5' is no count"),
    ("solve small --macs nan", 2, r"--macs: 'nan' is no count"),
    ("solve small --macs 1e400", 2, r"--macs: '1e400' is no count"),
    ("solve small --macs=", 2, r"--macs: '' is no count"),
    ("solve small --params 0", 2, r"--params: '0' is no count of 1 or more"),
    ("solve small --weight-bytes 20XB", 2, r"--weight-bytes: '20XB' is no size\. Write 20MB"),
    ("solve small --train-memory=-1GB", 2, r"--train-memory: '-1GB' is no size"),
    ("solve small --latency-ms nan", 2, r"--latency-ms nan is no limit"),
    ("solve small --latency-ms 1e400", 2, r"--latency-ms inf is no limit"),
    ("solve small --latency-ms soon", 2, r"--latency-ms soon is no number"),
    ("solve small --native-pixels 0", 2, r"--native-pixels 0 is out of range\. Use 1 or more"),
    ("solve small --train-images 1.5", 2, r"--train-images 1\.5 is no whole number"),
    (f"{FIT} --train-minutes 0", 2, r"--train-minutes 0\.0 is no limit\. Use a number above 0"),
    (f"{FIT} --train-minutes -3", 2, r"--train-minutes -3\.0 is no limit"),
    (f"{FIT} --min-epochs 0", 2, r"--min-epochs 0 trains nothing"),
    (f"{FIT} --seed -1", 2, r"--seed -1 is out of range"),
    ("describe small --phi nan", 2, r"--phi=nan is out of range"),
    ("describe small --phi 100", 2, r"--phi 100 makes depth x8.28e\+07\. Use at most x500"),
    ("describe small --depth 0", 2, r"--depth=0\.0 scales to nothing; use a number above 0"),
    ("describe small --width 1e300", 2, r"--width 1e\+300 makes width"),
    ("describe small --classes 0", 2, r"--classes 0 is out of range"),
    ("describe small --classes many", 2, r"--classes many is no whole number"),
    ("predict model one.png --top 0", 2, r"--top 0 is out of range"),
    (f"{TRAIN} --epochs 0", 2, r"--epochs 0\.0 is out of range; use a number above 0"),
    (f"{TRAIN} --optim.lr-peak nan", 2, r"--optim\.lr-peak nan is out of range"),
    (f"{TRAIN} --optim.momentum -3", 2, r"--optim\.momentum -3\.0 is out of range; use 0 to less"),
    (f"{TRAIN} --optim.name adamw --optim.decay 5", 2, r"--optim\.decay 5\.0 is out of range"),
    (f"{TRAIN} --optim.weight-decay nan", 2, r"--optim\.weight-decay nan is out of range"),
    (f"{TRAIN} --schedule.step-epochs 0", 2, r"--schedule\.step-epochs 0\.0 is out of range"),
    (f"{TRAIN} --schedule.final-fraction -5", 2, r"final-fraction -5\.0 is out of range"),
    (f"{TRAIN} --batch 0", 2, r"--batch 0 is out of range; use 1"),
    (f"{TRAIN} --dropout 2", 2, r"--dropout 2\.0 is out of range; use 0 to less"),
    (f"{TRAIN} --seed -1", 2, r"--seed -1 is out of range"),
    (f"{TRAIN} --resolution 0", 2, r"--resolution 0 is out of range"),
    # budgets
    ("solve small --macs 1", 1, r"macs <= 1: the smallest network takes .* Raise --macs to "),
    ("solve small --latency-ms 5", 2, r"--latency-ms needs a model of the device\. .*calibrate"),
    ("solve small --train-minutes 5", 2, r"--train-minutes needs the training speed .*calibrate"),
    ("solve small --train-minutes 5 --device-model device.json", 2, r"Give --train-images N"),
    # files that networks, devices and laws are read from
    ("describe nope.json", 1, r"nope\.json does not exist"),
    ("describe broken.json", 1, r"broken\.json is not JSON.*--save spec\.json"),
    ("describe other.json", 1, r'other\.json: "phiscale_spec" is 99, not 1'),
    ("describe empty", 1, r"empty is a folder\. Name a file in it"),
    ("describe nope.py:NET", 1, r"nope\.py does not exist"),
    ("describe raises.py:NET", 1, r"raises\.py failed: line 1, ZeroDivisionError"),
    ("describe values.py:X", 1, r"values\.py:X is of type int"),
    ("describe values.py:Y", 1, r"values\.py has no Y"),
    ("solve small --latency-ms 5 --device-model nope.json", 1, r"cannot read nope\.json"),
    ("solve small --latency-ms 5 --device-model broken.json", 1, r"broken\.json is not JSON"),
    (
        "solve small --latency-ms 5 --device-model other.json",
        2,
        r'other\.json: "phiscale_device" is 99, not 1\..*calibrate.*Or update phiscale',
    ),
    ("solve small --law broken.json", 1, r"broken\.json is not JSON"),
    ("solve small --law device.json", 2, r'device\.json: "phiscale_law" is None, not 1'),
    ("solve small --coefficients nope.json", 1, r"cannot read nope\.json"),
    ("solve small --coefficients broken.json", 1, r"broken\.json is not JSON"),
    (
        "solve small --coefficients device.json",
        2,
        r'device\.json: "phiscale_coefficients" is None, not 1\. Write ',
    ),
    ("solve small --coefficients shrinks.json", 2, r"lets no network grow with phi\. Give"),
    ("describe small --phi 1 --coefficients shrinks.json", 2, r"shrinks\.json: alpha \* beta"),
    (f"{FIT} --coefficients broken.json", 1, r"broken\.json is not JSON"),
    ("solve small --macs 1 --coefficients found.json", 1, r"by these coefficients has macs <= 1"),
    (f"{FIT} --law nope.json", 1, r"cannot read nope\.json"),
    (f"{FIT} --pretrained nope.safetensors", 1, r"no weights at nope\.safetensors"),
    (f"{TRAIN} --pretrained empty", 1, r"no weights in empty: neither"),
    # pictures
    ("check nope", 1, r"'nope' does not exist\. Sets known by name: digits"),
    ("check digitz", 1, r"'digitz' does not exist\. Did you mean 'digits'"),
    ("check empty", 1, r"empty is empty\. Put a folder of images per class"),
    ("check text.txt", 1, r"'text\.txt' is a file\. Give a folder"),
    ("check no-weights", 1, r"has files but no class folders"),
    ("check single", 1, r"single has one class"),
    ("check spoilt", 1, r"1 file of spoilt cannot be read\. Mend or remove"),
    ("fit nope --out new", 1, r"'nope' does not exist"),
    # models
    ("evaluate nope pictures", 1, r"no weights at nope\. Give a file, a run, hf-hub:NAME"),
    ("evaluate model nope", 1, r"'nope' does not exist"),
    (
        "evaluate model digits",
        1,
        r"model knows 3 classes \('a', 'b' and 'café 日本'\), the data has 10",
    ),
    ("evaluate exported digits", 1, r"exported knows 3 classes"),
    ("evaluate empty pictures", 1, r"no weights in empty"),
    ("evaluate junk.safetensors pictures", 1, r"junk\.safetensors is no weights file"),
    ("evaluate junk.onnx pictures", 1, r"cannot open junk\.onnx"),
    ("evaluate model pictures-cut", 1, r"cannot be read: .*`phiscale check`"),
    ("evaluate exported pictures-cut", 1, r"cannot be read: .*phiscale check"),
    ("evaluate model pictures --per-image empty", 2, r"--per-image empty is a folder"),
    ("predict model", 2, r"predict needs IMAGES"),
    ("predict model nope.png", 1, r"nope\.png does not exist"),
    ("predict model empty", 1, r"No image in 'empty'"),
    ("predict model text.txt", 1, r"1 of 1 picture cannot be read"),
    ("predict model one.png text.txt", 1, r"1 of 2 pictures cannot be read"),
    (
        "import junk.safetensors --out x.pth",
        2,
        r"--out x\.pth would hold safetensors\. Name it",
    ),
    ("import junk.safetensors --out x.safetensors --model efficientnetb0", 2, r"--model: "),
    ("import model --out x.safetensors", 2, r"model is phiscale's already"),
    (
        f"{TRAIN.replace('small', 'resnet18')} --pretrained model",
        2,
        r"--pretrained model is .*not --model: they differ in",
    ),
    ("predict nope one.png", 1, r"no weights at nope"),
    ("predict empty one.png", 1, r"no weights in empty"),
    ("predict junk.onnx one.png", 1, r"cannot open junk\.onnx"),
    ("export nope", 1, r"no weights at nope"),
    ("export no-weights", 1, r"no weights in no-weights"),
    ("export model --out text.txt", 2, r"--out text\.txt is a file"),
    ("export model --data digits", 1, r"model knows 3 classes"),
    # where results go
    ("describe small --save none/here.json", 2, r"there is no folder none\. Make it first"),
    ("models --plot none/x.svg", 2, r"there is no folder none\. Make it first"),
    ("describe small --save empty", 2, r"--save empty is a folder"),
    ("solve small --save empty", 2, r"--save empty is a folder"),
    ("calibrate --out empty", 2, r"--out empty is a folder"),
    ("fit digits --out text.txt", 2, r"--out text\.txt is a file\. Use a folder"),
    ("fit digits --out pictures", 2, r"--out pictures holds other files\. Use a new folder"),
    ("train photos --model small --data digits --out text.txt", 2, r"--out text\.txt is a file"),
    ("train photos --model small --data digits --out pictures", 2, r"--out pictures holds other"),
)


@pytest.mark.parametrize(("arguments", "code", "says"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_ends_with_one_line_that_names_it_and_says_the_mend(
    arguments: str,
    code: int,
    says: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    ended_with, out, error = ended(arguments, capsys)
    assert "Traceback" not in out + error
    assert error.startswith("phiscale: ") and error.endswith("\n") and error.count("\n") == 1
    assert re.search(says, error), error
    assert ended_with == code, error
    assert re.search(r"[.?!;:] \S", error.removeprefix("phiscale: ")), f"no mend: {error}"
    assert sorted(place.rglob("*")) == before  # nothing was left behind


SPLIT = "80 % train, 10 % validate, 10 % test: by content hash, within each class\n"  # a remark


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", r"usage: phiscale VERB"),
        ("--help", r"fit +From images and a budget"),
        ("--version", r"^phiscale \d+\.\d+"),
        ("models *lite?", r"efficientnet_lite4"),
        ("describe small --phi 1", r"MACs x"),
        ("describe small --phi -1", r"stages\.0"),
        ("deviation small --phi 1", r"^Memory does not grow as d w² r²"),
        ("deviation resnet34 --device-model device.json", r"modelled ms"),
        ("solve small --macs 1M", r"least predicted error"),
        (
            "describe small --phi 1 --coefficients found.json",
            r"of found\.json: 1\.3\^phi, 1\.1\^phi",
        ),
        ("solve small --macs 1M --coefficients found.json", r"^phi -\d.*\n.*\n.*ray of the coeff"),
        ("solve small --latency_ms 5 --device-model device.json", r"latency_ms"),
        ("check digits", r"1,797|1797"),
        ("predict model one.png", r"one\.png  (a|b|café 日本) \d+\.\d %"),
        ("predict model/best.safetensors one.png --top 3", r"café 日本 \d+"),
        ("predict model pictures", r"pictures/b/9\.png"),
        ("evaluate model pictures", r"top-1 .* at 95 %"),
        ("evaluate exported pictures --split train", r"macro-F1"),
    ],
)
def test_good_commands_print_to_standard_output_alone(
    arguments: str,
    says: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(place)
    code, out, error = ended(arguments, capsys)
    assert (code, error) == (0, SPLIT if arguments.startswith("evaluate") else "")
    assert re.search(says, out, re.MULTILINE), out


@pytest.mark.parametrize(
    "arguments",
    [
        "models efficientnet_b? --json",
        "describe small --phi 0.5 --json",
        "check pictures --json",
        "solve small --macs 1M --json",
        "solve small --coefficients found.json --json",
        "describe small --phi 1 --coefficients found.json --json",
        "deviation --json",
        "predict model one.png --format json",
        "evaluate model pictures --json",
    ],
)
def test_json_is_json(
    arguments: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(place)
    code, out, error = ended(arguments, capsys)
    assert (code, error) == (0, SPLIT if arguments.startswith("evaluate") else "")
    assert json.loads(out)


def test_what_is_saved_is_read_again(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert ended("describe small --phi 1 --classes 5 --save big.json", capsys)[0] == 0
    code, out, _ = ended("describe big.json --json", capsys)
    assert code == 0 and json.loads(out)["spec"]["classes"] == 5
    code, out, _ = ended("solve big.json --macs 2M --save best.json --json", capsys)
    assert json.loads(out)["best"]["spec"] == json.loads((tmp_path / "best.json").read_text())
    assert ended(f"evaluate {place}/model {place}/pictures --per-image answers.csv", capsys)[0] == 0
    header, *rows = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert header == "key,truth,predicted,probability" and len(rows) == 3
    names = {path.name for path in (place / "model").iterdir()}
    assert names == {"best.safetensors", "model.onnx", "model.json"}


def test_bad_pictures_are_named_and_the_others_answered(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(place)
    code, out, _ = ended("predict exported one.png text.txt --format csv", capsys)
    assert code == 1
    header, good, bad = out.splitlines()
    assert header == "image,rank,class,probability,error"
    assert good.startswith("one.png,1,") and bad.startswith("text.txt,,,,")
    code, out, _ = ended("check spoilt", capsys)
    assert code == 1 and "a/cut.png" in out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recipe]]:
    """The recipes that `train` is called with, instead of training."""
    recipes: list[Recipe] = []

    def instead(request: TrainRequest, out: Path, *_: object, **__: object):
        recipes.append(request.recipe)
        return out

    monkeypatch.setattr("phiscale.training.run.train_run", instead)
    yield recipes


@pytest.mark.parametrize("name", RECIPES)
def test_overriding_a_field_keeps_the_rest_of_a_recipe(
    name: str, asked: list[Recipe], capsys: pytest.CaptureFixture[str]
):
    flags = f"train {name} --model small --data digits --out new"
    assert ended(flags, capsys)[0] == 0
    assert ended(f"{flags} --optim.lr-peak 0.0123 --augment.no-flip --epochs 7", capsys)[0] == 0
    plain, changed = asked
    assert plain == RECIPES[name]
    assert changed == replace(
        plain,
        epochs=7,
        optim=replace(plain.optim, lr_peak=0.0123),
        augment=replace(plain.augment, flip=False),
    )


@pytest.mark.parametrize("name", ["", *RECIPES])
def test_the_help_of_train_shows_the_recipes_own_defaults(
    name: str, capsys: pytest.CaptureFixture[str]
):
    code, out, _ = ended(f"train {name} --help", capsys)
    recipe = RECIPES[name or next(iter(RECIPES))]
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())
    assert code == 0
    for flag, value in (("epochs", recipe.epochs), ("optim.lr-peak", recipe.optim.lr_peak)):
        told = re.search(rf"--{flag} FLOAT [^-]*\(default: ([^)]*)\)", words)
        assert told is not None and float(told[1]) == value
    assert all(other in words for other in RECIPES)


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_says_what_it_means(verb: str, capsys: pytest.CaptureFixture[str]):
    code, out, error = ended(f"{verb} --help", capsys)
    assert (code, error) == (0, "") and "None" not in out
    lines = [re.sub(r"[│╭╮╰╯─]", " ", line).rstrip() for line in out.splitlines()]
    own = [line for line in lines if line.startswith("  ")]
    for line, following in itertools.pairwise(own):
        if not re.match(r"  -", line):
            continue
        flag, _, told = line.strip().partition("  ")
        if flag.startswith("--epochs"):  # from here on a recipe's fields, told in recipe.py
            break
        told = told.strip() or following.strip()
        assert re.match(r"[A-Za-z]", told), f"{flag} says nothing"


METAVARS = {
    "describe": "SPEC",
    "solve": "SPEC",
    "check": "DATA",
    "fit": "DATA",
    "evaluate": "MODEL DATA",
    "predict": "MODEL IMAGES",
    "export": "RUN",
    "models": "PATTERN",
    "deviation": "PATTERN|SPEC",
}


@pytest.mark.parametrize(("verb", "operands"), METAVARS.items())
def test_usage_names_what_a_verb_takes(
    verb: str, operands: str, capsys: pytest.CaptureFixture[str]
):
    usage = " ".join(ended(f"{verb} --help", capsys)[1].split("\n\n")[0].split())
    assert operands in usage and "PATH" not in usage


# In a process of its own: what depends on the terminal, on signals, on what is imported.


def child(arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}  # type: ignore
    return subprocess.Popen(
        [sys.executable, "-m", "phiscale", *shlex.split(arguments)],
        env=environment,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        # a shell ignores Ctrl-C in what it starts in the background: these tests, perhaps
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def test_help_imports_no_torch_and_no_numpy():
    code = """
import sys, contextlib, io
from phiscale.cli import main, VERBS
loaded = {}
for verb in ["", *sorted(VERBS, key="train".__eq__)]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([verb, "--help"] if verb else ["--help"])
    loaded[verb] = sorted({"torch", "numpy", "PIL", "rich.progress"} & sys.modules.keys())
train = loaded.pop("train")
assert not any(loaded.values()), loaded
assert "torch" not in train, train
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_has_seen_enough_is_no_error():
    with child("describe efficientnet_b7 --json") as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"{\n"
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_closed_or_full_output_ends_without_a_traceback():
    command = f"{shlex.quote(sys.executable)} -m phiscale models"
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")
    if Path("/dev/full").exists():
        full = subprocess.run(
            ["sh", "-c", f"{command} >/dev/full"], capture_output=True, check=False
        )
        assert full.returncode == 1
        assert full.stderr.startswith(b"phiscale: ") and full.stderr.count(b"\n") == 1


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_names_that_the_locale_cannot_show_are_escaped(place: Path, form: str):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    arguments = f"predict exported one.png --top 3 --format {form}"
    with child(arguments, env=plain, cwd=place) as running:
        out, error = running.communicate()
    assert (running.returncode, error) == (0, b"")
    assert out.isascii() and b"caf\\" in out
    if form == "json":
        assert {row["class"] for row in json.loads(out)[0]["top"]} == set(CLASSES)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]
)
def test_help_on_a_terminal_is_coloured_unless_no_color_is_set(
    environment: dict[str, str], coloured: bool
):
    ours, theirs = pty.openpty()
    with child("fit --help", env={"TERM": "xterm", **environment}, stdout=theirs) as running:
        os.close(theirs)
        text = b"".join(iter(lambda: piece_of(ours), b""))
    os.close(ours)
    assert running.returncode == 0 and b"--out" in text
    assert (b"\x1b[" in text) == coloured


def piece_of(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def wait_until(ready: Iterator[bool], running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not next(ready):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline, "not ready in a minute"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_training_says_that_it_is_saved_and_goes_on(
    number: int, code: int, tmp_path: Path
):
    arguments = (
        "train characters --model small --data digits --out run --resolution 16 "
        "--epochs 2 --evaluations 40"
    )
    with child(arguments, cwd=tmp_path) as running:
        wait_until(iter(lambda: any(tmp_path.glob("run/checkpoints/*.pt")), None), running)
        running.send_signal(number)
        _, error = running.communicate()
    assert running.returncode == code
    last = error.decode().splitlines()[-1]
    assert last == "phiscale: saved in run; run the same command to go on"


def test_ctrl_c_before_the_work_has_begun_is_one_line_too(tmp_path: Path):
    with child("calibrate --out device.json", cwd=tmp_path) as running:
        assert running.stderr is not None
        assert b"measuring" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, error = running.communicate()
    assert (running.returncode, error) == (130, b"phiscale: interrupted\n")
    assert not any(tmp_path.iterdir())
