"""Checkpoints: whole or absent, hashed by name, the last few kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from phiscale.errors import CheckpointError
from phiscale.files import sha256, write_atomic


def save_checkpoint(folder: Path, images_seen: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Writes `IMAGES-NUMBER-HASH.pt`, the number telling apart what is saved at one place, and
    drops all but the last `keep`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    here = [int(p.stem.split("-")[1]) for p in folder.glob(f"{images_seen:012d}-*-*.pt")]
    number = max(here, default=-1) + 1
    path = folder / f"{images_seen:012d}-{number:03d}-{sha256(content)[:16]}.pt"
    write_atomic(path, content)
    for old in _newest_first(folder)[max(1, keep) :]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint whose content is what its name says; None if there is none at all."""
    paths, damaged = _newest_first(folder), []
    for path in paths:
        try:
            content, why = path.read_bytes(), "its content does not match its hash"
        except OSError as error:
            content, why = b"", error.strerror
        if sha256(content)[:16] == path.stem.rpartition("-")[2]:
            for other in damaged:  # kept for who wants to look, out of the way of the next ones
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


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*-*-*.pt"), reverse=True) if folder.is_dir() else []
