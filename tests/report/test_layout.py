"""Reports in a browser: nothing is wider than a phone, a tablet or a laptop, nothing overlaps."""

from __future__ import annotations

from pathlib import Path

from support.browser import layout_problems


def test_a_browser_finds_what_is_too_wide_and_what_overlaps(tmp_path: Path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><style>:root { color-scheme: light dark; background: Canvas }"
        "body { background: Canvas }</style><body><p style='width:1000px'>wide</p>"
        "<p>below<p style='margin-top:-2.2em'>above</p></body>"
    )
    problems = layout_problems(page)
    assert any("390 px, light: the page is" in each for each in problems)
    assert any("1280 px, dark:" in each and "overlap" in each for each in problems)
    assert not any("background" in each for each in problems)
