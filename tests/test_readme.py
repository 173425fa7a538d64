"""The README is a test too: its commands and Python calls run, its table and links hold."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.cli import COMMANDS, command_of, main
from support.fits import EVERYTHING, write_plan_files

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}
TWENTY_MINUTES = {
    "--train-minutes 20": "--train-minutes 0.02 --min-epochs 0.05 "
    "--device-model device.json --law law.json",
    "train_minutes=20": "train_minutes=0.02, min_epochs=0.05, "
    'device_model="device.json", law="law.json"',
}
"""What a test has no time for, and what it does instead."""


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    [found] = [text for text in blocks if containing in text]
    for long, short in TWENTY_MINUTES.items():
        found = found.replace(long, short)
    return found


LINES = block("sh", "phiscale describe").splitlines()
PYTHON = block("python", "import phiscale")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with `photos/`, a new image, and files to plan with."""
    random = np.random.default_rng(0)
    for shade, name in enumerate(("cat", "dog", "owl")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 60, (16, 16, 3)) + 60 * shade
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "photos" / name / f"{number}.png"
            )
    Image.fromarray(np.full((16, 16, 3), 70, np.uint8)).save(tmp_path / "new.jpg")
    write_plan_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_its_five_commands_run(desk: Path, capsys: pytest.CaptureFixture[str]):
    assert len(LINES) == 5
    for line in LINES:
        main(shlex.split(line)[1:])
        assert capsys.readouterr().out, line
    assert {path.name for path in (desk / "run").iterdir()} >= EVERYTHING


def shown_by(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(shlex.split(command)[1:])
    return capsys.readouterr().out


def test_its_python_does_the_same(desk: Path, capsys: pytest.CaptureFixture[str]):
    exec(compile(PYTHON, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert {path.name for path in (desk / "run").iterdir()} >= EVERYTHING
    for line in LINES[1:3]:  # solve and check: the command prints the same
        assert shown_by(line, capsys).strip() in out, line
    assert "9,109,994" in out or "9109994" in out  # parameters of B0 at phi 1


def test_python_does_the_same_steps_in_the_same_order():
    commands = [command_of(shlex.split(line)[1:])[0] for line in LINES]
    assert commands == ["describe", "solve", "check", "fit", "predict"]
    calls = ["phiscale.cost", "phiscale.solve", "phiscale.audit", "phiscale.fit", "run.predict"]
    positions = [PYTHON.index(call) for call in calls]
    assert positions == sorted(positions)


def commands_of(page: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[page], re.S)
    return [line for text in blocks for line in text.splitlines() if line.startswith("phiscale ")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_every_page_exist(page: str):
    for line in commands_of(page):
        assert command_of(shlex.split(line, comments=True)[1:])[0] in COMMANDS, line


@pytest.mark.parametrize("page", PAGES)
def test_the_flags_of_every_command_exist(page: str, capsys: pytest.CaptureFixture[str]):
    for line in commands_of(page):
        arguments = shlex.split(line, comments=True)[1:]
        command, rest = command_of(arguments)
        recipe = rest[:1] if command == "train" else []
        with pytest.raises(SystemExit):
            main([*command.split(), *recipe, "--help"])
        flags = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
        used = {argument.partition("=")[0] for argument in rest if argument.startswith("--")}
        assert used - {"--help"} <= flags, line


@pytest.mark.parametrize("page", PAGES)
def test_links_of_every_page_lead_somewhere(page: str):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", PAGES[page])
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_files_that_the_readme_names_exist():
    assert all((ROOT / path).exists() for path in re.findall(r"`(src/[\w/.]+)`", README))
    for target in re.findall(r"^make ([\w-]+)", README, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_it_fits_on_a_screen_and_a_half():
    assert len(README.splitlines()) <= 100


def test_the_table_of_models_is_up_to_date():
    script = ROOT / "benchmarks" / "models_table.py"
    spec = importlib.util.spec_from_file_location("models_table", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = PAGES["docs/models.md"]
    assert module.with_table(page) == page, "run `make models-table`"
