"""The one codec of everything that phiscale writes as JSON: versioned, strict, made to last.

A `Format` belongs to a dataclass. A field that is added later is made with `added_field`: it is
left out where it has its default. So files, hashes and keys from before stay as they were.
UPGRADING.md says what to do when a format changes otherwise.
"""

from __future__ import annotations

import collections.abc
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from phiscale.errors import PhiscaleError
from phiscale.files.atomic import read_json, sha256, write_json

T = TypeVar("T")
CHECKSUM = "sha256"  # key of an object's checksum, which covers all its other keys
_ADDED, _ENCODE, _DECODE = "added", "encode", "decode"  # keys of a field's metadata


def added_field(default: Any = MISSING, *, factory: Any = MISSING) -> Any:
    """A dataclass field that came after version 1 of its format. It is written only where it
    differs from its default, and has its default where a file lacks it."""
    if factory is not MISSING:
        return field(default_factory=factory, metadata={_ADDED: True})
    return field(default=default, metadata={_ADDED: True})


def encoded_field(
    encode: Callable[[Any], Any], decode: Callable[[Any], Any], **options: Any
) -> Any:
    """A dataclass field of a type that JSON lacks, such as an array. `options` as of
    `dataclasses.field`."""
    return field(metadata={_ENCODE: encode, _DECODE: decode}, **options)


def canonical(value: Any) -> str:
    """The one JSON text of plain data: keys sorted, no spaces, 6.0 written as 6.

    Hashes are taken over it, so neither the order of keys nor the type of a whole number changes
    them (compare RFC 8785).
    """
    return json.dumps(_whole(value), sort_keys=True, separators=(",", ":"))


