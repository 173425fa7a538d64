"""Walks the class folders of an image set, across links and without loops."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from phiscale.data.datasets.listing import begins_like_image, named_like_image
from phiscale.data.datasets.split_names import is_junk
from phiscale.errors import DataError
from phiscale.text import count_of, join_names, printable


class FolderTree:
    """The files of class folders.

    Real folders are walked before links, so that a link never takes a folder away from its class.
    No folder is walked twice, so links make no loop.
    """

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[str, list[tuple[str, int]]] = {}
        self.repeated: list[str] = []
        self._base = root.resolve()
        self._seen = {folder_identity(root)}
        self._outside = 0

    def visit(self, class_folders: Sequence[str]) -> None:
        for parent in {(self.root / folder).parent for folder in class_folders}:
            self._seen.add(folder_identity(parent))
            if parent != self.root and parent.is_symlink():
                self._count_outside(parent)
        self.files = {folder: [] for folder in class_folders}
        links = [(name, name) for name in class_folders if (self.root / name).is_symlink()]
        for folder in sorted(set(class_folders) - {name for name, _ in links}):
            self._walk(folder, folder, links)
        while links:
            links.sort(reverse=True)
            folder, key = links.pop()
            self._walk(folder, key, links)

    def _walk(self, folder: str, start: str, links: list[tuple[str, str]]) -> None:
        """Collects the files below `start`, which belongs to class folder `folder`."""
        pending = [start]
        while pending:
            at = pending.pop()
            path = self.root / at
            identity = folder_identity(path)
            if identity in self._seen:
                self.repeated.append(at)
                continue
            self._seen.add(identity)
            if at == start and path.is_symlink():
                self._count_outside(path)
            for entry in _entries(path):
                if is_junk(entry.name):
                    continue
                key = f"{at}/{entry.name}"
                link = entry.is_symlink()
                # a folder called x.jpg was meant as an image: it is listed, and reported as bad
                if _is_folder(entry) and not named_like_image(entry.name):
                    (links.append((folder, key)) if link else pending.append(key))
                    continue
                size = _size(entry)
                if link and size >= 0:
                    self._count_outside(path / entry.name)
                self.files[folder].append((key, size))

    def _count_outside(self, link: Path) -> None:
        # Path.resolve raises for a link to itself
        if not Path(os.path.realpath(link)).is_relative_to(self._base):
            self._outside += 1

    def has_image(self, folder: str) -> bool:
        """Tells whether a folder has an image: by names, and if no name does, by content."""
        keys = [key for key, _ in self.files[folder]]
        return any(named_like_image(key) for key in keys) or any(
            begins_like_image(self.root / key) for key in sorted(keys)
        )

    def notes(self) -> list[str]:
        notes = []
        if self._outside:
            verb = "leads" if self._outside == 1 else "lead"
            notes.append(f"{count_of(self._outside, 'link')} {verb} outside the folder; followed")
        if self.repeated:
            notes.append(f"links to folders that are read already: {join_names(self.repeated)}")
        return notes


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the sorted names of folders and of files, without hidden ones and junk."""
    entries = [entry for entry in _entries(folder) if not is_junk(entry.name)]
    folders = sorted(entry.name for entry in entries if _is_folder(entry))
    return folders, sorted({entry.name for entry in entries} - set(folders))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def folder_identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return status.st_dev, status.st_ino


def _unreadable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"Folder '{printable(str(folder))}' cannot be read: {error.strerror}. "
        "Give yourself the permission, or remove it."
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1
