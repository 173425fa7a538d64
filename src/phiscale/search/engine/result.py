"""Results of trials, one file each. This module imports no torch.

In one folder the files count, and the database is filled from them. Machines that share only a
server take the first result that is marked there (`worker.py`).
"""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.errors import PhiscaleError
from phiscale.files import (
    Format,
    encoded_field,
    read_json,
    remove_partial_files,
    verify_checksum,
    with_checksum,
    write_atomic,
    write_json,
)
from phiscale.search.engine.trial import trial_key

logger = logging.getLogger(__name__)

MAX_WRITE_S = 600.0  # longer than writing a result can take


def pack_labels(labels: NDArray[np.int64] | None) -> str | None:
    """Writes class indices as text: 10,000 predictions of ten classes take 6 kB."""
    if labels is None:
        return None
    return base64.b64encode(zlib.compress(labels.astype("<u2").tobytes(), 9)).decode()


def unpack_labels(text: str | None) -> NDArray[np.int64] | None:
    """Reads what `pack_labels` wrote. ValueError where it is damaged."""
    if text is None:
        return None
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)
    except zlib.error as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a training. Where it failed, `failed` says why and the numbers are None."""

    key: str
    name: str
    attrs: Mapping[str, Any]
    trial: Mapping[str, Any]  # Trial.to_dict()
    validation_error: float | None  # a fraction, of the weights that were kept
    validation_loss: float | None  # of the same weights
    validation_images: int
    test_predictions: NDArray[np.int64] | None = encoded_field(  # noqa: RUF009
        pack_labels, unpack_labels, default=None
    )
    """Predicted class of each test image, in the split's order."""
    test_error: float | None = None
    macs: int = 0  # of the network, for one image
    params: int = 0
    activations: int = 0
    images_seen: int = 0
    seconds: float = 0.0  # of training, over all starts
    cpu_seconds: float = 0.0  # of all cores, evaluation included; of the last start only
    failed: str | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)  # versions, processor

    @property
    def error(self) -> float:
        """Validation error, a fraction; 1 where the training failed."""
        return 1.0 if self.validation_error is None else self.validation_error

    def correct(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which test images were predicted correctly, (images,); none where the training failed."""
        if self.test_predictions is None:
            return np.zeros(len(labels), bool)
        return self.test_predictions == labels

    def check(self) -> None:
        """Raises ValueError or TypeError where a training cannot have given these numbers."""
        for fraction in (self.validation_error, self.test_error):
            if fraction is not None and not 0 <= fraction <= 1:  # nor is NaN
                raise ValueError(f"an error of {fraction}")
        if self.validation_loss is not None and not isfinite(self.validation_loss):
            raise ValueError(f"a loss of {self.validation_loss}")
        if (self.validation_error is None) != (self.failed is not None):
            raise ValueError(
                "neither a validation error nor a reason why the training failed"
                if self.failed is None
                else "a validation error although the training failed"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a checksum, since a flipped digit is still a number."""
        return with_checksum(FORMAT.encode(self))

    @staticmethod
    def from_dict(data: Any, where: str = "the result") -> Result:
        """Inverts `to_dict`. PhiscaleError, which names `where`: the data is something else."""
        result = FORMAT.decode(verify_checksum(data, where, FORMAT.fix), where)
        try:
            result.check()
        except (TypeError, ValueError, OverflowError) as error:
            raise PhiscaleError(f"{where} is impossible ({error}). {FORMAT.fix}") from None
        if result.key != trial_key(result.trial):
            raise PhiscaleError(f"{where} is the result of another training. {FORMAT.fix}")
        return result


FORMAT = Format(Result, "phiscale_result", PhiscaleError, "Delete it; its training is run again.")


def unique_results(results: Iterable[Result]) -> list[Result]:
    """Returns each training once: arms that are one network share theirs."""
    return list({result.key: result for result in results}.values())


class Results:
    """The results of a study or search, as files.

    Each has a file of its own in the folder `results`. Published studies have them as lines of
    `results.jsonl` beside that folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, Result] = {}

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    @property
    def jsonl(self) -> Path:
        """The file `results.jsonl`, which holds all results of a finished study."""
        return self.folder.with_name("results.jsonl")

    def read(self, keys: Iterable[str]) -> dict[str, Result]:
        """Reads the results that exist, by key. A file is read once: a result never changes."""
        for key in keys:
            if key not in self._read and self.path(key).exists():
                self._read[key] = self._one(key)
        cached = self._all
        return {key: cached[key] for key in keys if key in cached}

    def all(self) -> dict[str, Result]:
        """Reads every result, in the order of the keys."""
        self.read(sorted(path.stem for path in self.folder.glob("*.json")))
        return dict(sorted(self._all.items()))

    def write_result(self, result: Result) -> Result:
        """Writes a result where there is none yet, and returns the one that counts.

        Two workers, on any machines, may have trained one trial; the first result counts.
        """
        if result.key not in self._all:
            write_json(self.path(result.key), result.to_dict(), overwrite=False)
        return self.read([result.key])[result.key]

    def write_jsonl(self) -> None:
        """Writes `results.jsonl`: everything that the statistics need, in one file."""
        lines = [json.dumps(result.to_dict(), sort_keys=True) for result in self.all().values()]
        write_atomic(self.jsonl, "".join(f"{line}\n" for line in lines))

    def sweep(self) -> None:
        """Deletes what killed writes left behind, but no file that may be written just now."""
        remove_partial_files(self.folder, older_than_s=MAX_WRITE_S)

    @property
    def _all(self) -> dict[str, Result]:
        return {**self.from_jsonl, **self._read}

    @cached_property
    def from_jsonl(self) -> Mapping[str, Result]:
        """Results in `results.jsonl`, by key. Damaged lines are left out, with a warning."""
        if not self.jsonl.exists():
            return {}
        status = self.jsonl.stat()
        return _read_lines(self.jsonl, (status.st_mtime_ns, status.st_size))

    def _one(self, key: str) -> Result:
        result = Result.from_dict(read_json(self.path(key)), str(self.path(key)))
        if result.key != key:
            raise PhiscaleError(f"{self.path(key)} is the result of another training. {FORMAT.fix}")
        return result


@lru_cache(maxsize=8)  # many objects read one file: a damaged line is reported once
def _read_lines(path: Path, version: tuple[int, int]) -> dict[str, Result]:
    """Reads `results.jsonl`. `version`: time of its last change and its size.

    PhiscaleError: a line is as it was written, but no result that this version can read.
    """
    results: list[Result] = []
    damaged: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        where = f"{path}, line {number},"
        try:
            payload = json.loads(line)
            verify_checksum(payload, where, FORMAT.fix)
        except (ValueError, RecursionError, PhiscaleError):
            damaged.append(str(number))
            continue
        results.append(Result.from_dict(payload, where))
    if damaged:
        logger.warning(
            f"{path} is damaged in line {', '.join(damaged)}: what is lost there is trained again, "
            "unless results/ has it."
        )
    return {result.key: result for result in results}
