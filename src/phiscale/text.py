"""Text for people: names and counts in sentences, and plain tables.

No character of a name can break a line of a report.
"""

from __future__ import annotations

import html
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any


def printable(name: str) -> str:
    """Returns the name with control characters, line breaks and undecodable bytes as escapes."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def join_names(names: Iterable[str], most: int = 5) -> str:
    """Joins names for a sentence: 'a', 'b', 'c' and 4 more."""
    quoted = [f"'{printable(name)}'" for name in names]
    left = len(quoted) - most
    if left > 0:
        return f"{', '.join(quoted[:most])} and {left:,} more"
    if len(quoted) > 1:
        return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return "".join(quoted)


def did_you_mean(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """Returns `Did you mean NAME?` for the name most like a mistyped one, else `otherwise`."""
    from difflib import get_close_matches  # only errors need it

    near = get_close_matches(word, list(names), n=1)
    return f"Did you mean {near[0]}?" if near else otherwise


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun: 1 image, 2 images, 3 classes."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def without_passwords(text: str) -> str:
    """Returns the text with `***` for the passwords of the databases that it names."""
    return re.sub(r"(\w+://[^\s:/@]*):[^\s@]*@", r"\1:***@", text)


def python_call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str:
    """Returns a call of a public function as Python source, for its report.

    `arguments`: by parameter. Those at their defaults are left out, and passwords are hidden. A
    value that is more than text and numbers is named by its class.
    """
    shown: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        value = arguments.get(name, parameter.default)
        if _source(value) == _source(parameter.default):
            continue
        by_name = parameter.kind is parameter.KEYWORD_ONLY
        shown.append(f"{name}={_source(value)}" if by_name else _source(value))
    return without_passwords(f"phiscale.{function.__name__}({', '.join(shown)})")


def _source(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_source, value))}]"
    return f"{type(value).__name__}(...)"


def format_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the lines of a table. Rows have equal keys; empty columns are left out."""
    columns = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    cells = [[_cell(row[key]) for key in columns] for row in rows]
    widths = [max(len(c), *(len(r[i]) for r in cells)) for i, c in enumerate(columns)]
    numeric = [all(not isinstance(r[c], str) for r in rows) for c in columns]
    for line in [columns, *cells]:
        yield "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()


def html_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Returns an HTML table for notebooks. Every text is escaped; an empty `heads` has no row."""

    def row(tag: str, cells: Sequence[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    head = f"<thead>{row('th', heads)}</thead>" if heads else ""
    body = "".join(row("td", cells) for cells in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}{head}<tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if abs(value) >= 100_000:
            for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
                if abs(value) >= size:
                    return f"{value / size:.4g}{unit}"
            return str(value)
        case float():
            return f"{value:.4g}"
        case _:
            return printable(str(value))
