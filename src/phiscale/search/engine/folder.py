"""The folder of a study or a search: what it was begun as, and the pictures' truth, so that its
statistics can be done again from the folder alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phiscale.data.audit import audit, bad_files_error
from phiscale.data.datasets.open import open_dataset
from phiscale.errors import PhiscaleError, UsageError
from phiscale.files import canonical, read_checked, sha256, write_checked
from phiscale.search.engine.result import (
    Result,
    Results,
    pack_labels,
    unique_results,
    unpack_labels,
)
from phiscale.text import printable
from phiscale.training.recipes.recipe import differences

PLAN = "plan.json"
PLAN_FIX = "Delete it: results are kept, and the same command makes it anew."
MOST_NAMED = 3  # settings that differ


@dataclass(frozen=True, eq=False)
class DatasetInfo:
    """What a plan needs to know of its pictures."""

    source: str
    fingerprint: str
    classes: tuple[str, ...]
    native_pixels: int  # of a typical picture's shorter side
    train: int  # how many
    validation: int
    test_labels: np.ndarray

    def limit(self, count: int | None) -> int | None:
        """So many of the training pictures; None where that is all of them."""
        return None if count is None or count >= self.train else count

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "native_pixels": self.native_pixels,
            "train": self.train,
            "validation": self.validation,
            "test_labels": pack_labels(self.test_labels),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DatasetInfo:
        labels = unpack_labels(data["test_labels"])
        assert labels is not None
        return DatasetInfo(**{**data, "classes": tuple(data["classes"]), "test_labels": labels})


def dataset_info(data: str, out: Path) -> DatasetInfo:
    """The pictures, all of them read once; not again where the folder was begun with them.
    DataError lists those that cannot be read."""
    images = open_dataset(data)
    if (out / PLAN).exists():
        known = DatasetInfo.from_dict(_read(out)["pictures"])
        if known.fingerprint == images.fingerprint():
            return known
    found = audit(images)
    if found.bad:
        raise bad_files_error(found)
    assert found.shorter_side is not None
    return DatasetInfo(
        source=images.source,
        fingerprint=images.fingerprint(),
        classes=images.classes,
        native_pixels=int(found.shorter_side.median),
        train=len(images.train),
        validation=len(images.validation),
        test_labels=np.asarray(images.test.labels),
    )


def pin_folder(
    out: Path, kind: str, dataset: DatasetInfo, plan: Mapping[str, Any]
) -> dict[str, str]:
    """Makes the folder this plan's; returns what a database should say of it, too. More seeds than
    before are the same plan, looked at again. UsageError where it is another's, with what differs.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file. Give a folder, new or of an earlier start.")
    attrs = {"kind": kind, "plan": _hash(dataset.fingerprint, plan)}
    said = {"phiscale": kind, "pictures": dataset.to_dict(), "plan": json.loads(json.dumps(plan))}
    if not (out / PLAN).exists():
        if out.is_dir() and any(p.name not in OURS and p.suffix != ".part" for p in out.iterdir()):
            raise UsageError(f"--out {out} holds other files. Give a new folder.")
        write_checked(out / PLAN, said)
        return attrs
    known = _read(out)
    if known["phiscale"] != kind:
        raise UsageError(f"--out {out} is of a {known['phiscale']}. Give a new folder.")
    changed = [
        line
        for part in ("pictures", "plan")
        for line in differences(_without(known[part]), _without(said[part]))
    ]
    if not changed:
        return attrs
    before, now = known["plan"].get("seeds"), said["plan"].get("seeds")
    if changed == [f"seeds: {before} -> {now}"] and now > before:
        # a look at the data, after which one went on: whoever reads the verdict should know
        looks = [*known.get("looks", ()), before]
        write_checked(out / PLAN, {**said, "looks": looks})
        return attrs
    words = "; ".join(each[:100] for each in sorted(changed, key=len)[:MOST_NAMED])
    if len(changed) > MOST_NAMED:
        words += f"; and {len(changed) - MOST_NAMED} more"
    raise UsageError(
        f"{out} was begun with other settings: {printable(words)}. Give those, or a new --out."
    )


def recorded_device_type(out: Path) -> str | None:
    """The type of device that trainings of the folder, or of a set's folder in it, were made on;
    None where there are none. What is not ours is passed over."""
    for plan in (out / PLAN, *sorted(out.glob(f"*/{PLAN}"))):
        for result in readable_results(plan.parent) if plan.exists() else ():
            if device := result.made_by.get("device"):
                return str(device)
    return None


def readable_results(out: Path) -> Iterator[Result]:
    """The results in a folder that can be read; what is not ours is passed over."""
    results = Results(out / "results")
    with suppress(PhiscaleError):
        yield from results.from_published.values()
    for path in sorted(results.folder.glob("*.json")):
        with suppress(PhiscaleError):
            yield from results.read([path.stem]).values()


def read_looks(out: Path) -> tuple[int, ...]:
    """With how many seeds this was looked at before it went on with more: none is no look."""
    return tuple(seeds for seeds in _read(out).get("looks", ()) if seeds)


def look_notes(looks: Sequence[int]) -> list[str]:
    """What a report says of earlier looks."""
    if not looks:
        return []
    return [
        f"Read before with {', '.join(map(str, looks))} seeds, and gone on with: every look adds "
        "its own chance of a false verdict, which the interval does not count."
    ]


def machine_notes(results: Iterable[Result]) -> list[str]:
    """What a report says of trainings that were not all made on one kind of machine."""
    kinds = Counter(", ".join(map(str, each.made_by.values())) for each in unique_results(results))
    if len(kinds) < 2:
        return []
    listed = "; ".join(f"{count} on {kind}" for kind, count in kinds.most_common())
    return [
        f"Made on several kinds of machine ({listed}). Sums come out in another order there, so a "
        "seed made anew on another kind is another draw, not the same training."
    ]


OURS = {"results", "results.jsonl", "trainings", "study.db", "study.db-journal", ".lock"}


def _read(out: Path) -> dict[str, Any]:
    """PhiscaleError where it is not what `pin` writes."""
    said = read_checked(out / PLAN, PLAN_FIX)
    parts = {"phiscale", "pictures", "plan"}
    fields = set(DatasetInfo.__dataclass_fields__)
    if not (parts <= said.keys() and said["pictures"].keys() == fields):
        raise PhiscaleError(f"{out / PLAN} is not what a study writes. {PLAN_FIX}")
    return said


def _without(values: Mapping[str, Any]) -> dict[str, Any]:
    """Where the pictures are does not matter, which they are does."""
    return {name: value for name, value in values.items() if name not in ("data", "source")}


def _hash(fingerprint: str, plan: Mapping[str, Any]) -> str:
    fixed = {name: value for name, value in _without(plan).items() if name != "seeds"}
    return sha256(canonical([fingerprint, fixed]))[:16]
