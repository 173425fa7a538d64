"""Texts of strangers' files reach a terminal with their control characters escaped."""

from __future__ import annotations

import logging

import pytest

from phiscale.cli.output import log_to, table

HOSTILE = "quiet\x1b]0;title\x07\x1b[2J\rforged"


def test_tables_and_log_lines_show_control_characters_as_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[str] = []
    with log_to(lines.append):
        logging.getLogger("phiscale.test").warning("trained on %s\nsecond line", HOSTILE)
    table([{"licence": HOSTILE}])
    for text in (*lines, capsys.readouterr().out):
        assert r"quiet\x1b]0;title\x07\x1b[2J\rforged" in text
        assert "\x1b" not in text and "\r" not in text
    assert lines[0].endswith("\nsecond line")
