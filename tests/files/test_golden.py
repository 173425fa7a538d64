"""Files that users have stay readable, and mean what they meant, whatever is added later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phiscale.arch.families import resolve_spec
from phiscale.data.preprocessing import FORMAT as PREPROCESSING
from phiscale.errors import PhiscaleError
from phiscale.files import read_json
from phiscale.planning.coefficients import Coefficients
from phiscale.planning.device import DeviceModel
from phiscale.planning.laws.file import FittedLaw
from phiscale.planning.laws.law import Law
from phiscale.report.latencies import Timings
from phiscale.search.engine.result import Result
from phiscale.training.recipes.recipe import FORMAT as RECIPE
from phiscale.weights.metadata import FORMAT as METADATA
from phiscale.weights.store import read as read_weights
from support.damage import DAMAGE

GOLDEN = Path(__file__).parents[1] / "golden"
SOURCE = Path(__file__).parents[2] / "src"

READERS: dict[str, Callable[[Path], Any]] = {
    "spec.json": lambda path: resolve_spec(str(path)),
    "recipe.json": lambda path: RECIPE.read(path, required=True),
    "preprocessing.json": lambda path: PREPROCESSING.read(path),
    "device.json": DeviceModel.read,
    "law.json": Law.read,
    "fitted_law.json": FittedLaw.read,
    "coefficients.json": Coefficients.read,
    "timings.json": Timings.read,
    "result.json": lambda path: Result.from_dict(read_json(path), str(path)),
    "metadata.json": lambda path: METADATA.read(path),
}

# Each class gets one more field with a default, as a later version may.
LATER = {
    "arch/spec.py": [
        ("    skip: bool = True", "    later: int = added_field(0)\n    skip: bool = True"),
        (
            "    fixed_ends: bool = False",
            "    later: str = added_field('')\n    fixed_ends: bool = False",
        ),
        ("import Format", "import Format, added_field"),
    ],
    "training/recipes/recipe.py": [
        ("    seed: int = 0", "    later: float = added_field(1.0)\n    seed: int = 0"),
        ("import Format", "import Format, added_field"),
    ],
    "data/preprocessing.py": [
        (
            "    squash: bool = False",
            "    later: bool = added_field(False)\n    squash: bool = False",
        ),
        ("import Format", "import Format, added_field"),
    ],
    "weights/metadata.py": [
        ('    licence: str = ""', "    later: str = added_field('')\n    licence: str = \"\""),
        ("import Format", "import Format, added_field"),
    ],
}

CHECKS = """
import json, shutil, sys
from pathlib import Path
golden, out = Path(sys.argv[1]), Path(sys.argv[2])
import make, test_golden
from phiscale.data.datasets.open import open_dataset
from phiscale.arch.spec import Spec, Stage
from phiscale.training.loop import train
from phiscale.training.runtime import Runtime
from phiscale.training.recipes.recipe import Recipe
assert Stage.__dataclass_fields__["later"] and Spec.__dataclass_fields__["later"]
assert Recipe.__dataclass_fields__["later"]
for name, read in test_golden.READERS.items():
    read(golden / name)
metadata, tensors = test_golden.read_weights(golden / "weights.safetensors")
assert metadata.spec == make.TINY and metadata.later == "" and tensors
assert make.trial().key == json.loads((golden / "keys.json").read_text())["trial"]
assert json.loads((golden / "spec.json").read_text()).items() >= make.TINY.to_dict().items()
seen = []
train(out, make.TINY, open_dataset("digits"), make.QUICK, make.TAKE,
      Runtime(callbacks=[lambda progress: seen.append(progress.images_seen)]))
assert seen[0] > 512, seen[0]  # it went on from the checkpoint
"""


@pytest.mark.parametrize("name", READERS)
def test_a_golden_file_is_read(name: str):
    assert READERS[name](GOLDEN / name)


def test_golden_weights_load():
    metadata, tensors = read_weights(GOLDEN / "weights.safetensors")
    assert metadata.classes == tuple("0123456789") and metadata.licence == "Apache-2.0"
    assert sum(tensor.numel() for tensor in tensors.values()) > 1000


def test_a_later_field_with_a_default_changes_no_key_no_hash_and_no_resume(tmp_path: Path):
    later, run = tmp_path / "src", tmp_path / "run"
    shutil.copytree(SOURCE, later, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(GOLDEN / "run", run)
    for name, edits in LATER.items():
        path = later / "phiscale" / name
        text = path.read_text()
        for before, after in edits:
            assert text.count(before) >= 1, (name, before)
            text = text.replace(before, after, 1)
        path.write_text(text)
    tests = GOLDEN.parent
    imported = os.pathsep.join(map(str, (later, tests, GOLDEN, tests / "files")))
    process = subprocess.run(
        [sys.executable, "-c", CHECKS, str(GOLDEN), str(run)],
        env={**os.environ, "PYTHONPATH": imported, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert (run / "best.safetensors").exists()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line_that_names_it(name: str, damage: str, tmp_path: Path):
    path = tmp_path / name
    path.write_text(DAMAGE[damage]((GOLDEN / name).read_text()))
    with pytest.raises(PhiscaleError) as caught:
        READERS[name](path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message, message
    assert message.count(". ") >= 1 and message.endswith("."), message  # what is wrong, the fix


@pytest.mark.parametrize("bit", [0.02, 0.3, 0.7, 0.98])
def test_a_flipped_bit_in_weights_is_refused(bit: float, tmp_path: Path):
    content = bytearray((GOLDEN / "weights.safetensors").read_bytes())
    content[int(bit * len(content))] ^= 4
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(PhiscaleError, match=r"weights\.safetensors"):
        read_weights(path)
