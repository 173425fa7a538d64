"""Dataclasses as plain data and back, checked against their annotations.

`records.Format` adds a marker, a version and files. Each Format enters itself into `FORMATS`, so
that a value inside another one is kept in its own format.
"""

from __future__ import annotations

import collections.abc
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from phiscale.errors import PhiscaleError
from phiscale.files.values import is_finite, is_number

T = TypeVar("T")
_ADDED, _ENCODE, _DECODE = "added", "encode", "decode"  # keys of a field's metadata
_MOST_NAMES = 20  # of a class's fields in a message


class NestedFormat(Protocol):
    """The part of a `records.Format` that values inside other values need."""

    def encode(self, value: Any) -> dict[str, Any]: ...

    def decode_nested(self, data: Any) -> Any: ...


FORMATS: dict[type, NestedFormat] = {}


class Mismatch(Exception):
    """Data that do not match their class. The text names the path inside the object."""


class NewerVersion(Mismatch):
    """Data of a version that this phiscale does not know yet."""


@dataclass(frozen=True)
class ValuePath:
    """Where in an object a value stands: "stages[3].kernel". The object itself has the path ""."""

    path: str
    by_hand: bool  # people write such files: fields with defaults may be missing

    def field(self, name: str) -> ValuePath:
        """Returns the path of a field, or of a key, of this value."""
        return ValuePath(f"{self.path}.{name}" if self.path else name, self.by_hand)

    def item(self, number: int) -> ValuePath:
        """Returns the path of an item of this list."""
        return ValuePath(f"{self.path}[{number}]", self.by_hand)

    def mismatch(self, value: Any, expected: str) -> Mismatch:
        """Returns the error for a value that is not what its annotation says."""
        return Mismatch(f"{self.path} is {quoted(value)}, not {expected}")


def added_field(default: Any = MISSING, *, factory: Any = MISSING) -> Any:
    """Makes a dataclass field that came after version 1 of its format.

    It is written only where it differs from its default. Where a file lacks it, it has its default.
    """
    if factory is not MISSING:
        return field(default_factory=factory, metadata={_ADDED: True})
    return field(default=default, metadata={_ADDED: True})


def encoded_field(
    encode: Callable[[Any], Any], decode: Callable[[Any], Any], **options: Any
) -> Any:
    """Makes a dataclass field of a type that JSON lacks, such as an array.

    `options` are those of `dataclasses.field`.
    """
    return field(metadata={_ENCODE: encode, _DECODE: decode}, **options)


