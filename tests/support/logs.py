"""The log of a training without what depends on the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phiscale.training.log import read_log

OF_THE_MACHINE = (
    "images_per_s",
    "wait_share",
    "saving_share",
    "eta_s",
    "memory_bytes",
    "seconds",
    "time",
)
"""Fields of log.jsonl that depend on the machine; all others are the same in every run."""


def log_without_times(run: Path) -> list[Mapping[str, Any]]:
    """The records of log.jsonl; those of two equal trainings are equal."""
    return [
        {name: value for name, value in record.items() if name not in OF_THE_MACHINE}
        for record in read_log(run)
    ]
