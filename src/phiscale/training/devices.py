"""Selects a device by name, and checks that a network takes RGB images."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

from phiscale.errors import UsageError

if TYPE_CHECKING:
    import torch

    from phiscale.arch.spec import Spec


def require_rgb(spec: Spec, what: str) -> None:
    """Raises UsageError where a network does not take the three channels of an image."""
    if spec.in_channels != 3:
        raise UsageError(
            f"{what} takes {spec.in_channels} channels; images are read in 3. "
            "Use a network of 3, or call yours from Python."
        )


def compute_device(name: str) -> torch.device:
    """Returns the torch device of a name: cpu, cuda, cuda:1 or mps; auto prefers a CUDA GPU.

    UsageError: there is no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device='cuda': torch finds no CUDA device here. Use `device='cpu'`.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device='mps': torch finds no Apple GPU here. Use `device='cpu'`.")
    if name.partition(":")[0] not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device={name!r} is unknown. Use 'auto', 'cpu', 'cuda' or 'mps'.")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UsageError(f"device={name!r} is no device. Use a name such as 'cuda:1'.") from None


def cpu_name() -> str:
    """Returns the processor's model where the system names it, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
