"""What `--help` shows, and that flags keep the rest of a recipe."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.cli import COMMANDS
from phiscale.training.recipes.recipe import Recipe
from phiscale.training.recipes.table import RECIPES
from phiscale.training.run import TrainRequest
from support.command_line import ended


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recipe]]:
    """The recipes that `train` is called with, instead of training."""
    recipes: list[Recipe] = []

    def instead(request: TrainRequest, out: Path, *_: object, **__: object):
        recipes.append(request.recipe)
        out.mkdir(exist_ok=True)
        (out / "best.safetensors").touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("phiscale.pipeline.train.train_run", instead)
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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_says_what_it_means(command: str, capsys: pytest.CaptureFixture[str]):
    code, out, error = ended(f"{command} --help", capsys)
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
    "export": "RUN|FILE",
    "models": "PATTERN",
    "deviation": "PATTERN|SPEC",
}


@pytest.mark.parametrize(("command", "operands"), METAVARS.items())
def test_usage_names_what_a_verb_takes(
    command: str, operands: str, capsys: pytest.CaptureFixture[str]
):
    usage = " ".join(ended(f"{command} --help", capsys)[1].split("\n\n")[0].split())
    assert operands in usage and "PATH" not in usage


def test_help_imports_no_torch_and_no_numpy():
    code = """
import sys, contextlib, io
from phiscale.cli import main, COMMANDS
loaded = {}
for command in ["", *sorted(COMMANDS, key="train".__eq__)]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([command, "--help"] if command else ["--help"])
    loaded[command] = sorted({"torch", "numpy", "PIL", "rich.progress"} & sys.modules.keys())
train = loaded.pop("train")
assert not any(loaded.values()), loaded
assert "torch" not in train, train
"""
    subprocess.run([sys.executable, "-c", code], check=True)
