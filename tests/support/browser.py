"""A report in headless Chromium, at the width of a phone, a tablet and a laptop, light and dark."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 768, 1280)
SCHEMES = {"dark": 0, "light": 1}  # Chromium's numbers

# what is wider than the page or covers other text; a box that scrolls clips what it holds
_MEASURE = """
const problems = [];
const name = e => `${e.tagName} "${e.textContent.trim().slice(0, 30)}"`;
const page = document.documentElement;
for (const details of document.querySelectorAll('details')) details.open = true;
if (page.scrollWidth > innerWidth) problems.push(`the page is ${page.scrollWidth} px wide`);
const clip = (box, element) => {
  let {left, top, right, bottom} = box;
  for (let e = element; e && e !== page; e = e.parentElement) {
    if (getComputedStyle(e).overflowX === 'visible') continue;
    const edge = e.getBoundingClientRect();
    left = Math.max(left, edge.left); right = Math.min(right, edge.right);
    top = Math.max(top, edge.top); bottom = Math.min(bottom, edge.bottom);
  }
  return {left, top, right, bottom};
};
for (const element of document.body.querySelectorAll('*')) {
  const box = clip(element.getBoundingClientRect(), element.parentElement);
  if (box.right > innerWidth + 1) problems.push(`${name(element)} ends at ${box.right} px`);
}
const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, parent = node.parentElement;
  if (!node.data.trim() || parent.closest('title, script')) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const rect of range.getClientRects()) {
    const box = clip(rect, parent);
    if (box.right - box.left > 1 && box.bottom - box.top > 1) texts.push([box, parent]);
  }
}
for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
  const [a, b] = [texts[i][0], texts[j][0]];
  const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  const line = Math.min(a.bottom - a.top, b.bottom - b.top);
  if (texts[i][1] !== texts[j][1] && wide > 2 && high > 0.4 * line)
    problems.push(`${name(texts[i][1])} and ${name(texts[j][1])} overlap`);
}
const rgb = e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number);
parent.postMessage({width: innerWidth, problems, background: rgb(document.body)}, '*');
"""

_FRAMES = """<!doctype html><body><script>
addEventListener('message', e => document.body.append(JSON.stringify(e.data) + '\\n'));
</script>
"""


def require_chromium() -> str:
    """Returns the browser's path; skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no browser here: apt-get install chromium")
    return found


def layout_problems(page: Path) -> list[str]:
    """Returns what is too wide or overlaps, for each width and colour scheme of a report."""
    browser, home = require_chromium(), page.parent
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text, count=1)
    copy = text.replace("</body>", f"<script>{_MEASURE}</script></body>")
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(copy)}"></iframe>'
        for width in WIDTHS
    )
    harness = home / f"{page.stem}-measured.html"
    harness.write_text(_FRAMES + frames, encoding="utf-8")
    problems: list[str] = []
    for scheme in SCHEMES:
        measured = _measured(browser, harness, scheme)
        assert [row["width"] for row in measured] == list(WIDTHS), measured
        for row in measured:
            problems += [f"{row['width']} px, {scheme}: {each}" for each in row["problems"]]
            if (sum(row["background"]) < 3 * 128) != (scheme == "dark"):
                problems.append(f"{scheme}: the background is {row['background']}")
    return problems


def _measured(browser: str, harness: Path, scheme: str) -> list[dict[str, Any]]:
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--window-size=1400,1000"),
        *(f"--user-data-dir={harness.parent / 'browser'}", "--virtual-time-budget=10000"),
        *("--dump-dom", harness.as_uri()),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(harness.parent)}
    run = subprocess.run(command, capture_output=True, timeout=120, env=environment, check=True)
    rows = re.findall(r'^.*?(\{"width":.*\})$', run.stdout.decode(errors="replace"), re.MULTILINE)
    return sorted((json.loads(html.unescape(row)) for row in rows), key=lambda row: row["width"])
