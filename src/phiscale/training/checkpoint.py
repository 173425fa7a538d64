"""Writes and reads checkpoints. A file is complete or absent, and its name holds its hash."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from phiscale.errors import CheckpointError
from phiscale.files import sha256, write_atomic


def save_checkpoint(folder: Path, images_seen: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Writes a checkpoint and deletes all but the newest `keep`; returns its path.

    The name is `IMAGES-NUMBER-HASH.pt`. NUMBER counts checkpoints of the same IMAGES: the state
    before an evaluation and after it, for example.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    numbers = [int(p.stem.split("-")[1]) for p in folder.glob(f"{images_seen:012d}-*-*.pt")]
    number = max(numbers, default=-1) + 1
    path = folder / f"{images_seen:012d}-{number:03d}-{sha256(content)[:16]}.pt"
    write_atomic(path, content)
    for old in _newest_first(folder)[max(1, keep) :]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """Returns the newest checkpoint whose content matches its hash; None if there is no checkpoint.

    Damaged ones are reported to `warn` and renamed. Raises CheckpointError if all are damaged.
    """
    paths, damaged = _newest_first(folder), []
    for path in paths:
        try:
            content, why = path.read_bytes(), "its content does not match its hash"
        except OSError as error:
            content, why = b"", error.strerror
        if sha256(content)[:16] == path.stem.rpartition("-")[2]:
            for other in damaged:  # kept for inspection
                other.rename(other.with_suffix(".damaged"))
            return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        damaged.append(path)
        warn(f"{path} is damaged ({why}); going back to the one before")
    if paths:
        raise CheckpointError(
            f"no checkpoint in {folder} is intact ({', '.join(p.name for p in paths)}). "
            "Delete them to start again, or restore one."
        )
    return None


def newest_images_seen(folder: Path) -> int:
    """Returns the images seen at the newest checkpoint, by its name; 0 if there is none."""
    newest = next(iter(_newest_first(folder)), None)
    return int(newest.stem.split("-")[0]) if newest else 0


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*-*.pt"), reverse=True) if folder.is_dir() else []
