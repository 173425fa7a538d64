"""Image sets whose labels stand in a CSV table: a row for each image, with its file and its class.

Many competitions publish their data so: `train.csv` beside a flat folder of images.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from phiscale.data.datasets.dataset import FileSplit, ImageSet
from phiscale.data.datasets.evaluated import keep_splits
from phiscale.data.datasets.folder_tree import list_folder
from phiscale.data.datasets.held_out import assemble
from phiscale.data.datasets.split_names import (
    check_classes,
    check_known,
    likely_role,
    match_unicode,
    role_of,
    unicode_note,
)
from phiscale.data.reading.formats import IMAGE_SUFFIXES
from phiscale.errors import DataError
from phiscale.text import count_of, join_names, printable

TABLE_SUFFIXES = (".csv", ".tsv")

FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "path", "image", "image_id", "image_name"),
    *("image_path", "img", "id", "name"),
)
LABEL_COLUMNS = ("label", "class", "category", "label_name", "class_name", "target", "species")
"""Names of columns in small letters, the preferred one first."""

_SAMPLE = 100  # rows that decide which folder the files are in


def tables_of(root: Path) -> dict[str, Path]:
    """Returns split -> table of a folder whose images have no class folders; else nothing.

    Class folders win: a table beside them is not read.
    """
    folders, files = list_folder(root)
    if any(list_folder(root / name)[0] for name in folders):
        return {}
    if len(folders) > 1 and not all(likely_role(name) for name in folders):
        return {}
    places = [root, *(root / name for name in folders if role_of(name) == "train")]
    found = [
        place / name
        for place in places
        for name in (files if place == root else list_folder(place)[1])
        if name.lower().endswith(TABLE_SUFFIXES)
    ]
    if len(found) == 1 and likely_role(found[0].stem) is None:
        return {"train": found[0]}
    tables: dict[str, Path] = {}
    for path in found:
        if role := likely_role(path.stem) or ("train" if "label" in path.stem.lower() else None):
            tables.setdefault(role, path)
    return tables


def open_tables(
    tables: Mapping[str, Path], root: Path, source: str, evaluated: str | None = None
) -> ImageSet:
    """Opens the image set of these tables, by split. DataError: rows that cannot be used.

    `root`: the folder that holds tables and images. `evaluated`: see `open.open_dataset`.
    """
    if "train" not in tables and evaluated is None:
        raise DataError(
            f"{source} has {join_names(path.name for path in tables.values())} but no table of "
            "train. Add train.csv, with a file and a label in each row."
        )
    notes: list[str] = []
    rows: dict[str, list[_Row]] = {}
    for split, path in tables.items():
        table = _read(path, source)
        if table.label_column is None and split != "train" and "train" in tables:
            notes.append(f"'{printable(path.name)}' has no column of labels: not read")
            continue
        rows[split] = _labelled(table, root, notes)
    order = "train" if "train" in rows else next(iter(rows))
    classes = _classes({row.label for row in rows[order]})
    check_classes(classes, f"{source} ({tables[order].name})")
    splits = {}
    for split, labelled in rows.items():
        if matched := match_unicode({row.label for row in labelled}, classes):
            notes.append(unicode_note(tables[split].name, matched))
            labelled = [replace(row, label=matched.get(row.label, row.label)) for row in labelled]
        check_known((row.label for row in labelled), classes, tables[split].name, source)
        splits[split] = _split(labelled, classes, root)
    combine = assemble if "train" in splits and evaluated != "all" else keep_splits
    return combine(
        source,
        classes,
        splits.get("train"),  # type: ignore[arg-type]  # assemble is called only where it is there
        splits.get("validation"),
        splits.get("test"),
        notes,
    )


@dataclass(frozen=True)
class _Row:
    key: str
    """Path of the file below the root, with slashes."""
    label: str
    size: int


@dataclass(frozen=True)
class _Table:
    path: Path
    rows: list[tuple[int, list[str]]]
    """Number of each row in the file, from 1, and its cells."""
    names: list[str]
    """Names of the columns; empty where there is no header."""
    file_column: int
    label_column: int | None


def _read(path: Path, source: str) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max("\t;,", key=first.count)
        cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(cells, 1)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{source}: table '{printable(path.name)}' cannot be read ({error}). Use CSV in UTF-8."
        ) from error
    rows = [(number, row) for number, row in rows if any(row)]
    if not rows:
        raise DataError(f"{source}: table '{printable(path.name)}' is empty. Add rows file,label.")
    head = [name.lower() for name in rows[0][1]]
    file_column, label_column = _first(FILE_COLUMNS, head), _first(LABEL_COLUMNS, head)
    if file_column is not None:
        if label_column is None and len(head) == 2 and role_of(path.stem) != "test":
            label_column = 1 - file_column
        table = _Table(path, rows[1:], rows[0][1], file_column, label_column)
    elif label_column is None and len(head) == 2 and PurePath(head[0]).suffix in IMAGE_SUFFIXES:
        return _Table(path, rows, [], 0, 1)
    else:
        table = None
    if table is None or (table.label_column is None and role_of(path.stem) != "test"):
        raise DataError(
            f"{source}: table '{printable(path.name)}' has columns {join_names(rows[0][1])}. "
            "Name one of them 'file' and one 'label', or give each class a folder."
        )
    if not table.rows:
        raise DataError(f"{source}: table '{printable(path.name)}' has a header but no rows.")
    return table


def _first(names: Sequence[str], head: Sequence[str]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _labelled(table: _Table, root: Path, notes: list[str]) -> list[_Row]:
    """The rows with their files. DataError names the rows that have none, or no label."""
    if table.label_column is None:
        raise DataError(f"table '{printable(table.path.name)}' has no column of labels. Add one.")
    at, to = table.file_column, table.label_column
    table_name = printable(table.path.name)
    for number, row in table.rows:
        if len(row) <= max(at, to) or not row[at] or not row[to]:
            raise DataError(f"{table_name}, row {number}: a file or a label is missing. Add it.")
    place = _place([row[at] for _, row in table.rows], table.path, root)
    labelled: dict[str, _Row] = {}
    missing: list[tuple[int, str]] = []
    for number, row in table.rows:
        file = _file(place, row[at])
        if file is None:
            missing.append((number, row[at]))
            continue
        key = file.relative_to(root).as_posix()
        same = labelled.setdefault(key, _Row(key, row[to], file.stat().st_size))
        if same.label != row[to]:
            raise DataError(
                f"{table_name}, row {number}: '{printable(row[at])}' is {join_names([row[to]])} "
                f"here and {join_names([same.label])} before. Keep one label for each image."
            )
    if missing:
        number, name = missing[0]
        raise DataError(
            f"{table_name}, row {number}: '{printable(name)}' does not exist in "
            f"'{printable(str(place))}' ({count_of(len(missing), 'such row')} of "
            f"{len(table.rows):,}). Add the file or remove the row."
        )
    columns = [f"'{printable(table.names[column])}'" for column in (at, to) if table.names]
    how = f", columns {' and '.join(columns)}" if columns else ", without a header"
    notes.append(f"labels from '{table_name}'{how}")
    if unused := [name for i, name in enumerate(table.names) if i not in (at, to)]:
        notes.append(f"columns of '{table_name}' not read: {join_names(unused)}")
    return list(labelled.values())


def _place(names: Sequence[str], table: Path, root: Path) -> Path:
    """The folder that has most of the files: that of the table, or one beside it."""
    sample = names[:_SAMPLE]
    beside = {folder: None for base in (table.parent, root) for folder in (base, *_inside(base))}
    return max(beside, key=lambda folder: sum(_file(folder, name) is not None for name in sample))


def _inside(folder: Path) -> list[Path]:
    return [folder / name for name in list_folder(folder)[0]]


def _file(folder: Path, name: str) -> Path | None:
    """The file of a row; an id stands for the file of this name with the suffix of an image."""
    path = PurePath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return None
    whole = folder / path
    if whole.is_file():
        return whole
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    suffixes = (".jpg", ".png", ".jpeg", *sorted(IMAGE_SUFFIXES))
    files = (whole.with_name(whole.name + suffix) for suffix in suffixes)
    return next((file for file in files if file.is_file()), None)


def _classes(labels: set[str]) -> list[str]:
    """Class names in order; whole numbers sort as numbers."""
    if all(label.isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def _split(rows: Sequence[_Row], classes: Sequence[str], root: Path) -> FileSplit:
    label_of = {name: label for label, name in enumerate(classes)}
    rows = sorted(rows, key=lambda row: row.key)
    return FileSplit(
        keys=tuple(row.key for row in rows),
        labels=np.array([label_of[row.label] for row in rows], dtype=np.int64),
        sizes=np.array([row.size for row in rows], dtype=np.int64),
        root=str(root),
    )
