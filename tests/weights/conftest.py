"""What tests of weights share: an empty cache and a file of timm's."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that no other test has filled."""
    monkeypatch.setenv("PHISCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "cache"


@pytest.fixture
def timm_file(tmp_path: Path) -> Path:
    """A file of `RESNET18`'s weights in timm's names."""
    from safetensors.torch import save_file

    from support.timm_weights import timm_tensors

    path = tmp_path / "theirs.safetensors"
    save_file(timm_tensors(), path, {"architecture": "resnet18"})
    return path
