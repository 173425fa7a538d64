"""The folder of a study or a search: `plan.json` holds its plan and the facts of its images.

The statistics of a study can be repeated from its folder alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phiscale.data.audit import audit, check_readable
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import (
    LOCK,
    canonical,
    check_out_folder,
    differences,
    read_checked,
    sha256,
    write_checked,
)
from phiscale.search.engine.result import (
    Result,
    Results,
    pack_labels,
    unpack_labels,
)
from phiscale.text import printable

PLAN = "plan.json"
PLAN_FIX = "Delete it: results are kept, and the same command writes it again."
MAX_NAMED = 3  # settings that differ, in a message
OURS = {"results", "results.jsonl", "trainings", "study.db", "study.db-journal", LOCK}


@dataclass(frozen=True, eq=False)
class DatasetInfo:
    """Facts of an image set that a plan needs."""

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    native_pixels: int  # median of the images' shorter sides
    train: int  # number of images
    validation: int
    test_labels: NDArray[np.int64]
    value_range: tuple[float, float] | None = None  # of grey images of more than eight bits

    def limit(self, count: int | None) -> int | None:
        """Limits a number of training images; None where that is all of them."""
        return None if count is None or count >= self.train else count

    def to_dict(self) -> dict[str, Any]:
        """Plain data for plan.json; without a range, as before there was one."""
        deep = {"value_range": list(self.value_range)} if self.value_range else {}
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "native_pixels": self.native_pixels,
            "train": self.train,
            "validation": self.validation,
            "test_labels": pack_labels(self.test_labels),
            **deep,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DatasetInfo:
        labels = unpack_labels(data["test_labels"])
        assert labels is not None
        values = {"classes": tuple(data["classes"]), "test_labels": labels}
        if deep := data.get("value_range"):
            values["value_range"] = tuple(deep)
        return DatasetInfo(**{**data, **values})


def dataset_info(data: str, out: Path) -> DatasetInfo:
    """Reads every image once and returns the facts; cached in the folder. DataError: some images
    cannot be read."""
    images = open_dataset(data)
    if (out / PLAN).exists():
        cached = DatasetInfo.from_dict(_read(out)["dataset"])
        if cached.fingerprint == images.fingerprint():
            return cached
    report = audit(images)
    check_readable(report)
    assert report.shorter_side is not None
    return DatasetInfo(
        source=images.source,
        fingerprint=images.fingerprint(),
        classes=images.classes,
        native_pixels=int(report.shorter_side.median),
        train=len(images.train),
        validation=len(images.validation),
        test_labels=np.asarray(images.test.labels),
        value_range=report.value_range,
    )


def begin_or_resume(
    out: Path, kind: str, dataset: DatasetInfo, plan: Mapping[str, Any]
) -> dict[str, str]:
    """Begins a plan in the folder, or resumes it; returns what identifies the plan in a database.

    More seeds than before are the same plan; the interim look at fewer seeds is recorded.
    UsageError: the folder belongs to another plan; the message says what differs.
    """
    check_out_folder(out, PLAN, OURS)
    plan_id = {"kind": kind, "plan": _hash(dataset.fingerprint, plan)}
    payload = {
        "phiscale": kind,
        "dataset": dataset.to_dict(),
        "plan": json.loads(json.dumps(plan)),
    }
    if (out / PLAN).exists():
        _resume(out, payload)
    else:
        write_checked(out / PLAN, payload)
    return plan_id


def _resume(out: Path, payload: Mapping[str, Any]) -> None:
    """Compares a plan with the recorded one. More seeds are recorded; another plan is refused."""
    recorded = _read(out)
    if recorded["phiscale"] != payload["phiscale"]:
        raise UsageError(f"out={str(out)!r} belongs to a {recorded['phiscale']}. Use a new folder.")
    changes = [
        each
        for part in ("dataset", "plan")
        for each in differences(_without(recorded[part]), _without(payload[part]))
    ]
    if not changes:
        return
    if [each.name for each in changes] == ["seeds"] and changes[0].after > changes[0].before:
        # the results were reported before more seeds followed: an interim look
        looks = [*recorded.get("looks", ()), changes[0].before]
        write_checked(out / PLAN, {**payload, "looks": looks})
        return
    lines = sorted(map(str, changes), key=len)
    listed = "; ".join(line[:100] for line in lines[:MAX_NAMED])
    if len(changes) > MAX_NAMED:
        listed += f"; and {len(changes) - MAX_NAMED} more"
    raise UsageError(
        f"out={str(out)!r} was begun with other settings: {printable(listed)}. "
        "Use those, or a new `out`."
    )


def recorded_device_type(out: Path) -> str | None:
    """Returns the type of device that trainings of the folder, or of a set's folder in it, ran on;
    None where there are none. Foreign files are ignored."""
    for plan in (out / PLAN, *sorted(out.glob(f"*/{PLAN}"))):
        for result in readable_results(plan.parent) if plan.exists() else ():
            if device := result.made_by.get("device"):
                return str(device)
    return None


def readable_results(out: Path) -> Iterator[Result]:
    """Yields the results in a folder that can be read; foreign files are ignored."""
    results = Results(out / "results")
    with suppress(PhiscaleError):
        yield from results.from_jsonl.values()
    for path in sorted(results.folder.glob("*.json")):
        with suppress(PhiscaleError):
            yield from results.read([path.stem]).values()


def read_interim_looks(out: Path) -> tuple[int, ...]:
    """Returns the numbers of seeds with which results were reported before more seeds followed."""
    return tuple(seeds for seeds in _read(out).get("looks", ()) if seeds)


def _read(out: Path) -> dict[str, Any]:
    """Reads the plan. PhiscaleError: it is not what `begin_or_resume` writes."""
    payload = read_checked(out / PLAN, PLAN_FIX)
    parts = {"phiscale", "dataset", "plan"}
    fields = set(DatasetInfo.__dataclass_fields__)
    if not (
        parts <= payload.keys()
        and fields - {"value_range"} <= payload["dataset"].keys() <= fields  # it may be left out
    ):
        raise PhiscaleError(f"{out / PLAN} was not written by a study or search. {PLAN_FIX}")
    return payload


def _without(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out the place of the images: which images they are matters, not where they are."""
    return {name: value for name, value in values.items() if name not in ("data", "source")}


def _hash(fingerprint: str, plan: Mapping[str, Any]) -> str:
    fixed = {name: value for name, value in _without(plan).items() if name != "seeds"}
    return sha256(canonical([fingerprint, fixed]))[:16]
