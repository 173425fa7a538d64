"""Images per second of `phiscale.predict`, beside loops that an engineer writes by hand.

    python benchmarks/predict_speed.py [--images N] [--rounds N] [--json FILE]

Efficientnet_lite0 with random weights at 224 pixels answers for JPEGs of 0.2 megapixels that the
script draws itself, on two cores:

* from model.onnx, beside two threads with Pillow that feed batches of 32 to ONNX Runtime;
* from torch weights, beside a DataLoader with two worker processes and batches of 32.

All four read the same files and prepare them alike; their top-1 classes are compared. They take
turns, and the ratio is that of the median rounds. The target is at least 0.8 for both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from phiscale.arch.families import get_spec
from phiscale.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from phiscale.deploy.export import export_onnx
from phiscale.deploy.inference import predict
from phiscale.nn.network import build
from phiscale.text import format_table
from phiscale.training.devices import cpu_name
from phiscale.weights.metadata import ModelMetadata
from phiscale.weights.sources import load
from phiscale.weights.store import save

CORES = 2
SIZE, CROP = 224, 0.875
BATCH = 32
TARGET = 0.8
MEAN = np.array(IMAGENET_MEAN, np.float32)
STD = np.array(IMAGENET_STD, np.float32)

Loop = Callable[[Sequence[Path]], list[int]]
"""From files to the index of each one's class."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Images per second of phiscale.predict.")
    parser.add_argument("--images", type=int, default=1000, help="number of JPEGs")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which all take turns")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    use_cores(CORES)
    conditions = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        files = draw_images(Path(folder, "images"), arguments.images)
        model = make_model(Path(folder, "model"))
        seconds = measure(loops(model), files, arguments.rounds)
    result = {"images": len(files), "rounds": arguments.rounds, **conditions}
    rows = compare(seconds, len(files))
    for name, value in result.items():
        print(f"{name}: {value}")
    print("\n".join(format_table(rows)))
    if arguments.json:
        arguments.json.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
    if not all(row["passed"] for row in rows):
        sys.exit(1)


def use_cores(count: int) -> None:
    """Restrict this process, and torch, to some of its cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    torch.set_num_threads(count)


def describe_machine() -> dict[str, object]:
    """What the numbers depend on."""
    packages = ("phiscale", "torch", "onnxruntime", "pillow", "numpy")
    return {
        "processor": cpu_name(),
        "cores": CORES,
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
    }


# --- images and model -----------------------------------------------------------------------------


def draw_images(folder: Path, count: int) -> list[Path]:
    """JPEGs of 528 x 384 pixels: smooth colours, ellipses, and the noise of a sensor."""
    folder.mkdir()
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        draw_image(np.random.default_rng(number)).save(file, quality=90)
    return files


def draw_image(random: np.random.Generator) -> Image.Image:
    """Deterministic for a generator."""
    width, height = 528, 384
    colours = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, right, below = (int(value) for value in random.integers(0, 400, 4))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw.ellipse([x, y, x + right // 3 + 5, y + below // 3 + 5], fill=colour)
    noise = random.normal(0, 8, (height, width, 3))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.7))


@dataclass(frozen=True)
class Model:
    """The same network twice."""

    onnx: Path
    weights: Path


def make_model(folder: Path) -> Model:
    """Lite0 with random weights, as model.onnx and as best.safetensors."""
    folder.mkdir()
    torch.manual_seed(0)
    spec = get_spec("efficientnet_lite0")
    network = build(spec).eval()
    metadata = ModelMetadata(
        spec=spec,
        preprocessing=Preprocessing(size=SIZE, crop=CROP),
        classes=tuple(str(number) for number in range(spec.classes)),
    )
    weights = folder / "best.safetensors"
    save(weights, network.state_dict(), metadata)
    export_onnx(network, metadata, None, folder)
    return Model(folder / "model.onnx", weights)


# --- the four loops -------------------------------------------------------------------------------


def loops(model: Model) -> dict[str, Loop]:
    """By name: backend, then who wrote the loop. Each opens its model itself."""
    return {
        "onnx predict": lambda files: predict_classes(model.onnx, files),
        "onnx by hand": lambda files: onnx_by_hand(model.onnx, files),
        "torch predict": lambda files: predict_classes(model.weights, files),
        "torch by hand": lambda files: torch_by_hand(model.weights, files),
    }


def predict_classes(model: Path, files: Sequence[Path]) -> list[int]:
    predictions = predict(model, list(files), device="cpu")
    assert isinstance(predictions, list)
    return [int(prediction.label) for prediction in predictions]


def onnx_by_hand(model: Path, files: Sequence[Path]) -> list[int]:
    """Two threads read the next batch while ONNX Runtime computes this one."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    batches = [files[at : at + BATCH] for at in range(0, len(files), BATCH)]
    classes: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(prepare, file) for file in batches[0]]
        for following in (*batches[1:], ()):
            images = np.stack([future.result() for future in reading])
            reading = [pool.submit(prepare, file) for file in following]
            [logits] = session.run(None, {"images": images})
            classes += np.asarray(logits).argmax(1).tolist()
    return classes


def torch_by_hand(weights: Path, files: Sequence[Path]) -> list[int]:
    """A DataLoader with two workers."""
    network = load(weights)
    loader = torch.utils.data.DataLoader(Images(files), batch_size=BATCH, num_workers=2)
    classes: list[int] = []
    with torch.inference_mode():
        for images in loader:
            classes += network(images).argmax(1).tolist()
    return classes


class Images(torch.utils.data.Dataset[NDArray[np.float32]]):
    """Prepared images of some files."""

    def __init__(self, files: Sequence[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        return prepare(self.files[index])


def prepare(file: Path) -> NDArray[np.float32]:
    """Centre crop, bicubic resize, normalise: float32 (3, size, size)."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    side = CROP * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))


# --- measurement ----------------------------------------------------------------------------------


def measure(loops: dict[str, Loop], files: Sequence[Path], rounds: int) -> dict[str, list[float]]:
    """Seconds of each loop in each round. Raises SystemExit where their answers differ."""
    answers = {name: loop(files[: 2 * BATCH]) for name, loop in loops.items()}  # warms up, too
    reference = next(iter(answers.values()))
    for name, classes in answers.items():
        same = sum(a == b for a, b in zip(classes, reference, strict=True))
        if same < 0.95 * len(reference):  # random weights: a tie may fall either way
            sys.exit(f"{name} has only {same} of {len(reference)} classes in common")
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    names = list(loops)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            loops[name](files)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(seconds: dict[str, list[float]], images: int) -> list[dict[str, object]]:
    """A row for each backend: images per second, and their ratio."""
    rates = {name: images / statistics.median(times) for name, times in seconds.items()}
    rows: list[dict[str, object]] = []
    for backend in ("onnx", "torch"):
        ours, by_hand = rates[f"{backend} predict"], rates[f"{backend} by hand"]
        rows.append(
            {
                "backend": backend,
                "predict img/s": round(ours, 1),
                "by hand img/s": round(by_hand, 1),
                "ratio": round(ours / by_hand, 3),
                "target": TARGET,
                "passed": ours / by_hand >= TARGET,
            }
        )
    return rows


if __name__ == "__main__":
    main()
