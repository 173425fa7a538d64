"""Checksums of JSON objects, over a canonical form that does not depend on how they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from phiscale.errors import PhiscaleError
from phiscale.files.atomic import read_json, sha256, write_json
from phiscale.files.decoding import quoted

CHECKSUM = "sha256"  # key of an object's checksum, which covers all its other keys


def canonical(value: Any) -> str:
    """Returns the one JSON text of plain data: keys sorted, no spaces, 6.0 written as 6.

    Hashes are taken over it, so neither the order of keys nor the type of a whole number changes
    them (compare RFC 8785).
    """
    return json.dumps(_with_whole_numbers(value), sort_keys=True, separators=(",", ":"))


def checksum(payload: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of an object's canonical form. Its checksum key is left out."""
    return sha256(canonical(without_checksum(payload)))


def without_checksum(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the object without its checksum key."""
    return {key: value for key, value in payload.items() if key != CHECKSUM}


def with_checksum(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the object with its checksum as the first key.

    So a person can delete that line of the file, and what is left is still JSON.
    """
    return {CHECKSUM: checksum(payload), **without_checksum(payload)}


def write_checked(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes an object with its checksum, whole or not at all."""
    write_json(path, with_checksum(payload))


def read_checked(path: Path, fix: str, *, required: bool = True) -> dict[str, Any]:
    """Reads an object that `write_checked` wrote, and returns it without its checksum.

    `required=False` accepts an object without a checksum, since people write such files. `fix` is
    the sentence of the error that says what to do. PhiscaleError: the file holds no object, or its
    checksum does not match.
    """
    return verify_checksum(read_json(path, fix), str(path), fix, required=required)


def verify_checksum(data: Any, where: str, fix: str, *, required: bool = True) -> dict[str, Any]:
    """Returns the object without its checksum, which must match; see `read_checked`."""
    if not isinstance(data, Mapping):
        raise PhiscaleError(f"{where} holds {quoted(data)} instead of a JSON object. {fix}")
    payload = without_checksum(data)
    stated = data.get(CHECKSUM)
    with suppress(RecursionError):  # nested deeper than anything that phiscale writes
        if (stated is None and not required) or stated == checksum(payload):
            return payload
    edited = "" if required else f' Or, if you edited it yourself, delete its "{CHECKSUM}" line.'
    problem = "has no checksum" if stated is None else "does not match its checksum"
    raise PhiscaleError(f"{where} is damaged: it {problem}. {fix}{edited}")


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _with_whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_whole_numbers(item) for item in value]
    return value
