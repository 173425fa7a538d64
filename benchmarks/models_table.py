"""Writes the family table between the markers of docs/models.md: `make models-table`."""

from __future__ import annotations

from pathlib import Path

from phiscale.arch.families import MEMBERS
from phiscale.report.models import markdown_table

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- models-table: begin (make models-table) -->", "<!-- models-table: end -->"


def table() -> str:
    """The table of all models but the `tf_` ones, whose costs are the same."""
    header, rule, *_ = markdown_table("*").splitlines()
    names = [name for name in MEMBERS if not name.startswith("tf_")]
    rows = [markdown_table(name).splitlines()[2] for name in names]
    return "\n".join([header, rule, *rows])


def with_table(text: str) -> str:
    """The page with the current table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
