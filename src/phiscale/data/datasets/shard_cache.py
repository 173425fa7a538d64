"""Shards on this disk or at a URL, and the cache for remote ones and for indexes.

A URL is any that fsspec opens (`s3://`, `gs://`, `https://`, ...). A remote shard is downloaded
whole when one of its images is first needed. The cache has a maximum size. A shard's index is
computed once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from phiscale.errors import DataError, PhiscaleError
from phiscale.files import cache_folder, sha256, write_atomic

CACHE_BYTES = 64 * 2**30  # of downloaded shards; PHISCALE_SHARD_CACHE_BYTES replaces it
INDEX_VERSION = 1
PAUSES_S = (1.0, 5.0)  # before a fetch that failed is tried again


@dataclass(frozen=True)
class Shard:
    """A tar of images."""

    where: str  # path or URL

    @property
    def remote(self) -> bool:
        return "://" in self.where

    @cached_property
    def _path(self) -> PurePosixPath | Path:
        return PurePosixPath(self.where.partition("://")[2]) if self.remote else Path(self.where)

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def folder(self) -> str:
        """The name of the folder that it is in."""
        return self._path.parent.name

    @cached_property
    def state(self) -> str:
        """Returns a text that changes with the content. Raises DataError for a missing shard."""
        if not self.remote:
            try:
                status = Path(self.where).stat()
            except OSError as error:
                raise DataError(f"Shard {self.where} cannot be read: {error.strerror}.") from None
            return f"{status.st_size} {status.st_mtime_ns}"
        info = _query(self.where, lambda system, path: system.info(path))
        version = next(
            (info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "created") if info.get(key)),
            "",
        )
        return f"{info['size']} {version}"

    def local(self) -> Path:
        """Returns a local file with the content; downloads a remote shard unless it is cached."""
        if not self.remote:
            return Path(self.where)
        copy = _cache() / f"{sha256(f'{self.where} {self.state}')[:24]}.tar"
        try:
            os.utime(copy)  # used last
            return copy
        except FileNotFoundError:
            pass
        with _locked(copy):
            if not copy.exists():
                size = self.state.partition(" ")[0]
                _fetch(self.where, copy, int(size) if size.isdecimal() else None)
                _make_room(copy)
        return copy


@lru_cache(maxsize=100_000)
def shard_at(where: str) -> Shard:
    """Returns the same Shard for the same place, so that a URL is queried once only."""
    return Shard(where)


def index_of(shard: Shard, make_index: Callable[[Path], list[Any]]) -> list[Any]:
    """Returns the index of a shard, a JSON value: from the cache, or computed from the file."""
    where = shard.where if shard.remote else Path(shard.where).resolve()
    key = sha256(f"{INDEX_VERSION} {where} {shard.state}")[:24]
    cached = _cache() / f"{key}.index.json"
    try:
        return json.loads(cached.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    index = make_index(shard.local())
    with contextlib.suppress(PhiscaleError):  # read-only home: computed again next time
        write_atomic(cached, json.dumps(index))
    return index


def expand_url(pattern: str, braces: Callable[[str], Sequence[str]]) -> list[Shard]:
    """Returns the shards that a URL with {000..099}, {a,b} or wildcards means."""
    shards: list[Shard] = []
    for name in braces(pattern):
        if any(c in name for c in "*?["):
            scheme = name.partition("://")[0]
            paths = _query(name, lambda system, path: sorted(system.glob(path)))
            shards += [Shard(f"{scheme}://{path.lstrip('/')}") for path in paths]
        else:
            shards.append(Shard(name))
    if not shards:
        raise DataError(f"No shard matches '{pattern}'. Fix the pattern.")
    return shards


def _query(where: str, question: Callable[[Any, str], Any]) -> Any:
    """Calls `question` with the file system of a URL and the path in it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(where)
        return question(system, path)
    except FileNotFoundError:
        raise DataError(f"{where} is not there. Fix the URL.") from None
    except ImportError as error:
        raise DataError(f"{where} cannot be opened: {error}") from None
    except Exception as error:  # every file system raises its own
        raise DataError(f"{where} cannot be read: {error}. Check the network and rights.") from None


def _fetch(where: str, copy: Path, size: int | None) -> None:
    """Downloads a shard, whole or not at all; retries after network errors."""
    beside = copy.with_name(f".{copy.name}.{os.getpid()}.part")
    copy.parent.mkdir(parents=True, exist_ok=True)
    for old in copy.parent.glob(f".{copy.name}.*.part"):  # of one that was killed: we hold the lock
        old.unlink(missing_ok=True)
    for pause_s in (*PAUSES_S, None):
        try:
            _query(where, lambda system, path: system.get_file(path, str(beside)))
            if size is not None and beside.stat().st_size != size:
                raise DataError(
                    f"{where} came with {beside.stat().st_size} of {size} bytes. Try again."
                )
            beside.replace(copy)
            return
        except DataError:
            if pause_s is None:
                raise
            time.sleep(pause_s)
        finally:
            beside.unlink(missing_ok=True)


def _make_room(keep: Path) -> None:
    """Deletes the least recently used copies until the rest fits, but never `keep`."""
    most = int(os.environ.get("PHISCALE_SHARD_CACHE_BYTES", CACHE_BYTES))
    copies: list[tuple[float, int, Path]] = []
    for path in keep.parent.glob("*.tar"):
        with contextlib.suppress(FileNotFoundError):  # another process made room
            status = path.stat()
            copies.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in copies)
    for _, size, path in sorted(copies):
        if total > most and path != keep:
            total -= size
            path.unlink(missing_ok=True)


def _cache() -> Path:
    return cache_folder() / "shards"


@contextmanager
def _locked(copy: Path) -> Iterator[None]:
    """Locks a shard, so that one process or thread at a time downloads it."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.with_suffix(".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.05)
        yield
