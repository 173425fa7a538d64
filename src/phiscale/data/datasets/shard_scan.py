"""Scans tar shards: the headers of all members, and the texts of labels."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phiscale.data.datasets.split_names import is_junk
from phiscale.data.reading.decode import open_at_once
from phiscale.errors import DataError
from phiscale.text import printable

MAX_LABEL_BYTES = 1 << 20
LABELS = (".cls", ".json")  # suffixes of members that hold a label


def scan_shard(path: Path, shard: str) -> list[Any]:
    """Reads the headers of a tar, which `shard` names in errors.

    Returns how many members are links or devices, then [name, offset, size, text of a label] of
    each regular one. DataError: it is no whole, uncompressed tar, or it cannot be read.
    """
    places: dict[str, tuple[int, int]] = {}
    odd = 0
    members: list[Any] = []
    with open_at_once(path) as file:
        for info in _headers(path, shard):
            name = info.name.removeprefix("./")
            if info.isdir() or any(is_junk(part) for part in name.split("/")):
                continue
            if info.islnk() and info.linkname.removeprefix("./") in places:
                offset, size = places[info.linkname.removeprefix("./")]
            elif info.isreg() and not info.issparse():
                offset, size = info.offset_data, info.size
            else:
                odd += 1
                continue
            places[name] = offset, size
            text = None
            if name.endswith(LABELS) and size <= MAX_LABEL_BYTES:
                file.seek(offset)
                text = file.read(size).decode("latin-1")
            members.append([name, offset, size, text])
    return [odd, *members]


def _headers(path: Path, shard: str) -> Iterator[tarfile.TarInfo]:
    try:
        with open_at_once(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore  # tarfile would keep every header
                yield info
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"Shard '{printable(shard)}' is no whole, uncompressed tar ({error}). "
            "Unpack it if it is compressed; fetch it again if it was cut short."
        ) from error
    except OSError as error:
        raise DataError(
            f"Shard '{printable(shard)}' cannot be read: {error.strerror}. Check its permissions."
        ) from error
