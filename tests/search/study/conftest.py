"""Images for studies whose trainings are answered by a formula."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three classes of 32 px, 60 images to train on and 30 to test with."""
    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")
    for label, name in enumerate("abc"):
        for number in range(30):
            folder = root / ("train" if number < 20 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 150, (32, 32, 3), np.uint8)
            pixels[8 * label : 8 * label + 8] += 100
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(root)
