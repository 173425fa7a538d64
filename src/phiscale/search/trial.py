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

from phiscale.costs import cost
from phiscale.data.preprocessing import Preprocessing
from phiscale.errors import PhiscaleError
from phiscale.files import read_json, sha256, sweep, write_json
from phiscale.scaling import Scaling
from phiscale.spec import Spec
from phiscale.train.recipe import Recipe

RESULT_VERSION = 1
WRITING_S = 600.0  # longer than any write of a result takes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained how on what. `name` and `about` are for the reader: they decide nothing."""

    name: str
    spec: Spec
    recipe: Recipe
    preprocessing: Preprocessing
    data: str  # the image set's fingerprint
    train_images: int | None = None  # so many of them, evenly over the classes; None: all
    test: bool = False  # whether the test pictures are looked at, too
    threads: int = 1  # of torch: other sums in another order
    about: Mapping[str, Any] = field(default_factory=dict)  # arm, seed, stage: numbers and words

    def to_dict(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "spec": self.spec.to_dict(), "recipe": self.recipe.to_dict(),
            "preprocessing": self.preprocessing.to_dict(), "data": self.data,
            "train_images": self.train_images, "test": self.test, "threads": self.threads,
        }  # fmt: skip

    @cached_property
    def key(self) -> str:
        return sha256(json.dumps(self.to_dict(), sort_keys=True))[:16]

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
    plan: Conditions, name: str, spec: Spec, recipe: Recipe, *, stage: str, test: bool = False,
    by: Scaling | None = None, **about: Any,
) -> Trial:  # fmt: skip
    """A training under the plan's conditions. `by`: where the network stands over the base."""
    if by is not None:
        about |= {"depth": by.depth, "width": by.width, "resolution": by.resolution}
    return Trial(
        name=name, spec=spec, recipe=recipe, data=plan.fingerprint,
        preprocessing=Preprocessing(size=spec.resolution, crop=plan.crop),
        train_images=plan.train_images, test=test, threads=plan.threads,
        about={"stage": stage, "seed": recipe.seed, **about},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a training gave. `failed`: why it gave nothing; the numbers are then None."""

    key: str
    name: str
    about: Mapping[str, Any]
    trial: Mapping[str, Any]  # Trial.to_dict()
    validation_error: float | None  # a fraction
    validation_loss: float | None
    validation_images: int
    test_predictions: np.ndarray | None = None  # class of each test picture, in the split's order
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
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["test_predictions"] = packed(self.test_predictions)
        values = {"phiscale_result": RESULT_VERSION, **values}
        return {**values, "sum": _sum(values)}

    @staticmethod
    def from_dict(data: Any, where: str = "the result") -> Result:
        """The inverse of `to_dict`; anything else is an error that names `where`."""
        values = dict(data) if isinstance(data, Mapping) else {}
        said = values.pop("sum", None)  # results of before there were sums have none
        whole = said is None or said == _sum(values)
        if values.pop("phiscale_result", None) != RESULT_VERSION:
            raise PhiscaleError(f"{where} is no result of this version. Delete it: it is run anew.")
        try:
            values["test_predictions"] = unpacked(values["test_predictions"])
            found = Result(**values)
            found.check()
            if not whole:
                raise ValueError("not what was written")
        except (KeyError, TypeError, ValueError, zlib.error):
            raise PhiscaleError(f"{where} is damaged. Delete it: it is run anew.") from None
        return found


def once(results: Iterable[Result]) -> list[Result]:
    """Each training once: arms that are one network have theirs in common."""
    return list({result.key: result for result in results}.values())


class Results:
    """A folder of results, a file each."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, Result] = {}

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def read(self, keys: Iterable[str]) -> dict[str, Result]:
        """Those that are there. Files are read once: a result never changes."""
        for key in keys:
            if key not in self._known and self.path(key).exists():
                self._known[key] = self._one(key)
        return {key: self._known[key] for key in keys if key in self._known}

    def all(self) -> dict[str, Result]:
        """Every result in the folder, in the order of their keys."""
        return self.read(sorted(path.stem for path in self.folder.glob("*.json")))

    def write(self, result: Result) -> Result:
        """Keeps the first: a second worker that took the trial for lost adds nothing."""
        if not self.path(result.key).exists():
            write_json(self.path(result.key), result.to_dict())
        return self.read([result.key])[result.key]

    def sweep(self) -> None:
        """Drops what writes that were killed have left; another worker may be writing just now."""
        sweep(self.folder, older_than_s=WRITING_S)

    def _one(self, key: str) -> Result:
        found = Result.from_dict(read_json(self.path(key)), str(self.path(key)))
        if found.key != key or sha256(json.dumps(found.trial, sort_keys=True))[:16] != key:
            raise PhiscaleError(
                f"{self.path(key)} is the result of another training. Delete it: it is run anew."
            )
        return found


def _sum(values: Mapping[str, Any]) -> str:
    """Of a result's JSON: a flipped digit is still a number."""
    return sha256(json.dumps(values, sort_keys=True))[:16]


def packed(predictions: np.ndarray | None) -> str | None:
    """Whole numbers as text: 10,000 answers of ten classes are 6 kB."""
    if predictions is None:
        return None
    return base64.b64encode(zlib.compress(predictions.astype("<u2").tobytes(), 9)).decode()


def unpacked(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)
