"""Audits an image set: reads every image once, and returns the results as a plain value.

Lists unreadable files, counts classes, sizes and modes, and finds images with identical pixels.
Near-duplicates (resized, re-encoded) are not searched for.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

from phiscale.data.audit_advice import Facts, advise
from phiscale.data.audit_values import ValueFacts, range_of, value_facts
from phiscale.data.datasets.dataset import BadFile, ImageSet, Split
from phiscale.data.datasets.open import open_dataset
from phiscale.data.reading.pixels import DecodeOptions
from phiscale.errors import BadImage, DataError
from phiscale.files import Format, added_field
from phiscale.files.values import PathOrName
from phiscale.text import count_of, printable

_CHUNK = 64  # images handed to a thread at once
_AHEAD = 8  # chunks per thread in flight
_ANY_RANGE = DecodeOptions(
    value_range=(0, 1)
)  # of deep images only the stored values are looked at


@dataclass(frozen=True)
class Summary:
    """Minimum, median and maximum of a measure over all readable images."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class ImageRef:
    """Split, key and class of an image."""

    split: str
    key: str
    class_name: str


@dataclass(frozen=True)
class Audit:
    """Results of an audit."""

    source: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """What was decided when the set was opened."""
    bad: tuple[BadFile, ...]
    counts: dict[str, tuple[int, ...]]
    """Split -> readable images of each class."""
    shorter_side: Summary | None
    """Pixels; None if no image can be read."""
    aspect: Summary | None
    """Longer over shorter side."""
    modes: dict[str, int]
    """"JPEG RGB" -> images stored so."""
    duplicates: tuple[tuple[ImageRef, ...], ...]
    """Groups of images with identical pixels, as decoded."""
    imbalance: float
    """Images of the largest class over those of the smallest, in train."""
    advice: tuple[str, ...]
    value_range: tuple[float, float] | None = added_field(None)
    """Smallest and largest value of the training images' grey files of more than eight bits."""

    @property
    def total(self) -> int:
        """Readable and bad images."""
        return sum(map(sum, self.counts.values())) + len(self.bad)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return FORMAT.encode(self)

    def summary(self) -> str:
        """Describes the audit in lines for a terminal; no name can break a line."""
        return "\n".join(_summary_lines(self))

    __str__ = summary


FORMAT = Format(
    Audit,
    "phiscale_audit",
    DataError,
    "Delete it: the images are read again.",
    foreign=("fingerprint",),  # of the images, which `fit` compares
)


@dataclass(frozen=True, slots=True)
class _ImageFacts:
    width: int
    height: int
    kind: str
    digest: bytes
    has_more: bool
    values: ValueFacts | None
    """Of a grey image of more than eight bits."""


