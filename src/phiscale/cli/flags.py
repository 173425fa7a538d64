"""Flags of a command. tyro reads them off the function's signature; a complaint becomes a line."""

import contextlib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import tyro

from phiscale.cli.parameters import flags_of, in_flags
from phiscale.errors import UsageError
from phiscale.text import did_you_mean


def call(
    function: Callable[..., None],
    arguments: Sequence[str],
    prog: str,
    others: Iterable[Callable[..., None]] = (),
) -> None:
    """Reads the flags with tyro, then runs the command outside it, so that its errors are its own.

    `others`: commands of the same group, whose flags a message may name: "Fit it again with
    --base".
    """
    calls: list[Callable[[], None]] = []
    complaints = io.StringIO()

    @functools.wraps(function)
    def later(*args: Any, **kwargs: Any) -> None:
        calls.append(functools.partial(function, *args, **kwargs))

    if not asks_help(arguments):
        _check_flags(function, arguments, prog)
    flags = {
        name: flag for command in (*others, function) for name, flag in flags_of(command).items()
    }
    with in_flags(flags):
        try:
            with contextlib.redirect_stderr(complaints), _uncoloured():
                tyro.cli(later, args=list(arguments), prog=prog)
        except SystemExit as stop:
            if stop.code in (0, None):
                raise
            complaint = _complaint(complaints.getvalue(), prog)
            raise UsageError(f"{complaint}. See {prog} --help.") from None
        calls[0]()


@contextlib.contextmanager
def _uncoloured() -> Iterator[None]:
    """tyro colours the help on every terminal; here it does not where NO_COLOR is set."""
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
    """Refuses unknown flags, and flags given twice, of which tyro would use the last."""
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            grouped = is_dataclass(parameter.default)
            defaults |= _values(parameter.default) if grouped else {name: parameter.default}
    flags, used = dict(_flags(defaults)), set[str]()
    for word in arguments:
        flag = word.partition("=")[0].replace("_", "-")
        if flag == "--":
            break
        if not flag.startswith("--"):
            continue
        if flag not in flags:
            raise UsageError(f"unknown flag {flag}.{near(flag, flags)} See {prog} --help.")
        if flags[flag] in used:
            raise UsageError(f"{flag} is given twice. Give it once.")
        used |= {flags[flag]} - {""}


def _flags(defaults: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Every flag with its group: flags of one group may come once. A flag and its opposite are one
    group; the group of a flag that may be repeated is empty."""
    for name, default in defaults.items():
        plain = name.replace("_", "-")
        if is_dataclass(default):
            yield from _flags(_values(default), f"{within}{plain}.")
            continue
        flag = f"--{within}{plain}"
        yield flag, "" if isinstance(default, tuple) else flag
        if isinstance(default, bool):
            yield f"--{within}no-{plain}", flag


def _values(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in fields(group)}


_COMPLAINTS: tuple[tuple[str, str], ...] = (  # tyro's, and ours
    (r"Missing value for argument '(\S+)'", r"\1 needs a value"),
    (
        r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)",
        r"invalid value for \2: \1. Use one of \3",
    ),
    (
        r"Error parsing (\S+): .*invalid literal for int\(\) with base 10: '(.*?)'",
        r"\1 \2 is not a whole number",
    ),
    (
        r"Error parsing (\S+): .*could not convert string to float: '(.*?)'",
        r"\1 \2 is not a number",
    ),
    (
        r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*?)\]",
        r"invalid values for \1: \2. Use values of the kind that the help names",
    ),
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
        if match := re.search(theirs, words):
            return match.expand(ours)
    return words.rstrip(".")


def near(word: str, names: Mapping[str, Any]) -> str:
    """A sentence with the name that is most like a mistyped one, or nothing."""
    hint = did_you_mean(word, names)
    return hint and f" {hint}"
