"""One training, described whole, and what came of it. No torch here.

A trial is known by a hash of everything that decides its result: the same training asked for twice
is one trial, in whichever study and on whichever machine. Its result is one file, the truth about
it: whatever else remembers it is made from such files.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from phiscale.arch.costs import cost
from phiscale.arch.scaling import Scaling
from phiscale.arch.spec import Spec
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError
from phiscale.files import (
    Format,
    canonical,
    encoded,
    read_json,
    sha256,
    sweep,
    verified,
    with_checksum,
    write_atomic,
    write_json,
)
from phiscale.training.recipes.recipe import Recipe

WRITING_S = 600.0  # longer than any write of a result takes


def pack_labels(predictions: np.ndarray | None) -> str | None:
    """Whole numbers as text: 10,000 answers of ten classes are 6 kB."""
    if predictions is None:
        return None
    return base64.b64encode(zlib.compress(predictions.astype("<u2").tobytes(), 9)).decode()


def unpack_labels(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)
    except zlib.error as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained how on what. `name` and `attrs` are for the reader: they decide nothing."""

    name: str
    spec: Spec
    recipe: Recipe
    preprocessing: Preprocessing
    data: str  # the image set's fingerprint
    train_images: int | None = None  # so many of them, evenly over the classes; None: all
    test: bool = False  # whether the test pictures are looked at, too
    threads: int = 1  # of torch: other sums in another order
    attrs: Mapping[str, Any] = field(default_factory=dict)  # arm, seed, stage: numbers and words

    def to_dict(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "spec": self.spec.to_dict(),
            "recipe": self.recipe.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "data": self.data,
            "train_images": self.train_images,
            "test": self.test,
            "threads": self.threads,
        }

    @cached_property
    def key(self) -> str:
        """Of the canonical form: what a field has at its default, and whether 6 or 6.0 was written,
        does not change it."""
        return trial_key(self.to_dict())

    @cached_property
    def macs_spent(self) -> float:
        """Multiply-adds of the forward passes of an epoch of one picture, times the epochs: what
        trials of one study are compared by."""
        return cost(self.spec).macs * self.recipe.epochs


class Conditions(Protocol):
    """What all trainings of a plan have in common."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def crop(self) -> float: ...
    @property
    def train_images(self) -> int | None: ...
    @property
    def threads(self) -> int: ...


def described(plan: Any, *also: str) -> dict[str, Any]:
    """What the folder of a plan says of its conditions, and of fields of its own. Of a first seed
    of 0 nothing, so that folders of before there were others are still the same plan's."""
    names = ("data", "fingerprint", "crop", "train_images", "threads", *also)
    seed = {"seed": plan.seed} if plan.seed else {}
    return {**{n: getattr(plan, n) for n in names}, **seed, "recipe": plan.recipe.to_dict()}


