"""Flags of a verb: tyro reads them off the function's signature, its complaints become one line."""

import contextlib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import tyro

from phiscale.cli.parameters import flags_of, in_flags
from phiscale.errors import UsageError


def call(function: Callable[..., None], arguments: Sequence[str], prog: str) -> None:
    """tyro reads the flags; then the verb runs, outside tyro, so that errors are its own."""
    called: list[Callable[[], None]] = []
    said = io.StringIO()

    @functools.wraps(function)
    def later(*args: Any, **kwargs: Any) -> None:
        called.append(functools.partial(function, *args, **kwargs))

    if not asks_help(arguments):
        _check_flags(function, arguments, prog)
    try:
        with contextlib.redirect_stderr(said), _uncoloured():
            tyro.cli(later, args=list(arguments), prog=prog)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(f"{_complaint(said.getvalue(), prog)}. See {prog} --help.") from None
    with in_flags(flags_of(function)):
        called[0]()


@contextlib.contextmanager
def _uncoloured() -> Iterator[None]:
    """tyro colours the help of every terminal; NO_COLOR says that this one wants none."""
    if not os.environ.get("NO_COLOR"):
        yield
        return
    plain = io.TextIOWrapper(io.BytesIO(), encoding=sys.stdout.encoding, errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(plain):
            yield
    finally:
        plain.seek(0)
        sys.stdout.write(plain.read())


def asks_help(arguments: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(arguments)


def _check_flags(function: Callable[..., None], arguments: Sequence[str], prog: str) -> None:
    """Refuses unknown flags, and those given twice, of which tyro would take the last."""
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            grouped = is_dataclass(parameter.default)
            defaults |= _values(parameter.default) if grouped else {name: parameter.default}
    known, given = dict(_flags(defaults)), set[str]()
    for word in arguments:
        flag = word.partition("=")[0].replace("_", "-")
        if flag == "--":
            break
        if not flag.startswith("--"):
            continue
        if flag not in known:
            raise UsageError(f"unknown flag {flag}.{near(flag, known)} See {prog} --help.")
        if known[flag] in given:
            raise UsageError(f"{flag} is given twice. Give it once.")
        given |= {known[flag]} - {""}


def _flags(defaults: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Every flag and what may come once only: the flag, its opposite counted as the same."""
    for name, default in defaults.items():
        own = name.replace("_", "-")
        if is_dataclass(default):
            yield from _flags(_values(default), f"{within}{own}.")
            continue
        flag = f"--{within}{own}"
        yield flag, "" if isinstance(default, tuple) else flag
        if isinstance(default, bool):
            yield f"--{within}no-{own}", flag


def _values(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in fields(group)}


_COMPLAINTS: tuple[tuple[str, str], ...] = (  # what tyro says, and what we make of it
    (r"Missing value for argument '(\S+)'", r"\1 needs a value"),
    (
        r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)",
        r"\2 \1 is unknown: use one of \3",
    ),
    (
        r"Error parsing (\S+): .*invalid literal for int\(\) with base 10: '(.*?)'",
        r"\1 \2 is no whole number",
    ),
    (r"Error parsing (\S+): .*could not convert string to float: '(.*?)'", r"\1 \2 is no number"),
    (r"Unrecognized options: (\S+)", r"\1 is unexpected"),
)


def _complaint(text: str, prog: str) -> str:
    """tyro's box of complaints as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    names = [n for n in re.findall(r"^\W {5}(\S+)", text, re.MULTILINE) if n != "phiscale"]
    if "Missing from" in text and names:
        *first, last = names
        listed = f"{', '.join(first)} and {last}" if first else last
        return f"{prog.removeprefix('phiscale ')} needs {listed}"
    words = " ".join(re.sub(r"[│╭╮╰╯─]+", " ", text).split())
    words = re.sub(r" For full helptext.*", "", words)
    for theirs, ours in _COMPLAINTS:
        if found := re.search(theirs, words):
            return found.expand(ours)
    return words.rstrip(".")


def near(word: str, known: Mapping[str, Any]) -> str:
    found = get_close_matches(word, known, n=1)
    return f" Did you mean {found[0]}?" if found else ""