def checksum(payload: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical form of an object, its own checksum left out."""
    return sha256(canonical({key: each for key, each in payload.items() if key != CHECKSUM}))


def with_checksum(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The object after its checksum: whoever deletes the first line of a file still has JSON."""
    return {CHECKSUM: checksum(payload), **{k: v for k, v in payload.items() if k != CHECKSUM}}


def write_checked(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes an object with its checksum, whole or not at all."""
    write_json(path, with_checksum(payload))


def read_checked(path: Path, fix: str, *, required: bool = True) -> dict[str, Any]:
    """Reads what `write_checked` wrote, without the checksum. Raises PhiscaleError where it is no
    object or not what was written; `fix` is the sentence that says what to do then.

    `required=False`: an object without a checksum is accepted, since people write such files.
    """
    return verify_checksum(read_json(path, fix), str(path), fix, required=required)


def verify_checksum(data: Any, where: str, fix: str, *, required: bool = True) -> dict[str, Any]:
    """The object without its checksum, which must match; arguments as of `read_checked`."""
    if not isinstance(data, Mapping):
        raise PhiscaleError(f"{where} holds {_shown(data)} instead of a JSON object. {fix}")
    payload = {key: each for key, each in data.items() if key != CHECKSUM}
    stated = data.get(CHECKSUM)
    with suppress(RecursionError):  # deeper than anything that was written
        if (stated is None and not required) or stated == checksum(payload):
            return payload
    edited = "" if required else f' Or, if you edited it yourself, delete its "{CHECKSUM}" line.'
    lack = "has no checksum" if stated is None else "does not match its checksum"
    raise PhiscaleError(f"{where} is damaged: it {lack}. {fix}{edited}")


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
    foreign: tuple[str, ...] = ()  # keys of the object that another reader takes
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    """From a version to the next one."""

    def __post_init__(self) -> None:
        _FORMATS[self.cls] = self

    def encode(self, value: T) -> dict[str, Any]:
        """Plain data, complete and versioned; `decode` gives an equal value back."""
        return {self.marker: self.version, **_encode_fields(value)}

    def decode(self, data: Any, where: str) -> T:
        """The value of plain data. Raises `error`: one line that names `where`."""
        try:
            return self.decode_nested(data)
        except _Mismatch as problem:
            newer = " Or update phiscale." if isinstance(problem, _Newer) else ""
            raise self.error(f"{where}: {problem}. {self.fix}{newer}") from None
        except PhiscaleError as problem:  # the class itself refuses a value, and says the fix
            raise self.error(f"{where}: {problem}") from None

    def write(self, path: Path, value: T) -> None:
        """Writes the value with a checksum, whole or not at all."""
        write_checked(path, self.encode(value))

    def read(self, path: Path, *, required: bool = False) -> T:
        """Reads what `write` wrote; `required`: only with its checksum. Raises `error`, or
        PhiscaleError where the file cannot be read or is no JSON."""
        return self.decode(self.payload(path, required=required), str(path))

    def payload(self, path: Path, *, required: bool = False) -> dict[str, Any]:
        """What `read` decodes: the object without its checksum. Raises as `read` does."""
        data = read_json(path, self.fix)
        try:
            return verify_checksum(data, str(path), self.fix, required=required)
        except PhiscaleError as problem:
            raise self.error(str(problem)) from None

    def decode_nested(self, data: Any) -> T:
        """`decode` for a value inside another one; mismatches are raised as they are."""
        if not isinstance(data, Mapping):
            raise _Mismatch(f"{_shown(data)} is no JSON object")
        values = {k: v for k, v in data.items() if k not in (CHECKSUM, *self.foreign)}
        version = values.pop(self.marker, None)
        is_number = isinstance(version, int | float) and not isinstance(version, bool)
        number: Any = version if is_number else 0
        while number in self.upgrades and number != self.version:
            values, number = self.upgrades[number](values), number + 1
        if number != self.version:
            kind = _Newer if number > self.version else _Mismatch
            raise kind(f'"{self.marker}" is {_shown(version)}, not {self.version}')
        return _decode_class(self.cls, values, _Place("", self.by_hand))


_FORMATS: dict[type, Format[Any]] = {}


class _Mismatch(Exception):
    """Data that do not match their class. The text names the place inside the object."""


class _Newer(_Mismatch):
    """Data of a version that is not known yet."""


@dataclass(frozen=True)
class _Place:
    """Where in an object a value stands: "stages[3].kernel"."""

    path: str
    by_hand: bool

    def inside(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name}" if self.path else name, self.by_hand)

    def item(self, number: int) -> _Place:
        return _Place(f"{self.path}[{number}]", self.by_hand)

    def is_wrong(self, value: Any, wanted: str) -> _Mismatch:
        return _Mismatch(f"{self.path} is {_shown(value)}, not {wanted}")


def _encode_fields(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for each in fields(value):
        own = getattr(value, each.name)
        if not (each.metadata.get(_ADDED) and own == _default(each)):
            plain[each.name] = each.metadata.get(_ENCODE, _encode)(own)
    return plain


def _encode(value: Any) -> Any:
    if type(value) in _FORMATS:
        return _FORMATS[type(value)].encode(value)
    if is_dataclass(value):
        return _encode_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _encode(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(each) for each in value]
    return value


def _decode_class(cls: type[T], values: Mapping[str, Any], place: _Place) -> T:
    _check_names(cls, values, place)
    hints = _hints(cls)
    read: dict[str, Any] = {}
    for each in fields(cls):  # type: ignore[arg-type]
        if each.name not in values:
            continue
        value, inside = values[each.name], place.inside(each.name)
        own = each.metadata.get(_DECODE)
        read[each.name] = (
            _decode_own(own, value, inside) if own else _decode(hints[each.name], value, inside)
        )
    try:
        return cls(**read)
    except PhiscaleError as error:
        if not place.path:
            raise
        raise type(error)(f"{place.path}: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise _Mismatch(f"{place.path or 'its content'} is impossible ({error})") from None


def _check_names(cls: type, values: Mapping[str, Any], place: _Place) -> None:
    known = {each.name for each in fields(cls)}
    optional = {
        each.name
        for each in fields(cls)
        if _default(each) is not MISSING and (place.by_hand or each.metadata.get(_ADDED))
    }
    what = f"{place.path} " if place.path else "it "
    if unknown := values.keys() - known:
        raise _Mismatch(f"{what}has unknown fields {_listed(unknown)}")
    if missing := known - values.keys() - optional:
        raise _Mismatch(f"{what}lacks {_listed(missing)}")


def _decode(hint: Any, value: Any, place: _Place) -> Any:
    """`value` as the annotation `hint` says that it is."""
    origin = get_origin(hint) or hint
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _decode_union(get_args(hint), value, place)
    if origin is Literal:
        return _decode_choice(get_args(hint), value, place)
    if origin is tuple:
        return _decode_tuple(get_args(hint), value, place)
    if origin in (dict, Mapping, collections.abc.Mapping):
        return _decode_mapping(get_args(hint), value, place)
    if is_dataclass(hint):
        return _decode_nested(hint, value, place)  # type: ignore[arg-type]
    return _decode_plain(hint, value, place)


def _decode_union(hints: tuple[Any, ...], value: Any, place: _Place) -> Any:
    if value is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    for hint in others:  # of several, the one whose kind of JSON it is
        if isinstance(value, Mapping) == (is_dataclass(hint) or get_origin(hint) is not None):
            return _decode(hint, value, place)
    return _decode(others[0], value, place)


def _decode_choice(choices: tuple[Any, ...], value: Any, place: _Place) -> Any:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise place.is_wrong(value, f"one of {', '.join(map(str, choices))}")
    return value


def _decode_tuple(hints: tuple[Any, ...], value: Any, place: _Place) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise place.is_wrong(value, "a list")
    if hints[-1:] == (Ellipsis,):
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        raise place.is_wrong(value, f"a list of {len(hints)}")
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_decode(hint, each, place.item(number)) for number, (hint, each) in pairs)


def _decode_mapping(hints: tuple[Any, ...], value: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise place.is_wrong(value, "an object")
    hint = hints[1] if len(hints) == 2 else Any
    return {str(name): _decode(hint, each, place.inside(str(name))) for name, each in value.items()}


def _decode_nested(cls: type, value: Any, place: _Place) -> Any:
    if not isinstance(value, Mapping):
        raise place.is_wrong(value, "an object")
    if cls not in _FORMATS:
        return _decode_class(cls, value, place)
    try:
        return _FORMATS[cls].decode_nested(value)
    except _Mismatch as problem:
        raise type(problem)(f"{place.path}: {problem}") from None
    except PhiscaleError as problem:
        raise type(problem)(f"{place.path}: {problem}") from None


def _decode_plain(hint: type, value: Any, place: _Place) -> Any:
    """Whole numbers stand for floats; true and false stand for no number."""
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.is_wrong(value, "a number")
        if not abs(value) <= sys.float_info.max:  # nor is NaN; a whole number may be larger
            raise place.is_wrong(value, "a finite number")
    elif type(value) is not hint:
        kinds = {bool: "true or false", int: "a whole number", str: "a text"}
        raise place.is_wrong(value, kinds.get(hint, str(hint)))
    return value


def _decode_own(decode: Callable[[Any], Any], value: Any, place: _Place) -> Any:
    try:
        return decode(value)
    except (TypeError, ValueError) as error:
        raise _Mismatch(f"{place.path} cannot be read ({error})") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value


def _listed(names: Any) -> str:
    return ", ".join(_shown(name) for name in sorted(names, key=str)[:5])


def _shown(value: Any) -> str:
    """A value in a message: short, and no character of it can break the line."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
