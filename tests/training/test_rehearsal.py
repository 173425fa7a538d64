"""ImageNet in small: 20,000 images of 1,000 classes in 20 shards, the published recipe, two
processes, killed twice. Minutes, so it is slow."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phiscale.arch.families import get_spec
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.training import loop
from phiscale.training.log import read_log
from phiscale.training.loop import train
from phiscale.training.recipes.table import RECIPES
from phiscale.training.runtime import Runtime
from support.logs import log_without_times
from support.runs import child_environment, newest_state

SHARDS, A_SHARD, CLASSES, STEPS, BATCH, SIDE = 20, 1000, 1000, 30, 48, 64
pytestmark = pytest.mark.slow


def main(shards: str, out: str) -> None:
    """What each process runs."""
    torch.set_num_threads(1)
    images = open_dataset(shards)
    assert len(images.classes) == CLASSES
    few = images.validation.subset(range(64))
    published = RECIPES["efficientnet-imagenet"]
    recipe = replace(
        published, epochs=STEPS * BATCH / len(images.train), batch=BATCH, evaluations=1
    )
    spec = replace(get_spec("efficientnet_b0"), resolution=SIDE, classes=CLASSES)
    loop.CACHE_BYTES = 2**20  # a thousandth of the decoded images: no step needs them all
    runtime = Runtime(save_every_s=0, timeout_s=20)
    train(
        Path(out), spec, replace(images, validation=few), recipe, Preprocessing(size=SIDE), runtime
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for number in range(SHARDS):
        with tarfile.open(folder / f"train-{number:04d}.tar", "w") as tar:
            for i in range(A_SHARD):
                index = number * A_SHARD + i
                coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
                encoded = io.BytesIO()
                coarse.resize((96, 72)).save(encoded, "JPEG", quality=70)
                label = str(index % CLASSES).encode()
                for suffix, data in (("jpg", encoded.getvalue()), ("cls", label)):
                    info = tarfile.TarInfo(f"{index:06d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def job(shards: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            __file__,
            str(shards),
            str(out),
        ],
        env=child_environment(),
        stderr=subprocess.DEVNULL,
    )


def test_imagenets_shape_two_processes_two_kills_and_the_same_end(shards: Path, tmp_path: Path):
    assert job(shards, tmp_path / "undisturbed").wait(timeout=600) == 0
    out, rng = tmp_path / "killed", random.Random(0)
    for kills in (1, 2):
        running = job(shards, out)
        deadline = time.monotonic() + 300
        enough = STEPS * kills // 3 * BATCH + rng.randrange(4) * BATCH
        while time.monotonic() < deadline and running.poll() is None:
            saved = sorted((out / "checkpoints").glob("*.pt"))
            if saved and int(saved[-1].name[:12]) >= enough:
                break
            time.sleep(0.05)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for pid in (running.pid, *map(int, children)):  # torchrun's are no group of its own
            os.kill(pid, signal.SIGKILL)
        running.wait()
        assert 0 < len([r for r in read_log(out) if "loss" in r]) < STEPS
    assert job(shards, out).wait(timeout=600) == 0
    assert log_without_times(out) == log_without_times(tmp_path / "undisturbed")
    ends = [newest_state(run) for run in (out, tmp_path / "undisturbed")]
    for part in ("network", "ema"):
        one, two = ends[0][part], ends[1][part]
        assert all(torch.equal(one[k], two[k]) for k in one if torch.is_tensor(one[k]))
    assert len([r for r in read_log(out) if "loss" in r]) == STEPS


if __name__ == "__main__":
    main(*sys.argv[1:])
