"""What phiscale-core must do without torch: `python try_core.py PHISCALE FIT`.

PHISCALE is the command of an environment with phiscale-core alone; FIT the folder of a `fit`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

WORKS = (
    "--version",
    "models *lite*",
    "describe efficientnet_b0 --phi 1",
    "solve efficientnet_b0 --macs 400M --params 5M",
    "law fit efficientnet --out {out}/law.json",
    "law predict {out}/law.json --phi 3 4",
    "predict {fit}/model.onnx {out}/one.png",
    "predict {fit} {out}/one.png --format json",
)
NEEDS_MORE = (
    "fit {out} --out {out}/x",
    "train cifar10-35 --model small --data {out} --out {out}/x",
)
MOST_MIB = 400


def main(command: str, fit: str) -> None:
    out = Path(fit).parent / "core-trial"
    out.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(out / "one.png")
    for line in WORKS:
        done = run(command, line.format(out=out, fit=fit))
        assert done.returncode == 0, f"{line}: {done.stderr}"
    for line in NEEDS_MORE:
        done = run(command, line.format(out=out, fit=fit))
        assert done.returncode == 1 and "pip install phiscale" in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    environment = Path(command).parents[1]
    python = str(environment / "bin" / "python")
    torch = [python, "-c", "import torch"]
    assert subprocess.run(torch, capture_output=True).returncode == 1, "torch is installed"
    calls = Path(__file__).with_name("core_calls.py")
    subprocess.run([python, str(calls), fit, str(out / "one.png")], check=True, timeout=120)
    size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file()) / 2**20
    assert size < MOST_MIB, f"{size:.0f} MiB"
    print(f"phiscale-core plans and predicts without torch, {size:.0f} MiB installed")


def run(command: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, *line.split()], capture_output=True, text=True, timeout=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
