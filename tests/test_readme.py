"""The README is a test too: its code runs, its table is current, its commands exist."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_family_table_is_what_the_code_says():
    place = ROOT / "benchmarks" / "models_table.py"
    found = importlib.util.spec_from_file_location("models_table", place)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert module.with_table(README) == README, "run `make models-table`"


def test_its_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from phiscale import build, get_spec, save
    from phiscale.data.preprocessing import Preprocessing
    from phiscale.weights.imagenet import imagenet_classes
    from phiscale.weights.metadata import ModelMetadata

    b0 = get_spec("efficientnet_b0")
    metadata = ModelMetadata(
        spec=b0, preprocessing=Preprocessing(size=224), classes=imagenet_classes()
    )
    save(tmp_path / "b0.safetensors", build(b0).state_dict(), metadata)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert len(blocks) == 2 and "9109994 992629472" in out and "('tench', 'goldfish'" in out


def commands() -> list[str]:
    lines = re.findall(r"^phiscale .*$", README, re.M)
    return [line.partition("#")[0].strip() for line in lines]


def test_its_commands_are_verbs_in_the_order_of_the_flow():
    from phiscale.cli import VERBS, verb_of

    verbs = [verb_of(shlex.split(line)[1:])[0] for line in commands()]
    assert verbs == [
        "describe",
        "solve",
        "check",
        "fit",
        "predict",
        "train",
        "train",
        "runs",
        "rates",
        "law fit",
        "law fit",
        "law predict",
        "study",
        "study",
        "search coefficients",
        "solve",
        "import",
        "convert",
        "train",
        "fit",
        "evaluate",
    ]
    assert set(verbs) <= set(VERBS)


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in commands()
        if (line.split()[1] in ("describe", "solve") and "found.json" not in line)
        or "law fit efficientnet" in line
    ],
)
def test_its_commands_that_need_no_data_run(line: str, capsys: pytest.CaptureFixture[str]):
    from phiscale.cli import main

    main(shlex.split(line)[1:])
    assert capsys.readouterr().out


def test_the_files_that_it_points_to_exist():
    links = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert links and all((ROOT / link).exists() for link in links)
    tree = re.findall(r"^  ([\w/]+(?:\.py|/)) ", README, re.M)
    package = ROOT / "src" / "phiscale"
    rooms = {
        p.name if p.is_file() else f"{p.name}/"
        for p in package.iterdir()
        if not p.name.startswith("__")
    }
    assert set(tree) == rooms
    for target in re.findall(r"^make ([\w-]+)", README, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
