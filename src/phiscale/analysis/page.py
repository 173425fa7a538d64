"""Sections of words, tables and figures as one page: Markdown to commit, or HTML in one file.

The page runs no script and loads nothing; whatever stands in a name is shown as text.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phiscale.data.wording import shown


@dataclass(frozen=True, kw_only=True)
class Section:
    """Words first, then a table (rows of equal keys; empty columns are left out), then figures."""

    title: str
    text: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    note: str = ""  # under the table: what its columns mean
    figures: Sequence[str] = ()  # markup of our own: SVGs, tables of pictures

    @property
    def columns(self) -> list[str]:
        """Those that at least one row has something for."""
        keys = self.rows[0] if self.rows else ()
        return [key for key in keys if any(row[key] is not None for row in self.rows)]


def as_markdown(title: str, command: str, sections: Sequence[Section]) -> str:
    """Without the figures, for a repository."""
    parts = [f"# {title}", f"Made by `{command}`."]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if columns := section.columns:
            lines = ["| " + " | ".join(columns) + " |",
                     "|---|" + "---:|" * (len(columns) - 1)]  # fmt: skip
            lines += ["| " + " | ".join(_cell(row[c]) for c in columns) + " |"
                      for row in section.rows]  # fmt: skip
            parts.append("\n".join(lines))
        parts += [section.note] if section.note else []
    return "\n\n".join(parts) + "\n"


def as_html(title: str, command: str, sections: Sequence[Section]) -> str:
    """One self-contained file."""
    return _PAGE.format(title=html.escape(title), body="".join(map(_section, sections)),
                        command=html.escape(shown(command)))  # fmt: skip


def _section(section: Section) -> str:
    columns = section.columns
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row[c]))}</td>" for c in columns) + "</tr>"
        for row in section.rows
    )
    return (
        f"<section><h2>{html.escape(section.title)}</h2>"
        + "".join(f"<p>{html.escape(shown(words))}</p>" for words in section.text)
        + (f"<div><table><tr>{head}</tr>{body}</table></div>" if columns else "")
        + (f'<p class="note">{html.escape(section.note)}</p>' if section.note else "")
        + "".join(f"<figure>{figure}</figure>" for figure in section.figures)
        + "</section>"
    )


def _cell(value: Any) -> str:
    return "-" if value is None else shown(str(value))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; color: #1b2027; margin: 2em auto; max-width: 1080px;
       padding: 0 1.2em }}
h1 {{ font-size: 28px }} h2 {{ font-size: 21px; margin-top: 1.8em }} p {{ max-width: 76ch }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }}
td, th {{ padding: .3em .65em; border-bottom: 1px solid #e1e4e8; text-align: right;
         white-space: nowrap }}
td:first-child, th:first-child {{ text-align: left }} th {{ color: #5a616c }}
.note, footer {{ color: #5a616c; font-size: 14px }} div {{ overflow-x: auto }}
figure {{ margin: 1.2em 0 }} svg {{ max-width: 100%; height: auto }}
</style></head>
<body><h1>{title}</h1>{body}
<footer><p>Made by <code>{command}</code>. One file, no script, nothing loaded from elsewhere.</p>
</footer></body></html>
"""