def trial_of(
    plan: Conditions,
    name: str,
    spec: Spec,
    recipe: Recipe,
    *,
    stage: str,
    test: bool = False,
    by: Scaling | None = None,
    **attrs: Any,
) -> Trial:
    """A training under the plan's conditions. `by`: where the network stands over the base."""
    if by is not None:
        attrs |= {"depth": by.depth, "width": by.width, "resolution": by.resolution}
    return Trial(
        name=name,
        spec=spec,
        recipe=recipe,
        data=plan.fingerprint,
        preprocessing=Preprocessing(size=spec.resolution, crop=plan.crop),
        train_images=plan.train_images,
        test=test,
        threads=plan.threads,
        attrs={"stage": stage, "seed": recipe.seed, **attrs},
    )


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a training gave. `failed`: why it gave nothing; the numbers are then None."""

    key: str
    name: str
    attrs: Mapping[str, Any]
    trial: Mapping[str, Any]  # Trial.to_dict()
    validation_error: float | None  # a fraction
    validation_loss: float | None
    validation_images: int
    test_predictions: np.ndarray | None = encoded(pack_labels, unpack_labels, default=None)  # noqa: RUF009
    """Class of each test picture, in the split's order."""
    test_error: float | None = None
    macs: int = 0  # of the network, for one picture
    params: int = 0
    activations: int = 0
    images_seen: int = 0
    seconds: float = 0.0  # of training, over all starts
    cpu_seconds: float = 0.0  # of all cores, evaluation and all; of the last start alone
    failed: str | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)  # versions, processor

    @property
    def error(self) -> float:
        """Validation error; a failed training is as bad as can be."""
        return 1.0 if self.validation_error is None else self.validation_error

    def correct(self, truth: np.ndarray) -> np.ndarray:
        """Which test pictures were answered right, (images,); a failed training got none."""
        if self.test_predictions is None:
            return np.zeros(len(truth), bool)
        return self.test_predictions == truth

    def check(self) -> None:
        """ValueError or TypeError where the numbers are none that a training can give."""
        for fraction in (self.validation_error, self.test_error):
            if fraction is not None and not 0 <= fraction <= 1:  # nor is NaN
                raise ValueError(f"an error of {fraction}")
        if self.validation_loss is not None and not isfinite(self.validation_loss):
            raise ValueError(f"a loss of {self.validation_loss}")
        if (self.validation_error is None) != (self.failed is not None):
            raise ValueError("no error and no reason" if self.failed is None else "an error too")

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a checksum: a flipped digit is still a number."""
        return with_checksum(FORMAT.encode(self))

    @staticmethod
    def from_dict(data: Any, where: str = "the result") -> Result:
        """The inverse of `to_dict`; anything else is an error that names `where`."""
        result = FORMAT.decode(verified(data, where, FORMAT.fix), where)
        try:
            result.check()
        except (TypeError, ValueError, OverflowError) as error:
            raise PhiscaleError(f"{where} is impossible ({error}). {FORMAT.fix}") from None
        if result.key != trial_key(result.trial):
            raise PhiscaleError(f"{where} is the result of another training. {FORMAT.fix}")
        return result


FORMAT = Format(Result, "phiscale_result", PhiscaleError, "Delete it: it is run anew.")


def trial_key(described: Mapping[str, Any]) -> str:
    """Of what `Trial.to_dict` gives, in which whatever has its default may be left out."""
    return sha256(canonical(described))[:16]


def unique_results(results: Iterable[Result]) -> list[Result]:
    """Each training once: arms that are one network have theirs in common."""
    return list({result.key: result for result in results}.values())


class Results:
    """The results of a study or search: a file each in the folder `results`, or all of them in
    `results.jsonl` beside it, a line each, as studies are published."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, Result] = {}

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    @property
    def published(self) -> Path:
        """All results in one file."""
        return self.folder.with_name("results.jsonl")

    def read(self, keys: Iterable[str]) -> dict[str, Result]:
        """Those that are there. Files are read once: a result never changes."""
        for key in keys:
            if key not in self._read and self.path(key).exists():
                self._read[key] = self._one(key)
        known = self._all
        return {key: known[key] for key in keys if key in known}

    def all(self) -> dict[str, Result]:
        """Every result there is, in the order of their keys."""
        self.read(sorted(path.stem for path in self.folder.glob("*.json")))
        return dict(sorted(self._all.items()))

    def write(self, result: Result) -> Result:
        """Keeps the first: a second worker that took the trial for lost adds nothing."""
        if result.key not in self._all and not self.path(result.key).exists():
            write_json(self.path(result.key), result.to_dict())
        return self.read([result.key])[result.key]

    def publish(self) -> None:
        """Writes `results.jsonl`: everything that the statistics need, in one file."""
        lines = [json.dumps(result.to_dict(), sort_keys=True) for result in self.all().values()]
        write_atomic(self.published, "".join(f"{line}\n" for line in lines))

    def sweep(self) -> None:
        """Drops what writes that were killed have left; another worker may be writing just now."""
        sweep(self.folder, older_than_s=WRITING_S)

    @property
    def _all(self) -> dict[str, Result]:
        return self.from_published | self._read

    @cached_property
    def from_published(self) -> dict[str, Result]:
        """By key, those that `results.jsonl` holds."""
        if not self.published.exists():
            return {}
        results: list[Result] = []
        for number, line in enumerate(self.published.read_bytes().splitlines(), 1):
            where = f"{self.published}, line {number},"
            try:
                results.append(Result.from_dict(json.loads(line), where))
            except (ValueError, RecursionError):
                raise PhiscaleError(f"{where} is damaged. Delete it: it is run anew.") from None
        return {result.key: result for result in results}

    def _one(self, key: str) -> Result:
        result = Result.from_dict(read_json(self.path(key)), str(self.path(key)))
        if result.key != key:
            raise PhiscaleError(
                f"{self.path(key)} is the result of another training. Delete it: it is run anew."
            )
        return result
