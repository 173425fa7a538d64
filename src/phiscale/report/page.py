"""Sections of text, tables and figures as one page: Markdown to commit, or HTML in one file.

The page runs no script and loads nothing; whatever stands in a name is shown as text.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from phiscale.files.run_files import REPORT
from phiscale.text import printable

STYLE = (files("phiscale.report") / "style.css").read_text(encoding="utf-8")
_ALIGNED = ("", ' class="n"')  # the first column to the left, numbers to the right


@dataclass(frozen=True)
class Drawing:
    """A figure of a page: SVG markup (of `svg.drawing`), or the bytes of a PNG."""

    name: str
    described: str  # for those who do not see it
    content: str | bytes

    @property
    def markup(self) -> str:
        """Returns the figure as markup for HTML."""
        if isinstance(self.content, str):
            return self.content
        source = f"data:image/png;base64,{base64.b64encode(self.content).decode()}"
        return f'<img alt="{html.escape(self.described)}" src="{source}">'

    @property
    def path(self) -> str:
        """Returns the path of the figure's file, below the folder of the page."""
        return f"figures/{self.name}.{'svg' if isinstance(self.content, str) else 'png'}"

    @property
    def file(self) -> str | bytes:
        """Returns the content of the figure's file."""
        if isinstance(self.content, bytes):
            return self.content
        alone = (
            '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" '
            'style="background: #fff" '
        )
        return self.content.replace("<svg ", alone, 1) + "\n"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Text, then a table, then figures. Rows have equal keys; empty columns are left out."""

    title: str
    text: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    note: str = ""  # under the table: what its columns mean
    figures: Sequence[Drawing] = ()

    @property
    def columns(self) -> list[str]:
        """Returns the columns in which at least one row has a value."""
        keys = self.rows[0] if self.rows else ()
        return [key for key in keys if any(row[key] is not None for row in self.rows)]


def page_files(title: str, command: str, sections: Sequence[Section]) -> dict[str, str | bytes]:
    """Returns the page's files by their path: report.md, its figures, and report.html.

    report.html holds all in one file; report.md links the figures.
    """
    return {
        "report.md": as_markdown(title, command, sections, linked=True),
        REPORT: as_html(title, command, sections),
        **{each.path: each.file for section in sections for each in section.figures},
    }


def as_markdown(
    title: str, command: str, sections: Sequence[Section], *, linked: bool = False
) -> str:
    """Returns the page as Markdown, without the figures or `linked` to their files."""
    parts = [f"# {title}", f"Made by `{command}`."]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if columns := section.columns:
            lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
            lines += [
                "| " + " | ".join(_cell(row[c]) for c in columns) + " |" for row in section.rows
            ]
            parts.append("\n".join(lines))
        parts += [section.note] if section.note else []
        parts += [
            f"![{each.described}]({each.path})" for each in (section.figures if linked else ())
        ]
    return "\n\n".join(parts) + "\n"


def as_html(title: str, command: str, sections: Sequence[Section]) -> str:
    """Returns the page as one self-contained HTML file."""
    return _PAGE.format(
        style=STYLE,
        title=html.escape(title),
        body="".join(map(_section, sections)),
        command=html.escape(printable(command)),
    )


def scroll_box(markup: str) -> str:
    """Returns a wide table or figure in a box of its own that scrolls, with a hint on phones."""
    return f'<div class="scroll" tabindex="0">{markup}</div>'


def _section(section: Section) -> str:
    columns = section.columns
    head = "".join(f"<th{_ALIGNED[at > 0]}>{html.escape(c)}</th>" for at, c in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_ALIGNED[at > 0]}>{html.escape(_cell(row[c]))}</td>"
            for at, c in enumerate(columns)
        )
        + "</tr>"
        for row in section.rows
    )
    table = (
        f'<table class="slim"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        if columns
        else ""
    )
    return (
        f"<section><h2>{html.escape(section.title)}</h2>"
        + "".join(f"<p>{html.escape(printable(line))}</p>" for line in section.text)
        + (scroll_box(table) if table else "")
        + (f'<p class="sub">{html.escape(section.note)}</p>' if section.note else "")
        + "".join(f"<figure>{scroll_box(each.markup)}</figure>" for each in section.figures)
        + "</section>"
    )


def _cell(value: Any) -> str:
    return "-" if value is None else printable(str(value))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
{style}</style></head>
<body><header><div><h1>{title}</h1></div></header><main>{body}
<footer>Made by <code>{command}</code>. One file, no script, nothing loaded from elsewhere.</footer>
</main></body></html>
"""
