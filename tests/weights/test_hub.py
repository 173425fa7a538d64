"""Weights on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import UsageError, WeightsError
from phiscale.nn.network import build
from phiscale.weights import hub
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.sources import load
from phiscale.weights.store import save
from support.timm_weights import RESNET18, timm_tensors

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_what_we_push_is_read_by_timm_and_by_us(tmp_path: Path):
    torch.manual_seed(0)
    metadata = ModelMetadata(
        spec=RESNET18,
        preprocessing=Preprocessing(size=128),
        classes=("a", "b", "c", "d"),
        metrics={"validation": {"top1": 0.5}},
        licence="apache-2.0",
    )
    network = build(RESNET18).eval()
    save(tmp_path / "w.safetensors", network.state_dict(), metadata)
    calls: list[tuple[str, dict[str, Any]]] = []
    folder = tmp_path / "pushed"

    def upload(**arguments: Any) -> None:
        calls.append(("upload", arguments))
        folder.mkdir()
        for file in Path(arguments["folder_path"]).iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    client = SimpleNamespace(
        create_repo=lambda repo, **arguments: (
            calls.append((repo, arguments)) or "https://hub/me/mine"
        ),
        upload_folder=upload,
    )
    assert hub.push(tmp_path / "w.safetensors", "me/mine", client=client) == "https://hub/me/mine"
    assert calls[0] == ("me/mine", {"private": False, "exist_ok": True})
    assert {"config.json", "README.md", "model.safetensors", "phiscale.safetensors"} == {
        file.name for file in folder.iterdir()
    }
    assert "license: apache-2.0" in (folder / "README.md").read_text()
    x = torch.randn(1, 3, 64, 64)
    theirs = timm.create_model("resnet18", num_classes=4)
    theirs.load_state_dict(load_file(folder / "model.safetensors"))
    theirs.eval()
    with torch.inference_mode():
        assert torch.allclose(theirs(x), network(x), atol=1e-5)
        assert torch.allclose(load(folder)(x), network(x), atol=1e-5)
    assert load(folder).metadata == metadata


def test_the_hub_is_read_by_huggingfaces_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    save_file(timm_tensors(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    downloads: list[tuple[str, str, str | None]] = []

    def download(repo: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        downloads.append((repo, file, revision))
        if not (tmp_path / file).exists():
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "is_reachable", lambda endpoint: True)
    assert load("hf-hub:timm/resnet18.mine@v1").spec == RESNET18
    files = ("config.json", "phiscale.safetensors", "model.safetensors")
    assert downloads == [("timm/resnet18.mine", file, "v1") for file in files]


def test_offline_the_hub_gives_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "is_reachable", lambda endpoint: False)
    with pytest.raises(WeightsError, match=r"hub cannot be reached\. Connect once, or fetch"):
        load("hf-hub:timm/resnet18.a1_in1k")
    with pytest.raises(WeightsError, match="cannot be reached"):
        hub.push(Path("x"), "me/mine")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/b/c",
        "timm",
        "a/..",
        "/a/b",
        "a/b\0",
        "http://x/y",
        "ä/b",
        "a//b",
        ".a/b",
    ],
)
def test_names_that_are_none_on_the_hub_are_refused_before_asking(name: str):
    with pytest.raises(UsageError, match="is no name on the hub"):
        hub.fetch(name)
