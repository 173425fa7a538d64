"""Writes files whole or not at all, locks folders, reads JSON."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phiscale.errors import DataError, PhiscaleError, UsageError

LOCK = ".lock"  # the file that keeps other processes out of a folder


def write_atomic(path: Path, content: bytes | str, *, overwrite: bool = True) -> None:
    """Writes a file so that a kill at any point leaves the old file or the new one.

    The content goes into a file beside it, which is synced and renamed. Without `overwrite` a file
    that exists stays: of several writers, on any machine, the first one's counts. A link stays one:
    the file it points to is written. A device or a pipe is written into. PhiscaleError: no space,
    no permission, or a folder or socket has this name.
    """
    data = content.encode() if isinstance(content, str) else content
    path = _final_path(path)
    if path.exists() and not path.is_file():
        _write_into(path, data)
        return
    # machines and containers that share a folder may have processes of the same number
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            partial.replace(path)
        else:
            _rename_if_absent(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise PhiscaleError(
            f"cannot write {path}: {error.strerror}. Free some space or write elsewhere."
        ) from None


def _final_path(path: Path) -> Path:
    """Follows links, the last of which may point to a file that is yet to be made."""
    if not path.is_symlink():
        return path
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise PhiscaleError(f"cannot write {path}: its links form a circle. Fix them.") from None


def _write_into(path: Path, data: bytes) -> None:
    """Writes into what is no regular file: to rename onto it would replace the device itself."""
    if path.is_dir() or path.is_socket():
        kind = "folder" if path.is_dir() else "socket"
        raise PhiscaleError(f"cannot write {path}: it is a {kind}. Name a file.")
    try:
        with path.open("wb", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
    except OSError as error:
        raise PhiscaleError(f"cannot write into {path}: {error.strerror}. Name a file.") from None


def _rename_if_absent(partial: Path, path: Path) -> None:
    """Renames a file, or deletes it where `path` exists. In one step, unless the file system has no
    hard links: two writers at the same moment may then both rename theirs."""
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:
        if not path.exists():
            partial.replace(path)
    partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Returns $PHISCALE_CACHE, else the folder `phiscale` in the user's cache folder."""
    if folder := os.environ.get("PHISCALE_CACHE"):
        return Path(folder)
    if user_cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(user_cache, "phiscale")
    try:
        return Path.home() / ".cache" / "phiscale"
    except RuntimeError as error:
        raise DataError("There is no home folder to cache in. Set PHISCALE_CACHE.") from error


def remove_partial_files(folder: Path, older_than_s: float = 0.0) -> None:
    """Deletes the partial files of writes that were killed."""
    for partial in folder.rglob(".*.part"):
        with suppress(FileNotFoundError):  # it was just renamed
            if not older_than_s or time.time() - partial.stat().st_mtime > older_than_s:
                partial.unlink()


def sync_folder(folder: Path) -> None:
    """Syncs a folder, so that renames in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any, *, overwrite: bool = True) -> None:
    """Writes a value as JSON, as `write_atomic` does."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name that is not Unicode, escaped as \\udcff
        text = json.dumps(value, indent=1)
    write_atomic(path, text + "\n", overwrite=overwrite)


def read_json(path: Path, fix: str = "Make it again or delete it.") -> Any:
    """Reads a JSON file.

    PhiscaleError: it cannot be read, or it is not JSON. `fix` is the last sentence of that error.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PhiscaleError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise PhiscaleError(f"{path} is not JSON: {error}. {fix}") from None


def sha256(content: bytes | str) -> str:
    """Returns the hexadecimal SHA-256 of bytes, or of a text in UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def check_out_folder(out: Path, marker: str, own: Collection[str] = (LOCK,)) -> None:
    """Refuses a file, and a folder that somebody else has filled, before anything is written.

    A folder with the file `marker` is one of ours; so is one that holds only files named in `own`
    and partial files of writes that were killed. UsageError: it is neither.
    """
    check_no_file(out)
    if not out.is_dir() or (out / marker).exists():
        return
    if any(path.name not in own and path.suffix != ".part" for path in out.iterdir()):
        raise UsageError(f"out={str(out)!r} holds other files. Use a new folder.")


def check_no_file(out: Path) -> None:
    """Raises UsageError where a folder is to be written but a file has its name."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"out={str(out)!r} is a file. Use a folder, new or of an earlier start.")


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder. PhiscaleError: another process is in it.

    The system drops the lock of a process that dies, however it dies.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise PhiscaleError(
            f"cannot write in {folder}: {error.strerror}. Choose another `out`."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise PhiscaleError(
                f"{folder} is in use by process {file.read().strip() or '?'}. "
                "Wait for it, or choose another `out`."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        yield
