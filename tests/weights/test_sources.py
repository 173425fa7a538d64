"""What a source of weights means, and imports of other libraries' files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from phiscale.arch.families import get_spec
from phiscale.cli import main
from phiscale.cli.output import log_to
from phiscale.data.preprocessing import Preprocessing
from phiscale.deploy.inference import evaluate_model
from phiscale.errors import PhiscaleError, UsageError, WeightsError
from phiscale.nn.network import build
from phiscale.weights import hub
from phiscale.weights.importing import import_weights
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.peers import to_theirs
from phiscale.weights.pretrained import (
    original_preprocessing,
    pretrained_weights,
    weights_of_member,
)
from phiscale.weights.sources import load, weights_file, weights_files
from phiscale.weights.store import read, save
from support.timm_weights import RESNET18, timm_tensors

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_an_import_reports_library_and_network_and_keeps_them_in_the_metadata(
    timm_file: Path, tmp_path: Path
):
    logged: list[str] = []
    with log_to(logged.append):
        metadata = import_weights(str(timm_file), tmp_path / "ours.safetensors")
    assert logged == [
        "theirs.safetensors: timm's resnet18: padding symmetric, norm epsilon 1e-05 "
        "(it is named so). Images: 224 px, the central 0.875, bicubic, "
        "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225."
    ]
    assert metadata.member == "resnet18" and metadata.spec == RESNET18
    assert "timm's resnet18" in metadata.origin
    network = load(tmp_path / "ours.safetensors")
    assert network.metadata == metadata and network.preprocessing == Preprocessing(size=224)


def test_any_source_is_imported_once_and_then_read_from_the_cache(
    timm_file: Path, empty_cache: Path
):
    first = weights_file(timm_file)
    assert first.parent == empty_cache and weights_file(str(timm_file)) == first
    before = first.stat().st_mtime_ns
    assert weights_file(timm_file).stat().st_mtime_ns == before
    save_file(
        {k: t + 1 if t.is_floating_point() else t for k, t in timm_tensors().items()}, timm_file
    )
    assert weights_file(timm_file) != first  # the file has changed


def test_imagenets_thousand_classes_have_names(tmp_path: Path):
    spec = replace(RESNET18, classes=1000)
    save_file(to_theirs("timm", spec, build(spec).state_dict()), tmp_path / "w.safetensors")
    classes = load(tmp_path / "w.safetensors").metadata.classes
    assert len(classes) == 1000 and classes[0] == "tench" and classes[-1] == "toilet tissue"


def test_a_folder_laid_out_as_a_repository_is_a_source(tmp_path: Path):
    folder = tmp_path / "repo"
    folder.mkdir()
    save_file(timm_tensors(), folder / "model.safetensors")
    config = {
        "architecture": "resnet18",
        "num_classes": 4,
        "label_names": ["a", "b", "c", "d"],
        "pretrained_cfg": {
            "input_size": [3, 160, 160],
            "test_input_size": [3, 192, 192],
            "crop_pct": 0.95,
            "interpolation": "bilinear",
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "license": "mit",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    network = load(folder)
    assert network.preprocessing == Preprocessing(
        size=192, crop=0.95, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    assert network.metadata.classes == ("a", "b", "c", "d") and network.metadata.licence == "mit"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.safetensors", "no weights at nowhere.safetensors. Give a file"),
        ("resnet18.none", "Known tags: a1_in1k"),
        ("torchvision:resnet19", "phiscale has no torchvision:resnet19"),
        ("small", "no pretrained weights small are known. Known tags: none"),
    ],
)
def test_a_missing_source_is_an_error_of_one_line(source: str, message: str):
    with pytest.raises(PhiscaleError, match=message):
        load(source)


def test_the_table_of_known_weights_is_complete_enough_to_use():
    assert len(pretrained_weights()) > 200
    assert {each.source.partition(":")[0] for each in pretrained_weights()} == {
        "hf-hub",
        "torchvision",
    }
    assert (
        weights_of_member("tf_efficientnet_b0.ns_*")[0].source
        == "hf-hub:timm/tf_efficientnet_b0.ns_jft_in1k"
    )
    lite = weights_of_member("tf_efficientnet_lite0")[0].preprocessing
    assert (lite.size, lite.crop) == (224, 0.875)
    assert original_preprocessing("tf_efficientnet_lite0").mean == pytest.approx((127 / 255,) * 3)


def test_a_folder_of_weights_files_offers_them_all_by_name(timm_file: Path, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "b.safetensors").write_bytes(timm_file.read_bytes())
    import_weights(str(timm_file), folder / "a.safetensors")
    (folder / "notes.txt").write_text("no weights")
    assert list(weights_files(str(folder))) == ["a", "b"]
    assert list(weights_files(str(timm_file))) == ["theirs"]


def test_the_same_file_cannot_be_both_ends_of_an_import(timm_file: Path):
    before = timm_file.read_bytes()
    with pytest.raises(UsageError, match="is the file to read"):
        import_weights(str(timm_file), timm_file.parent / "." / timm_file.name)
    assert timm_file.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "reason", "member"),
    [
        ("tf_efficientnet_b0_ns-4a1f.pth", "it is named so", "tf_efficientnet_b0"),
        ("efficientnet_b0-ra.pth", "it is named so", "efficientnet_b0"),
        ("weights.pth", "as timm's are", "efficientnet_b0"),
    ],
)
def test_the_name_of_a_file_decides_the_padding(
    tmp_path: Path, file: str, reason: str, member: str
):
    spec = replace(get_spec("efficientnet_b0"), classes=4)
    theirs = to_theirs("timm", spec, build(spec).state_dict())
    half = {name: t.half() if t.is_floating_point() else t for name, t in theirs.items()}
    torch.save(half, tmp_path / file)
    logged: list[str] = []
    with log_to(logged.append):
        metadata = import_weights(str(tmp_path / file), tmp_path / "ours.safetensors")
    assert metadata.member == member and reason in logged[0] and "It fits" in logged[0]
    _, tensors = read(tmp_path / "ours.safetensors")  # halves become singles
    assert tensors["stem.conv.weight"].dtype == torch.float32


def test_a_network_of_other_input_channels_is_recognised(tmp_path: Path):
    model = timm.create_model("efficientnet_b0", in_chans=2, num_classes=3)
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "two.pth",
    )
    (tmp_path / "names.txt").write_text("ant\nbee\n\ncat\n")
    out = tmp_path / "two.safetensors"
    main(
        [
            "import",
            str(tmp_path / "two.pth"),
            "--out",
            str(out),
            "--classes",
            str(tmp_path / "names.txt"),
        ]
    )
    network = load(out)
    assert (network.spec.in_channels, network.metadata.classes) == (2, ("ant", "bee", "cat"))
    with pytest.raises(UsageError, match=r"takes 2 channels; images are read in 3"):
        evaluate_model(str(out), "digits")


def test_files_of_the_same_name_get_different_rows(timm_file: Path, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(timm_file.read_bytes())
    torch.save(timm_tensors(), folder / "a.pth")
    assert list(weights_files(str(folder))) == ["a.pth", "a.safetensors"]


def test_a_file_of_phiscale_is_not_imported_again(timm_file: Path, tmp_path: Path):
    ours = tmp_path / "best.safetensors"
    import_weights(str(timm_file), ours)
    with pytest.raises(UsageError, match="is phiscale's already"):
        import_weights(str(ours), tmp_path / "again.safetensors")
    with pytest.raises(UsageError, match="is phiscale's already"):
        import_weights(str(tmp_path), tmp_path / "again.safetensors")


def test_numbers_that_single_precision_lacks_are_refused(tmp_path: Path):
    tensors = {k: t.double() if t.is_floating_point() else t for k, t in timm_tensors().items()}
    tensors["fc.bias"][0] = 1e300
    save_file(tensors, tmp_path / "large.safetensors")
    with pytest.raises(WeightsError, match="hold NaN or infinity"):
        import_weights(str(tmp_path / "large.safetensors"), tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_cache_of_timms_without_a_config_is_enough(
    timm_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub

    def cached(repo: str, file: str, **_: Any) -> str:
        if file != "model.safetensors":
            raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
        return str(timm_file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", cached)
    monkeypatch.setattr(hub, "is_reachable", lambda endpoint: False)
    network = load("hf-hub:timm/resnet18.a1_in1k")
    assert network.metadata.licence == "apache-2.0" and network.preprocessing.size == 288


def test_torchvisions_weights_offline_give_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(hub, "is_reachable", lambda url: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"download\.pytorch\.org cannot be reached\. Connect"):
        load("torchvision:resnet18")


def test_a_file_for_timm_names_its_network_and_so_its_padding(tmp_path: Path):
    spec = replace(get_spec("tf_efficientnet_b0"), classes=3)
    metadata = ModelMetadata(
        spec=spec, preprocessing=Preprocessing(size=224), classes=("a", "b", "c")
    )
    save(tmp_path / "ours.safetensors", build(spec).state_dict(), metadata)
    main(
        [
            "convert",
            str(tmp_path / "ours.safetensors"),
            "--to",
            "timm",
            "--out",
            str(tmp_path / "theirs.safetensors"),
        ]
    )
    assert load(tmp_path / "theirs.safetensors").spec == spec
    with pytest.raises(SystemExit):
        main(
            [
                "convert",
                str(tmp_path / "ours.safetensors"),
                "--to",
                "timm",
                "--out",
                str(tmp_path / "ours.safetensors"),
            ]
        )
    assert load(tmp_path / "ours.safetensors").metadata == metadata  # it is still ours
