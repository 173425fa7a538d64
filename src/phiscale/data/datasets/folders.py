"""Image folders: train/ and held-out folders with a folder for each class, or class folders alone.

Every file that is neither hidden nor known junk counts as an image. The audit tells whether it is
one, so that a stray text file is reported and never skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phiscale.data.datasets.dataset import FileSplit, ImageSet
from phiscale.data.datasets.evaluated import keep_splits
from phiscale.data.datasets.folder_tree import FolderTree, folder_identity, list_folder
from phiscale.data.datasets.held_out import assemble
from phiscale.data.datasets.nesting import check_nesting, rename_hint
from phiscale.data.datasets.split_names import (
    check_classes,
    check_known,
    match_unicode,
    role_of,
    unicode_note,
)
from phiscale.errors import DataError
from phiscale.text import count_of, join_names, printable


def open_folder(root: Path, source: str, split: str | None = None) -> ImageSet:
    """Opens the image set in a folder. DataError: a layout that cannot be used.

    `split`: see `open.open_dataset`.
    """
    folders, files = list_folder(root)
    if not folders and not files:
        raise DataError(f"{source} is empty. Put a folder of images per class into it.")
    if not folders:
        raise DataError(
            f"{source} has files but no class folders. "
            "Put the images of each class into a folder that bears the class's name."
        )
    layout = _layout(root, folders, source, needs_train=split is None)
    notes = list(layout.notes)
    if files:
        notes.append(
            f"{count_of(len(files), 'file')} beside the folders not read: {join_names(files)}"
        )

    tree = FolderTree(root)
    tree.visit(layout.class_folders())
    notes += tree.notes()

    if "train" not in layout.splits:
        return _open_held_out(tree, layout, source, notes)
    classes = sorted(layout.splits["train"])
    where = f"{source}/{layout.names['train']}" if layout.names["train"] else source
    notes += _check_train(tree, layout, classes, where, source)
    splits = {}
    for role, class_folders in layout.splits.items():
        filled = {name: folder for name, folder in class_folders.items() if tree.files[folder]}
        if role != "train":
            name = layout.names[role]
            if not filled:
                raise DataError(
                    f"{source}: folder '{printable(name)}' has no images in class folders. "
                    "Fill it as train is, or remove it."
                )
            if matched := match_unicode(filled, classes):
                notes.append(unicode_note(name, matched))
                filled = {matched.get(found, found): folder for found, folder in filled.items()}
            check_known(filled, classes, name, source)
        splits[role] = _split(root, tree, filled, classes)
    combine = keep_splits if split == "all" else assemble
    return combine(
        source, classes, splits["train"], splits.get("validation"), splits.get("test"), notes
    )


def _open_held_out(tree: FolderTree, layout: _Layout, source: str, notes: list[str]) -> ImageSet:
    """Opens held-out folders alone; the classes are those that have images."""
    filled = {
        role: {name: folder for name, folder in folders.items() if tree.has_image(folder)}
        for role, folders in layout.splits.items()
    }
    classes = sorted({name for folders in filled.values() for name in folders})
    if not classes:
        raise DataError(f"{source} has no image in any class folder. Put some there.")
    check_classes(classes, source)
    for role, folders in filled.items():
        notes += check_nesting(_below(tree, folders), f"{source}/{layout.names[role]}")
    splits = {
        role: _split(tree.root, tree, folders, classes)
        for role, folders in filled.items()
        if folders
    }
    return keep_splits(source, classes, **splits, notes=notes)


@dataclass
class _Layout:
    names: dict[str, str] = field(default_factory=dict)
    """Split -> folder; "" where the class folders stand in the root."""
    splits: dict[str, dict[str, str]] = field(default_factory=dict)
    """Split -> class -> folder below the root."""
    notes: list[str] = field(default_factory=list)

    def add(self, root: Path, split: str, name: str) -> None:
        self.names[split] = name
        self.splits[split] = {c: f"{name}/{c}" for c in list_folder(root / name)[0]}

    def class_folders(self) -> list[str]:
        return [folder for classes in self.splits.values() for folder in classes.values()]


def _layout(root: Path, folders: Sequence[str], source: str, *, needs_train: bool) -> _Layout:
    layout = _Layout()
    roles: dict[str, str] = {}
    for name in folders:
        if role := role_of(name):
            if role in roles:
                raise DataError(
                    f"{source} has '{roles[role]}' and '{name}', which both mean {role}. "
                    "Keep one of them, or rename it."
                )
            roles[role] = name
    for role in _unlabelled(root, roles):
        name = printable(roles.pop(role))
        layout.notes.append(f"'{name}' has images but no class folders: unlabelled, not read")
    others = [name for name in folders if role_of(name) is None]
    nested = [name for name in roles.values() if list_folder(root / name)[0]]
    if not roles or (others and not nested):  # a class may well be called "train"
        layout.names["train"] = ""
        layout.splits["train"] = {name: name for name in folders}
        return layout
    if "train" not in roles and nested and not others and not needs_train:
        for role, name in roles.items():
            layout.add(root, role, name)
        return layout
    if "train" not in roles:
        if others:
            fix = rename_hint(others) or "Move the class folders into a folder 'train'"
            raise DataError(
                f"{source} has class folders and split folder {join_names(nested)} side by side. "
                f"{fix}."
            )
        raise DataError(
            f"{source} has {join_names(folders)} but no 'train'. Add a folder 'train' to train; "
            f"`evaluate --split {next(iter(roles))}` measures a held-out split alone."
        )
    for split, name in roles.items():
        layout.add(root, split, name)
    if not layout.splits["train"]:
        raise DataError(
            f"{source}/{roles['train']} has no class folders. "
            "Put the images of each class into a folder that bears the class's name, or add "
            "train.csv with a file and a label in each row."
        )
    if len(roles) == 1 and len(others) == 1:
        inner = set(list_folder(root / others[0])[0])
        if inner and inner <= set(layout.splits["train"]):
            layout.add(root, "test", others.pop())
            layout.notes.append(f"folder '{printable(layout.names['test'])}' is the test")
    elif len(roles) == 2 and "validation" in roles:
        layout.notes.append(f"'{roles['validation']}', the only held-out folder, is the test")
    if others:
        layout.notes.append(f"beside '{roles['train']}' not read: {join_names(others)}")
    _check_apart(root, layout.names.values(), source)
    return layout


def _unlabelled(root: Path, roles: dict[str, str]) -> list[str]:
    """Held-out splits of files alone, beside a train of class folders: nothing can measure them."""
    if "train" not in roles or not list_folder(root / roles["train"])[0]:
        return []
    inside = {role: list_folder(root / name) for role, name in roles.items() if role != "train"}
    return [role for role, (folders, files) in inside.items() if files and not folders]


def _check_apart(root: Path, names: Iterable[str], source: str) -> None:
    seen: dict[tuple[int, int], str] = {}
    for name in names:
        first = seen.setdefault(folder_identity(root / name), name)
        if first != name:
            raise DataError(
                f"{source}: '{name}' and '{first}' are the same folder. "
                "A held-out split needs images of its own."
            )


def _check_train(
    tree: FolderTree, layout: _Layout, classes: Sequence[str], where: str, source: str
) -> list[str]:
    """Returns notes on the classes of train. DataError: they cannot be trained on."""
    folders = layout.splits["train"]
    if len(classes) == 1 and list_folder(tree.root / folders[classes[0]])[0]:
        inner = f"{source}/{folders[classes[0]]}"
        raise DataError(f"{where} has one folder only. Did you mean {printable(inner)}?")
    empty = [name for name in classes if not tree.has_image(folders[name])]
    if len(empty) == len(classes):
        raise DataError(f"{where} has no image in any class folder. Put some there.")
    check_classes(classes, where)
    notes = check_nesting(_below(tree, folders), where)
    if empty:
        noun = "class folder" if len(empty) == 1 else "class folders"
        twice = [name for name in empty if folders[name] in tree.repeated]
        why = f" ({join_names(twice)}: a link to a folder that is read already)" if twice else ""
        raise DataError(
            f"{where}: no image in {noun} {join_names(empty)}{why}. Fill or remove what is empty."
        )
    return notes


def _below(tree: FolderTree, folders: dict[str, str]) -> dict[str, list[str]]:
    """Class -> paths of its files below its folder."""
    return {
        name: [key[len(folder) + 1 :] for key, _ in tree.files[folder]]
        for name, folder in folders.items()
    }


def _split(
    root: Path, tree: FolderTree, folders: dict[str, str], classes: Sequence[str]
) -> FileSplit:
    keys, labels, sizes = [], [], []
    label_of = {name: label for label, name in enumerate(classes)}
    for name in sorted(folders):
        for key, size in sorted(tree.files[folders[name]]):
            keys.append(key)
            labels.append(label_of[name])
            sizes.append(size)
    return FileSplit(
        keys=tuple(keys),
        labels=np.array(labels, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
        root=str(root),
    )