def audit(
    images: ImageSet | PathOrName,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Reads every image once, in `workers` threads (Pillow decodes outside Python's lock).

    `images`: an ImageSet, or what `open_dataset` takes.

    `progress(done, total)` is called from this thread. A bad image is reported, never raised.
    """
    if not isinstance(images, ImageSet):
        images = open_dataset(os.fspath(images))
    total = sum(len(split) for _, split in images.splits())
    results: dict[str, list[_ImageFacts | str]] = {}
    done = 0
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="audit") as pool:
        for name, split in images.splits():
            results[name] = []
            for chunk in _read_in_order(pool, split, max(1, workers) * _AHEAD):
                results[name] += chunk
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    return _summary(images, results)


def files_to_skip(audit: Audit, on_bad: str) -> tuple[BadFile, ...]:
    """Returns the bad files, which a training leaves out.

    Raises DataError with the list of them where `on_bad` is "stop".
    """
    if on_bad == "stop":
        check_readable(audit, "Fix or remove them, or leave them out: on_bad='skip'")
    return audit.bad


def check_readable(audit: Audit, fix: str = "Fix or remove them.") -> None:
    """Raises DataError with the list of bad files and `fix`, which says what the caller allows."""
    if audit.bad:
        names = "\n".join(f"  {line}" for line in _bad_lines(audit.bad))
        number = count_of(len(audit.bad), "file")
        raise DataError(f"{number} of {audit.total:,} cannot be read:\n{names}\n{fix}")


def _read_in_order(
    pool: ThreadPoolExecutor, split: Split, ahead: int
) -> Iterator[list[_ImageFacts | str]]:
    """Yields the results of chunks in the order of the split, with few in flight."""
    waiting: list[Future[list[_ImageFacts | str]]] = []
    try:
        for start in range(0, len(split), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(split)))
            waiting.append(pool.submit(_read_images, split, rows))
            if len(waiting) >= ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:  # an interrupt does not wait for what has not begun
        for future in waiting:
            future.cancel()


def _read_images(split: Split, rows: range) -> list[_ImageFacts | str]:
    """Returns size, kind and digest of each image, or why it cannot be read."""
    seen: list[_ImageFacts | str] = []
    for i in rows:
        try:
            decoded = split.decode(i, _ANY_RANGE)
        except BadImage as error:
            seen.append(error.reason)
            continue
        width, height = decoded.image.size
        digest = hashlib.blake2b(f"{width} {height} ".encode(), digest_size=16)
        digest.update(decoded.image.tobytes())
        if decoded.stored:  # of which the eight bits may show next to nothing
            digest.update(decoded.stored.values.tobytes())
        kind = f"{decoded.format} {decoded.mode}"
        values = value_facts(decoded.stored) if decoded.stored else None
        seen.append(_ImageFacts(width, height, kind, digest.digest(), decoded.has_more, values))
    return seen


def _summary(images: ImageSet, results: dict[str, list[_ImageFacts | str]]) -> Audit:
    bad: list[BadFile] = []
    good: list[_ImageFacts] = []
    groups: dict[bytes, list[ImageRef]] = {}
    counts: dict[str, tuple[int, ...]] = {}
    multi_page: list[str] = []
    values: dict[str, list[ValueFacts]] = {}
    for name, split in images.splits():
        per_class = [0] * len(images.classes)
        for i, seen in enumerate(results[name]):
            label = int(split.labels[i])
            if isinstance(seen, str):
                bad.append(BadFile(name, split.keys[i], seen))
                continue
            per_class[label] += 1
            good.append(seen)
            if seen.has_more:
                multi_page.append(split.keys[i])
            if seen.values:
                values.setdefault(name, []).append(seen.values)
            place = ImageRef(name, split.keys[i], images.classes[label])
            groups.setdefault(seen.digest, []).append(place)
        counts[name] = tuple(per_class)
    duplicates = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    sides = [min(seen.width, seen.height) for seen in good]
    aspects = [max(s.width, s.height) / min(s.width, s.height) for s in good]
    train = counts["train"]
    facts = Facts(
        classes=images.classes,
        counts=counts,
        shorter_sides=sides,
        aspects=aspects,
        duplicates=[[(p.split, p.key, p.class_name) for p in group] for group in duplicates],
        multi_page=multi_page,
        values=values,
    )
    return Audit(
        source=images.source,
        classes=images.classes,
        notes=images.notes,
        bad=tuple(bad),
        counts=counts,
        shorter_side=_summarise(sides),
        aspect=_summarise(aspects),
        modes=dict(Counter(seen.kind for seen in good).most_common()),
        duplicates=duplicates,
        imbalance=max(train) / max(1, min(train)),
        advice=advise(facts),
        value_range=range_of(values.get("train", ())),
    )


def _summarise(values: Sequence[float]) -> Summary | None:
    return Summary(min(values), median(values), max(values)) if values else None


def _bad_lines(bad: Sequence[BadFile]) -> Iterator[str]:
    for file in bad:
        yield f"{printable(file.key)} ({file.split}): {printable(file.reason)}"


def _summary_lines(result: Audit) -> Iterator[str]:
    images = count_of(result.total, "image")
    yield f"{printable(result.source)}: {images} in {len(result.classes)} classes"
    for note in result.notes:
        yield f"  {note}"
    widest = max(len(printable(name)) for name in (*result.classes, "class"))
    yield f"{'class':<{widest}}" + "".join(f"{name:>12}" for name in result.counts)
    for label, name in enumerate(result.classes):
        numbers = "".join(f"{per_class[label]:>12,}" for per_class in result.counts.values())
        yield f"{printable(name):<{widest}}{numbers}"
    sums = "".join(f"{sum(per_class):>12,}" for per_class in result.counts.values())
    yield f"{'all':<{widest}}{sums}"
    if result.shorter_side and result.aspect:
        side, aspect = result.shorter_side, result.aspect
        yield (
            f"shorter side {side.minimum:g} to {side.maximum:g} px, median {side.median:g}; "
            f"aspect {aspect.minimum:.2f} to {aspect.maximum:.2f}, median {aspect.median:.2f}"
        )
    if result.value_range:
        low, high = result.value_range
        yield f"grey values {low:,.6g} to {high:,.6g} become black to white"
    yield "stored as " + (", ".join(f"{k}: {n:,}" for k, n in result.modes.items()) or "nothing")
    if result.bad:
        yield f"{count_of(len(result.bad), 'file')} cannot be read:"
        yield from (f"  {line}" for line in _bad_lines(result.bad))
    if result.duplicates:
        yield f"{count_of(len(result.duplicates), 'image')} more than once:"
        for group in result.duplicates:
            yield "  " + " = ".join(f"{printable(p.key)} ({p.split})" for p in group)
    for sentence in result.advice:
        yield f"- {sentence}"
