"""Small image folders and shards for the tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from phiscale.data.datasets.dataset import ImageSet
from support.nasty import saved


def image_bytes(number: int, kind: str = "PNG", side: int = 8) -> bytes:
    """An image unlike those of other numbers."""
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), kind)


def tree(root: Path, folders: Mapping[str, int], start: int = 0) -> Path:
    """Folder -> number of images, all different."""
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / folder / f"{i:03d}.png").write_bytes(image_bytes(start))
            start += 1
    return root


def shard(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(
    labels: Iterable[object], start: int = 0, label: str = "cls"
) -> list[tuple[str, bytes]]:
    """WebDataset members, an image and a label each."""
    members = []
    for i, value in enumerate(labels, start):
        text = json.dumps({"label": value}) if label == "json" else str(value)
        members += [(f"{i:05d}.png", image_bytes(i)), (f"{i:05d}.{label}", text.encode())]
    return members


def split_sizes(images: ImageSet) -> tuple[int, int, int]:
    """Images of train, validation and test."""
    return len(images.train), len(images.validation), len(images.test)
