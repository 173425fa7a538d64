"""Reads tables of trained networks from CSV files.

A CSV file has a header, a row for each network, and comments that begin with #:

    # source: my runs on photos
    model, top1, runs
    small, 81.2%, 3

error or top1   fractions if all are at most 1, per cent if all are above 1 or have a % sign;
                a mixture is refused
model           a member's name, a spec.json or file.py:NAME: its axes are counted exactly
name, runs      the row's name; the number of equal trainings that it is the mean of
images_seen     in training
other columns   numbers above 0 that may be axes: depth, width and resolution are multipliers
                over the base's; all others are amounts such as macs, params, latency_ms
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from phiscale.arch.families import resolve_spec
from phiscale.arch.spec import Spec
from phiscale.errors import DataError, SpecError
from phiscale.planning.laws.sheet import Sheet, TrainedNetwork

NOT_AXES = ("name", "model", "error", "top1", "runs")  # columns of any table
# columns of our `runs.csv` that are no axes either
RUN_COLUMNS = (
    "validation_error",
    "test_error",
    "method",
    "arm",
    "seed",
    "rate",
    "drop_path",
    "units",
    "cpu_seconds",
    "failed",
    "key",
)


def read_sheet(path: Path) -> Sheet:
    """Reads a CSV file. DataError: a row is wrong; it names the file and the row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}). Use a CSV file.") from None
    return parse_sheet(text, str(path))


def parse_sheet(text: str, where: str) -> Sheet:
    """Reads the text of a CSV file. DataError: a row is wrong; it names `where`."""
    lines = text.splitlines()
    comments = dict(
        (match[1], match[2].strip())
        for line in lines
        if (match := re.match(r"#\s*(source|axes|run_sd):(.*)", line))
    )
    table = csv.reader(
        (line for line in lines if line.strip() and line.lstrip()[:1] != "#"), skipinitialspace=True
    )
    header, *rows = [[cell.strip() for cell in row] for row in table] or [[]]
    if len(header) < 2 or len(set(header)) < len(header) or not all(header):
        raise DataError(
            f"{where} has no header of different names. "
            "Start it with a line such as model,top1 or macs,error."
        )
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(
                f"row {number} of {where} has {len(row)} cells, the header {len(header)}. "
                "Write as many cells in every row as in the header."
            )
    if not rows:
        raise DataError(f"{where} has a header and no rows. Add one for each trained network.")
    columns = {head: [row[place] for row in rows] for place, head in enumerate(header)}
    trained = tuple(_trained(columns, len(rows), where))
    run_sd = _number("run_sd", where, comments["run_sd"]) if "run_sd" in comments else None
    axes = tuple(re.findall(r"\w+", comments.get("axes", "")))
    return Sheet(source=comments.get("source") or where, rows=trained, axes=axes, run_sd=run_sd)


def _trained(columns: Mapping[str, list[str]], count: int, where: str) -> Iterable[TrainedNetwork]:
    kinds = [kind for kind in ("error", "top1") if kind in columns]
    kinds = kinds or [kind for kind in ("validation_error",) if kind in columns]  # our `runs.csv`
    if len(kinds) != 1:
        both = "both error and top1" if kinds else "no column error or top1"
        raise DataError(f"{where} has {both}. Use one of them.")
    [kind] = kinds
    models = columns.get("model", [""] * count)
    names = columns.get("name", models)
    names = [name or f"row {number}" for number, name in enumerate(names, 1)]
    shares = _fractions(kind, columns[kind], names, where)
    numbers = {
        head: [
            _number(f"{head} of {name}", where, cell)
            for name, cell in zip(names, cells, strict=True)
        ]
        for head, cells in columns.items()
        if head == "runs" or (head not in (*NOT_AXES, *RUN_COLUMNS) and any(map(_is_number, cells)))
    }
    runs = numbers.pop("runs", [1.0] * count)
    for number, name in enumerate(names):
        yield TrainedNetwork(
            name=name,
            error=1 - shares[number] if kind == "top1" else shares[number],
            runs=runs[number],
            spec=_spec(models[number], where) if models[number] else None,
            values={head: cells[number] for head, cells in numbers.items()},
        )


def _fractions(kind: str, cells: Sequence[str], names: Sequence[str], where: str) -> list[float]:
    marked = [cell.endswith("%") for cell in cells]
    values = [
        _number(f"{kind} of {name}", where, cell.removesuffix("%"), above=lambda v: v >= 0)
        for name, cell in zip(names, cells, strict=True)
    ]
    per_cent = [mark or value > 1 for mark, value in zip(marked, values, strict=True)]
    if any(per_cent) and not all(per_cent):
        one, other = cells[per_cent.index(True)], cells[per_cent.index(False)]
        raise DataError(
            f"{where} has {kind} {one} and {other}, a mixture of per cent and fractions. "
            "Write a % sign after every number, or fractions of 1 in all rows."
        )
    shares = [value / 100 if per_cent[0] else value for value in values] if values else []
    for name, share in zip(names, shares, strict=True):
        if share > 1:
            raise DataError(f"{kind} of {name} in {where} is above 100 %. Fix or remove that row.")
    return shares


def _spec(text: str, where: str) -> Spec:
    try:
        return resolve_spec(text)
    except SpecError as error:
        raise DataError(f"model {text} in {where}: {error}") from None


def _number(
    what: str, where: str, cell: str, above: Callable[[float], bool] = lambda value: value > 0
) -> float:
    value = float(cell) if _is_number(cell) else math.nan
    if not (math.isfinite(value) and above(value)):
        raise DataError(f"{what} in {where} is {cell or 'empty'!r}. Use a number above 0.")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
