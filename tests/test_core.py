"""phiscale-core from Python: what the full install brings is hidden in a process of its own."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phiscale.errors import MissingPackage, full_install
from support import core_calls

PACKAGING = Path(__file__).parents[1] / "packaging" / "phiscale" / "pyproject.toml"
IMPORT_NAMES = {"scikit-learn": "sklearn"}

HIDE = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def packages_of_the_full_install() -> set[str]:
    """Those that phiscale needs besides phiscale-core, by the name they are imported with."""
    needs = tomllib.loads(PACKAGING.read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {
        need.replace(">", " ").replace("=", " ").replace("[", " ").split()[0] for need in needs
    }
    return {IMPORT_NAMES.get(name, name) for name in names if not name.startswith("phiscale")}


def test_without_torch_python_plans_predicts_and_names_what_to_install(
    fitted: Path, tmp_path: Path
):
    hidden = packages_of_the_full_install()
    assert {"torch", "optuna", "matplotlib", "safetensors"} <= hidden
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one.png")
    script, image = core_calls.__file__, tmp_path / "one.png"
    command = [sys.executable, "-c", HIDE.format(hidden=hidden), script, str(fitted), str(image)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ended.returncode == 0, ended.stderr


def test_the_outermost_task_is_named_and_other_missing_modules_stay_as_they_are():
    def inner() -> None:
        with full_install("the inside"):
            import no_such_package  # pyright: ignore[reportMissingImports]  # noqa: F401

    expected = pytest.raises(MissingPackage, match=r"^the outside needs no_such_package\. Install")
    with expected, full_install("the outside"):
        inner()
    with pytest.raises(ModuleNotFoundError), full_install("anything"):
        import phiscale.no_such_module  # pyright: ignore[reportMissingImports]  # noqa: F401
