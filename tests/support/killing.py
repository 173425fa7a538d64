"""Trainings that are killed and resumed.

They are forked from a process that has imported everything, so that each takes a second or two.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from phiscale.arch.families import get_spec
from phiscale.arch.scaling import Scaling, scale
from phiscale.data.augment.augment import Augment
from phiscale.data.datasets.open import open_dataset
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError
from phiscale.training.loop import train
from phiscale.training.recipes.recipe import Optim, Recipe
from phiscale.training.runtime import Runtime
from phiscale.training.signals import Interrupted
from support.logs import log_without_times
from support.runs import newest_state

STEPS = 8
SPEC = replace(scale(get_spec("small"), Scaling(depth=0.5, width=0.5)), resolution=16)
PREPROCESSING = Preprocessing(size=16, crop=1.0)
RECIPE = Recipe(
    epochs=STEPS * 32 / 1439,
    batch=32,
    micro_batch=16,
    evaluations=2,
    dropout=0.2,
    drop_path=0.2,
    optim=Optim(name="muon", lr_peak=0.1),
    augment=Augment(mixup=0.3, erase=0.2),
)
TIMEOUT_S = 4.0
DISK_CALLS = ("fsync", "replace", "rename", "unlink", "ftruncate", "write")
PEER_LOST = 77  # exit status of a process that ended because another one was killed

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "support.killing",
        "phiscale.training.loop",
        "sklearn.datasets",
        "torch.utils.tensorboard.writer",
        "torch._dynamo",
    ]
)


@dataclass(frozen=True)
class KillPoint:
    """Where a training kills itself: at call number `at` of those that touch the disk."""

    at: int
    after: bool = False  # after the call, else before it; a write is cut in its middle


def start(
    out: Path,
    kill_at: KillPoint | None = None,
    rank: int = 0,
    size: int = 1,
    port: int = 0,
    pause_s: float = 0.0,
    count_to: Path | None = None,
    recipe: Recipe = RECIPE,
) -> Any:
    count_file = count_to and str(count_to)
    arguments = (str(out), kill_at, rank, size, port, pause_s, count_file, recipe)
    child = CONTEXT.Process(target=_train_in_child, args=arguments)
    child.start()
    return child


def _train_in_child(
    out: str,
    kill_at: KillPoint | None,
    rank: int,
    size: int,
    port: int,
    pause_s: float,
    count_to: str | None,
    recipe: Recipe,
) -> None:
    """Trains to the end, or until `kill_at` kills the process. Runs in the child."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    calls = _count_disk_calls(Path(out), kill_at)
    runtime = Runtime(
        own_process=True,
        save_every_s=0,
        timeout_s=TIMEOUT_S,
        callbacks=[lambda progress: time.sleep(pause_s)],
    )
    code = 0
    try:
        train(Path(out), SPEC, open_dataset("digits"), recipe, PREPROCESSING, runtime)
    except Interrupted as stop:
        code = stop.status
    except PhiscaleError as error:
        Path(f"{out}.error{rank}").write_text(str(error))
        code = PEER_LOST
    if count_to:
        Path(count_to).write_text(str(calls[0]))
    os._exit(code)


def _count_disk_calls(out: Path, kill_at: KillPoint | None) -> list[int]:
    """Counts the calls that touch the disk, and kills the process at one of them."""
    calls = [0]

    def is_kill_point(after: bool) -> bool:
        return kill_at is not None and (kill_at.at, kill_at.after) == (calls[0], after)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if is_kill_point(after=False):
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **named)
            if is_kill_point(after=True):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in DISK_CALLS[:-1]:
        setattr(os, name, counted(getattr(os, name)))

    class CutFile:
        """A file of which one write stops in its middle, and the process with it."""

        def __init__(self, file: Any):
            self.file = file

        def __enter__(self) -> "CutFile":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: Any) -> int:
            calls[0] += 1
            if is_kill_point(after=False) or is_kill_point(after=True):
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.file.write(data)

    real_open = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = real_open(self, mode, *arguments, **named)
        ours = str(self).startswith(str(out)) and "tensorboard" not in str(self)
        return CutFile(file) if ours and mode in ("wb", "ab") else file

    Path.open = opened  # type: ignore[method-assign, assignment]
    return calls


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def finish(out: Path, size: int = 1) -> None:
    """Trains to the end; raises AssertionError with the reason if it fails."""
    port = free_port() if size > 1 else 0
    children = [start(out, rank=rank, size=size, port=port) for rank in range(size)]
    for child in children:
        child.join(120)
        if child.exitcode != 0:
            messages = [p.read_text() for p in out.parent.glob(f"{out.name}.error*")]
            raise AssertionError(f"exit code {child.exitcode}: {messages}")


def final_state(run: Path) -> dict[str, Any]:
    """Returns all results of a training except times: they must not depend on any kill."""
    state = newest_state(run)
    tensors = {f"network.{k}": v for k, v in state["network"].items()}
    tensors |= {f"ema.{k}": v for k, v in state["ema"].items()}
    for number, slots in state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in slots.items()}
    return {
        "images": state["images_seen"],
        "log": log_without_times(run),
        "tensors": tensors,
        "best": load_file(run / "best.safetensors"),
    }


def differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    different = [key for key in ("images", "log") if one[key] != two[key]]
    for part in ("tensors", "best"):
        if one[part].keys() != two[part].keys():
            different.append(part)
            continue
        for name, value in one[part].items():
            other = two[part][name]
            same = torch.equal(value, other) if torch.is_tensor(value) else value == other
            if not same:
                different.append(f"{part}.{name}")
    return different


def damage(path: Path, kind: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "flip":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "cut":
            del content[rng.randrange(len(content)) :]
        case "zero":
            at = rng.randrange(len(content))
            content[at : at + 512] = bytes(len(content[at : at + 512]))
            content[at] = 1 if path.read_bytes()[at] == 0 else 0
        case "empty":
            content.clear()
    path.write_bytes(bytes(content))