def encode_fields(value: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as plain data, without markers and versions."""
    plain: dict[str, Any] = {}
    for entry in fields(value):
        content = getattr(value, entry.name)
        if not (entry.metadata.get(_ADDED) and content == _default(entry)):
            plain[entry.name] = entry.metadata.get(_ENCODE, _encode)(content)
    return plain


def _encode(value: Any) -> Any:
    if type(value) in FORMATS:
        return FORMATS[type(value)].encode(value)
    if is_dataclass(value):
        return encode_fields(value)
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def decode_class(cls: type[T], values: Mapping[str, Any], path: ValuePath) -> T:
    """Returns the dataclass of these fields. Mismatch: a name, type or value is wrong."""
    _check_names(cls, values, path)
    hints = _hints(cls)
    arguments: dict[str, Any] = {}
    for entry in fields(cls):  # type: ignore[arg-type]
        if entry.name not in values:
            continue
        value, place = values[entry.name], path.field(entry.name)
        decode = entry.metadata.get(_DECODE)
        arguments[entry.name] = (
            _decode_with(decode, value, place)
            if decode
            else _decode(hints[entry.name], value, place)
        )
    try:
        return cls(**arguments)
    except PhiscaleError as error:
        if not path.path:
            raise
        raise type(error)(f"{path.path}: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise Mismatch(f"{path.path or 'its content'} is impossible ({error})") from None


def _check_names(cls: type, values: Mapping[str, Any], path: ValuePath) -> None:
    names = [entry.name for entry in fields(cls)]
    optional = {
        entry.name
        for entry in fields(cls)
        if _default(entry) is not MISSING and (path.by_hand or entry.metadata.get(_ADDED))
    }
    subject = path.path or "it"
    if unknown := values.keys() - set(names):
        listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if names[_MOST_NAMES:] else "")
        raise Mismatch(f"{subject} has unknown fields {_quoted_names(unknown)} (known: {listed})")
    if missing := set(names) - values.keys() - optional:
        raise Mismatch(f"{subject} lacks {_quoted_names(missing)}")


def _decode(hint: Any, value: Any, path: ValuePath) -> Any:
    """Returns the value as a value of the annotation `hint`."""
    origin = get_origin(hint) or hint
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _decode_union(get_args(hint), value, path)
    if origin is Literal:
        return _decode_choice(get_args(hint), value, path)
    if origin is tuple:
        return _decode_tuple(get_args(hint), value, path)
    if origin in (dict, Mapping, collections.abc.Mapping):
        return _decode_mapping(get_args(hint), value, path)
    if is_dataclass(hint):
        return _decode_nested(hint, value, path)  # type: ignore[arg-type]
    return _decode_plain(hint, value, path)


def _decode_union(hints: tuple[Any, ...], value: Any, path: ValuePath) -> Any:
    """Decodes by the first annotation that allows this kind of JSON."""
    if value is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    if len(others) == 1:
        return _decode(others[0], value, path)
    for hint in others:
        if _allows_kind(hint, value):
            return _decode(hint, value, path)
    raise path.mismatch(value, " or ".join(map(_kind_of, others)))


def _allows_kind(hint: Any, value: Any) -> bool:
    origin = get_origin(hint) or hint
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin is float:
        return is_number(value)
    if origin in (str, int, bool):
        return type(value) is origin
    return isinstance(value, Mapping)


def _kind_of(hint: Any) -> str:
    """Returns what an annotation allows, in words."""
    origin = get_origin(hint) or hint
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if is_dataclass(hint):
        words = re.sub(r"(?<!^)(?=[A-Z])", " ", hint.__name__).lower()  # type: ignore[union-attr]
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    kinds = {
        bool: "true or false", int: "a whole number", float: "a number", str: "a text",
        tuple: "a list", dict: "an object", collections.abc.Mapping: "an object",
    }  # fmt: skip
    return kinds.get(origin, str(hint))


def _decode_choice(choices: tuple[Any, ...], value: Any, path: ValuePath) -> Any:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise path.mismatch(value, f"one of {', '.join(map(str, choices))}")
    return value


def _decode_tuple(hints: tuple[Any, ...], value: Any, path: ValuePath) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise path.mismatch(value, "a list")
    if hints[-1:] == (Ellipsis,):
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        raise path.mismatch(value, f"a list of {len(hints)}")
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_decode(hint, item, path.item(number)) for number, (hint, item) in pairs)


def _decode_mapping(hints: tuple[Any, ...], value: Any, path: ValuePath) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise path.mismatch(value, "an object")
    hint = hints[1] if len(hints) == 2 else Any
    return {str(name): _decode(hint, item, path.field(str(name))) for name, item in value.items()}


def _decode_nested(cls: type, value: Any, path: ValuePath) -> Any:
    if not isinstance(value, Mapping):
        raise path.mismatch(value, "an object")
    if cls not in FORMATS:
        return decode_class(cls, value, path)
    try:
        return FORMATS[cls].decode_nested(value)
    except (Mismatch, PhiscaleError) as problem:
        raise type(problem)(f"{path.path}: {problem}") from None


def _decode_plain(hint: type, value: Any, path: ValuePath) -> Any:
    """Decodes a text, a number or a boolean.

    A whole number stands for a float. True and false stand for no number.
    """
    if hint is float:
        if not is_number(value):
            raise path.mismatch(value, "a number")
        if not is_finite(value):
            raise path.mismatch(value, "a finite number")
    elif type(value) is not hint:
        raise path.mismatch(value, _kind_of(hint))
    return value


def _decode_with(decode: Callable[[Any], Any], value: Any, path: ValuePath) -> Any:
    """Decodes by the function that the field names."""
    try:
        return decode(value)
    except (TypeError, ValueError) as error:
        raise Mismatch(f"{path.path} cannot be read ({error})") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def _quoted_names(names: Any) -> str:
    return ", ".join(quoted(name) for name in sorted(names, key=str)[:5])


def quoted(value: Any) -> str:
    """Returns a value for a message: short, and no character of it can break the line."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
