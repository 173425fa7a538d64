"""The files that the command lines of these tests name."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from phiscale.arch.families import get_spec
from phiscale.cli import main
from phiscale.data.preprocessing import Preprocessing
from phiscale.planning.coefficients import Coefficients
from support.command_line import CLASSES, device_model, draw


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the command lines below name, good and bad."""
    import torch

    from phiscale.nn.network import build
    from phiscale.weights.metadata import ModelMetadata
    from phiscale.weights.store import save

    root = tmp_path_factory.mktemp("place")
    for shade, name in enumerate(CLASSES):
        for number in range(10):
            draw(root / "images" / name / f"{number}.png", 60 * shade, number)
    draw(root / "one.png", 60, 0)
    draw(root / "single" / "a" / "0.png", 0, 0)
    for name in "ab":
        for number in range(10):
            draw(root / "spoilt" / name / f"{number}.png", 60, number + 10 * (name == "b"))
    (root / "spoilt" / "a" / "cut.png").write_bytes((root / "one.png").read_bytes()[:60])
    shutil.copytree(root / "images", root / "images-cut")
    for file in (root / "images-cut" / "a").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    for folder in ("empty", "no-weights"):
        (root / folder).mkdir()
    (root / "no-weights" / "notes.txt").write_text("nothing here")
    (root / "text.txt").write_text("plain words")
    (root / "broken.json").write_text('{"phiscale_spec": 1,')
    (root / "other.json").write_text('{"phiscale_spec": 99, "phiscale_device": 99}')
    (root / "raises.py").write_text("NET = 1 / 0\n")
    (root / "values.py").write_text("X = 3\n")
    for name in ("junk.safetensors", "junk.onnx"):
        (root / name).write_bytes(b"junk")
    device_model().write(root / "device.json")
    Coefficients(alpha=1.3, beta=1.1, gamma=1.1, method="grid", base="small", data="cifar10").write(
        root / "found.json"
    )
    (root / "shrinks.json").write_text(
        '{"phiscale_coefficients": 1, "alpha": 0.9, "beta": 1, "gamma": 1}'
    )

    spec = replace(get_spec("small"), resolution=16, classes=len(CLASSES))
    torch.manual_seed(0)
    preprocessing = Preprocessing(size=16, crop=1.0)
    metadata = ModelMetadata(spec=spec, preprocessing=preprocessing, classes=CLASSES)
    save(root / "model" / "best.safetensors", build(spec).state_dict(), metadata)
    main(["export", str(root / "model"), "--data", str(root / "images")])
    (root / "exported").mkdir()
    shutil.copy(root / "model" / "model.onnx", root / "exported")
    return root
