"""A page in a repository: Markdown with its figures beside it, and all in one file of HTML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from phiscale.report.page import Drawing, Section, page_files
from phiscale.report.svg import STYLE, drawing


def line() -> Drawing:
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    return drawing(figure, "line", "a < b & c")


SECTION = Section(title="T", text=["words"], figures=[line(), Drawing("maps", "a map", b"\x89PNG")])


def test_markdown_links_figures_that_stand_in_files_beside_it():
    files = page_files("P", "phiscale x", [SECTION])
    linked = re.findall(r"!\[(.*)\]\((.*)\)", str(files["report.md"]))
    assert linked == [("a < b & c", "figures/line.svg"), ("a map", "figures/maps.png")]
    assert {path for _, path in linked} < files.keys()
    assert files["figures/maps.png"] == b"\x89PNG"


def test_a_figures_own_file_is_a_whole_svg():
    root = ElementTree.fromstring(page_files("P", "c", [SECTION])["figures/line.svg"])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("font-family") and "#fff" in root.get("style", "")


def test_html_embeds_every_figure():
    page = str(page_files("P", "c", [SECTION])["report.html"])
    assert page.count("<svg") == 1 and page.count("data:image/png;base64,") == 1
    assert "figures/" not in page


def test_a_log_axis_has_numbers_and_no_tex():
    with rc_context(STYLE):
        figure = Figure()
        figure.subplots().loglog([0.3, 4], [0.3, 40])
        content = str(drawing(figure, "log", "powers").content)
    assert "mathdefault" not in content and ">10<" in content
