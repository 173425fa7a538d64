"""A real pretrained backbone on real photos: imported, compared with timm, sent back, probed.

The weights and the photos lie beside the repository, in ../shared; without them these skip.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from phiscale.cli import main
from phiscale.cli.output import log_to
from phiscale.data.reading.decode import read_image
from phiscale.weights.importing import import_weights
from phiscale.weights.sources import load

SHARED = Path(os.environ.get("PHISCALE_SHARED", Path(__file__).parents[3] / "shared"))
WEIGHTS = SHARED / "weights" / "efficientnet_lite0_backbone.safetensors"
PHOTOS = SHARED / "data" / "clothing"
NAME = "tf_efficientnet_lite0"

pytestmark = pytest.mark.skipif(
    not (WEIGHTS.is_file() and PHOTOS.is_dir()),
    reason=f"{SHARED} with its weights and photos is not here",
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imported") / "lite0.safetensors"
    logged: list[str] = []
    with log_to(logged.append):
        metadata = import_weights(str(WEIGHTS), path)
    assert (metadata.member, metadata.spec.classes) == (NAME, 0)
    assert "padding same, norm epsilon 0.001 (it is named so)" in logged[0]
    return path


@pytest.fixture(scope="module")
def photos(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """Eight of them, as the weights want them."""
    place, take = tmp_path_factory.mktemp("photos"), load(imported).preprocessing
    assert take.mean == pytest.approx((127 / 255,) * 3) and take.std[0] == pytest.approx(128 / 255)
    files = unpacked("test", place, slice(None, 8 * (372 // 8), 372 // 8))
    return torch.stack([torch.from_numpy(take(read_image(file))) for file in files])


def unpacked(split: str, place: Path, which: slice = slice(None)) -> list[Path]:
    """Photos of a split as files. By hand: tarfile's filters came with Python 3.11.4."""
    files = []
    with tarfile.open(PHOTOS / f"{split}.tar") as tar:
        for member in [each for each in tar.getmembers() if each.isfile()][which]:
            files.append(place / member.name)
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(tar.extractfile(member).read())
    return files


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def timm_network(checkpoint: Path) -> torch.nn.Module:
    return timm.create_model(NAME, num_classes=0, checkpoint_path=str(checkpoint)).eval()


@torch.inference_mode()
def test_its_features_are_timms(imported: Path, photos: Tensor):
    ours, theirs = load(imported), timm_network(WEIGHTS)
    assert (
        relative_difference(ours.forward_features(photos), theirs.forward_features(photos)) < 1e-4
    )
    assert (
        relative_difference(ours(photos), theirs(photos)) < 1e-4
    )  # without classes: pooled features


@torch.inference_mode()
def test_it_goes_back_to_timm_as_it_came(imported: Path, photos: Tensor, tmp_path: Path):
    back = tmp_path / "back.safetensors"
    main(["convert", str(imported), "--to", "timm", "--out", str(back)])
    assert torch.equal(timm_network(back)(photos), timm_network(WEIGHTS)(photos))


@pytest.mark.slow
def test_a_linear_probe_on_clothes_reaches_its_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """0.903 on the 372 test photos; a ridge probe of the same features has 0.876."""
    for split in ("train", "validation", "test"):
        unpacked(split, tmp_path / "clothing" / split)
    run, data = str(tmp_path / "probe"), str(tmp_path / "clothing")
    main(
        [
            "train",
            "probe",
            "--model",
            NAME,
            "--data",
            data,
            "--out",
            run,
            "--pretrained",
            str(WEIGHTS),
        ]
    )
    capsys.readouterr()
    main(["evaluate", run, data, "--json"])
    assert json.loads(capsys.readouterr().out)["top1"] >= 0.865
