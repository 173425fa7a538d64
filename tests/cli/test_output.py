"""What commands print, as text and as JSON, and what they save."""

import json
import re
from pathlib import Path

import pytest

from support.command_line import ended

SPLIT = "80 % train, 10 % validate, 10 % test: by content hash, within each class\n"  # a remark
PART = "measured 3 of 30 images; split 'all' has every image\n"


def _remarks(arguments: str) -> str:
    """What standard error says of a good command."""
    if not arguments.startswith("evaluate"):
        return ""
    return SPLIT if "--split" in arguments else SPLIT + PART


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", r"usage: phiscale COMMAND"),
        ("--help", r"fit +From images and a budget"),
        ("--version", r"^phiscale \d+\.\d+"),
        ("models *lite?", r"efficientnet_lite4"),
        ("describe small --phi 1", r"MACs x"),
        ("describe small --phi -1", r"stages\.0"),
        ("deviation small --phi 1", r"^Memory does not grow as d w² r²"),
        ("deviation resnet34 --device-model device.json", r"modelled ms"),
        ("solve small --macs 1M", r"predicted top-1 error .* the least of"),
        (
            "describe small --phi 1 --coefficients found.json",
            r"of found\.json: 1\.3\^phi, 1\.1\^phi",
        ),
        ("solve small --macs 1M --coefficients found.json", r"^phi -\d.*\n.*\n.*ray of the coeff"),
        ("solve small --latency_ms 5 --device-model device.json", r"latency_ms"),
        ("check digits", r"1,797|1797"),
        ("predict model one.png", r"one\.png  (a|b|café 日本) \d+\.\d %"),
        ("predict model/best.safetensors one.png --top 3", r"café 日本 \d+"),
        ("predict model images", r"images/b/9\.png"),
        ("evaluate model images", r"top-1 .* at 95 %"),
        ("evaluate exported images --split train", r"macro-F1"),
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
    assert (code, error) == (0, _remarks(arguments))
    assert re.search(says, out, re.MULTILINE), out


@pytest.mark.parametrize(
    "arguments",
    [
        "models efficientnet_b? --json",
        "describe small --phi 0.5 --json",
        "check images --json",
        "solve small --macs 1M --json",
        "solve small --coefficients found.json --json",
        "describe small --phi 1 --coefficients found.json --json",
        "deviation --json",
        "predict model one.png --format json",
        "evaluate model images --json",
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
    assert (code, error) == (0, _remarks(arguments))
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
    assert ended(f"evaluate {place}/model {place}/images --per-image answers.csv", capsys)[0] == 0
    header, *rows = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert header == "key,truth,predicted,probability" and len(rows) == 3
    names = {path.name for path in (place / "model").iterdir()}
    assert names == {"best.safetensors", "model.onnx", "model.json"}


def test_bad_images_are_named_and_the_others_predicted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(place)
    code, out, _ = ended("predict exported one.png text.txt --top 1 --format csv", capsys)
    assert code == 1
    header, good, bad = out.splitlines()
    assert header == "image,rank,class,probability,error"
    assert good.startswith("one.png,1,") and bad.startswith("text.txt,,,,")
    code, out, _ = ended("check spoilt", capsys)
    assert code == 1 and "a/cut.png" in out
