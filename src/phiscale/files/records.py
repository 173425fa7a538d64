"""The one codec of everything that phiscale writes as JSON: versioned, strict, made to last.

A `Format` belongs to a dataclass. A field that is added later is made with `added_field`: it is
left out where it has its default. So files, hashes and keys from before stay as they were.
UPGRADING.md says what to do when a format changes otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from phiscale.errors import PhiscaleError
from phiscale.files.atomic import read_json
from phiscale.files.checksums import CHECKSUM, verify_checksum, write_checked
from phiscale.files.decoding import (
    FORMATS,
    Mismatch,
    NewerVersion,
    ValuePath,
    decode_class,
    encode_fields,
    quoted,
)
from phiscale.files.values import is_number

T = TypeVar("T")


@dataclass(frozen=True)
class Format(Generic[T]):
    """How values of one dataclass are kept as JSON.

    Types are checked against the annotations of the class. Unknown and missing fields are errors,
    but fields made with `added_field` may be missing. A nested class that has a format of its own
    is kept in it.
    """

    cls: type[T]
    marker: str  # the key that holds the version, such as "phiscale_spec"
    error: type[PhiscaleError]
    fix: str  # the sentence that says how to get a good file
    version: int = 1
    by_hand: bool = False  # people write such files too: fields with defaults may be missing
    foreign: tuple[str, ...] = ()  # keys of the object that another reader uses
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    """From a version to the next one."""

    def __post_init__(self) -> None:
        FORMATS[self.cls] = self

    def encode(self, value: T) -> dict[str, Any]:
        """Returns plain data, complete and versioned. `decode` returns an equal value."""
        return {self.marker: self.version, **encode_fields(value)}

    def decode(self, data: Any, where: str) -> T:
        """Returns the value of plain data. Raises `error`: one line that names `where`."""
        try:
            return self.decode_nested(data)
        except Mismatch as problem:
            update = " Or update phiscale." if isinstance(problem, NewerVersion) else ""
            raise self.error(f"{where}: {problem}. {self.fix}{update}") from None
        except PhiscaleError as problem:  # the class itself refuses a value, and names the fix
            raise self.error(f"{where}: {problem}") from None

    def write(self, path: Path, value: T) -> None:
        """Writes the value with a checksum, whole or not at all."""
        write_checked(path, self.encode(value))

    def read(self, path: Path, *, required: bool = False) -> T:
        """Reads a value that `write` wrote. `required=True` refuses a file without a checksum.

        Raises `error` for content that is wrong. PhiscaleError: the file cannot be read, or it is
        not JSON.
        """
        return self.decode(self.payload(path, required=required), str(path))

    def payload(self, path: Path, *, required: bool = False) -> dict[str, Any]:
        """Reads the object that `read` decodes, without its checksum. Raises as `read` does."""
        data = read_json(path, self.fix)
        try:
            return verify_checksum(data, str(path), self.fix, required=required)
        except PhiscaleError as problem:
            raise self.error(str(problem)) from None

    def decode_nested(self, data: Any) -> T:
        """Decodes a value inside another one. Mismatches are raised as they are."""
        if not isinstance(data, Mapping):
            raise Mismatch(f"{quoted(data)} is no JSON object")
        values = {k: v for k, v in data.items() if k not in (CHECKSUM, *self.foreign)}
        version = values.pop(self.marker, None)
        number: Any = version if is_number(version) else 0
        while number in self.upgrades and number != self.version:
            values, number = self.upgrades[number](values), number + 1
        if number != self.version:
            kind = NewerVersion if number > self.version else Mismatch
            raise kind(f'"{self.marker}" is {quoted(version)}, not {self.version}')
        return decode_class(self.cls, values, ValuePath("", self.by_hand))
