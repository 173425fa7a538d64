"""Mistakes in commands that train, evaluate, export or exchange: one line, with what to do."""

from pathlib import Path

import pytest

from support.command_line import check_mistake

TRAIN = "train characters --model small --data digits --out new"
FIT = "fit digits --out new"

MISTAKES = (
    # command line, exit code, what the one line says
    ("fitt digits", 2, r"'fitt' is an unknown command\. Did you mean fit\?"),
    ("--verbose", 2, r"'--verbose' is a flag, not a command\. Use one of models, "),
    ("fit", 2, r"fit needs DATA and --out\. See phiscale fit --help"),
    ("fit digits", 2, r"fit needs --out\. See phiscale fit --help"),
    ("fit digits --out", 2, r"--out needs a value"),
    ("fit digits --ot x", 2, r"unknown flag --ot\. Did you mean --out\?"),
    ("fit digits --out new --seeed=1", 2, r"unknown flag --seeed\. Did you mean --seed\?"),
    (
        "fit digits --out new --on-bad drop",
        2,
        r"invalid value for --on-bad: drop\. Use one",
    ),
    (
        "evaluate model images --split tset",
        2,
        r"invalid value for --split: tset\. Use one",
    ),
    ("train", 2, r"train needs a recipe: .*Use one of small-images, characters"),
    ("train fotos --model small", 2, r"unknown recipe 'fotos'\. Use one of small-images"),
    ("train photos", 2, r"train photos needs --model, --data and --out"),
    ("train photos --optim.lr 1", 2, r"unknown flag --optim\.lr\. Did you mean --optim\.lr-peak"),
    ("train photos --model resnet5 --data digits --out new", 2, r"Did you mean resnet50 or "),
    (f"{FIT} --base smal", 2, r"'smal' is not a model\. Did you mean small"),
    (
        f"{FIT} --no-from-scratch --pretrained model --coefficients found.json",
        2,
        r"which --no-from-scratch leaves out\. Drop one",
    ),
    (f"{FIT} --no-from-scratch", 2, r"--no-from-scratch leaves no network.* Add --pretrained"),
    (
        f"{FIT} --train-minutes 0",
        2,
        r"--train-minutes 0\.0 is not a finite number above 0\. Use one",
    ),
    (f"{FIT} --train-minutes -3", 2, r"--train-minutes -3\.0 is not a finite number above 0"),
    (f"{FIT} --min-epochs 0", 2, r"--min-epochs 0 trains nothing"),
    (f"{FIT} --seed -1", 2, r"--seed -1 is out of range"),
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
    (f"{TRAIN} --keep 0", 2, r"--keep 0 is out of range"),
    (f"{TRAIN} --timeout 0", 2, r"--timeout 0 is out of range"),
    (f"{TRAIN} --as-published", 2, r"is not a published recipe\. Leave out --as-published"),
    (f"{FIT} --coefficients broken.json", 1, r"broken\.json is not JSON"),
    (f"{FIT} --law nope.json", 1, r"cannot read nope\.json"),
    (f"{FIT} --pretrained nope.safetensors", 1, r"no weights at nope\.safetensors"),
    (f"{TRAIN} --pretrained empty", 1, r"no weights in empty: neither"),
    ("fit nope --out new", 1, r"'nope' does not exist"),
    ("evaluate nope images", 1, r"no weights at nope\. Give a file, a run, hf-hub:NAME"),
    ("evaluate model nope", 1, r"'nope' does not exist"),
    (
        "evaluate model digits",
        1,
        r"model knows 3 classes \('a', 'b' and 'café 日本'\), the data has 10",
    ),
    ("evaluate exported digits", 1, r"exported knows 3 classes"),
    ("evaluate empty images", 1, r"no weights in empty"),
    ("evaluate junk.safetensors images", 1, r"junk\.safetensors is no weights file"),
    ("evaluate junk.onnx images", 1, r"cannot open junk\.onnx"),
    ("evaluate model images-cut", 1, r"cannot be read: .*`phiscale check`"),
    ("evaluate exported images-cut", 1, r"cannot be read: .*phiscale check"),
    ("evaluate model images --per-image empty", 2, r"--per-image empty is a folder"),
    ("predict model", 2, r"predict needs IMAGES"),
    ("predict model nope.png", 1, r"nope\.png does not exist"),
    ("predict model empty", 1, r"No image in 'empty'"),
    ("predict model text.txt", 1, r"1 of 1 image cannot be read"),
    ("predict model one.png text.txt", 1, r"1 of 2 images cannot be read"),
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
    ("fit digits --out text.txt", 2, r"--out text\.txt is a file\. Use a folder"),
    ("fit digits --out images", 2, r"--out images holds other files\. Use a new folder"),
    ("train photos --model small --data digits --out text.txt", 2, r"--out text\.txt is a file"),
    ("train photos --model small --data digits --out images", 2, r"--out images holds other"),
)


@pytest.mark.parametrize(("arguments", "code", "says"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_ends_with_one_line_that_names_it_and_says_what_to_do(
    arguments: str,
    code: int,
    says: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(place)
    check_mistake(arguments, code, says, capsys)
