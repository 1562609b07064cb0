"""Cells of tables: what other hands have written is text in Markdown, HTML, spreadsheets and on the terminal."""

import base64
import csv
import hashlib
import html
import io
import json
import re
import urllib.parse
from html.parser import HTMLParser

import pytest
from helpers import bump
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from gan2shape_jax.results import Row, print_table, write_page, write_table
from gan2shape_jax.results.cells import csv_cell, csv_value, markdown_cell

pytestmark = pytest.mark.hostile

_NASTY = (
    "x[/red]",
    "[link=file:///etc/passwd]x[/link]",
    "=cmd|' /C calc'!A1",
    "+1",
    "-1",
    "@SUM(A1)",
    "'=1",
    "<img src=x onerror=alert(1)>",
    "a|b`c`[d](javascript:e)*f*_g_",
    "'><script>alert(1)</script>",
    "my  photo",
    "50% off & more",
    ":car:",
)
_SAFE_TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)


@given(_SAFE_TEXT)
@example("'")
@example("''=")
@example("=1+1")
def test_a_cell_of_a_csv_is_no_formula_and_comes_back(text):
    cell = csv_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert csv_value(cell) == text
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell, "1"])
    assert next(csv.reader(io.StringIO(buffer.getvalue()))) == [cell, "1"]


def test_control_characters_begin_no_formula_either():
    assert [csv_cell(text) for text in ("\t=1", "\r=1", "\n=1")] == ["'\\t=1", "'\\r=1", "'\\n=1"]


def _shown(markdown: str) -> str:
    """What a reader sees of text without markup: escapes gone, entities as they are meant."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown))


@given(st.text(max_size=30) | st.sampled_from(_NASTY))
def test_a_cell_of_markdown_holds_no_markup(text):
    cell = markdown_cell(text)
    bare = re.sub(r"\\[\\`*_~|\[\]#+=-]", "", cell)  # escaped characters are text
    bare = re.sub(r"(?<=[^\W_])_+(?=[^\W_])|(?<=\s)\*(?=\s|$)", "", bare)  # and so are these where they stand
    assert not re.search(r"[\\`*~|\[\]<>\n]", re.sub(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}", "", bare))
    assert not re.search(r"&(?!amp;|lt;|gt;)", cell)


@pytest.mark.parametrize("text", _NASTY)
def test_a_cell_of_markdown_shows_the_text(text):
    assert _shown(markdown_cell(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["my_photo_1", "2024-01-01", "SIDE *", "a__b", "-0.0012 (-0.1 to 0.2)", "1.5"])
def test_what_markdown_leaves_alone_stays_readable(text):
    assert markdown_cell(text) == text


# --- the files of a run ----------------------------------------------------------------------------------

_ROWS = [Row(name, "failed: cannot read\n  <b>it</b> | [x]\x1b]0;t\x07", {"side": -0.25}) for name in _NASTY]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Summaries of images with such names, of which the sixth has results."""
    folder = tmp_path_factory.mktemp("run")
    bump.write(bump.result(), folder / "results" / _NASTY[5])
    write_table(folder, _ROWS)
    write_page(folder, _ROWS)
    return folder


def test_results_csv_holds_the_names_and_no_formula(written):
    with (written / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [csv_value(row["name"]) for row in rows] == list(_NASTY)
    assert all(row["side"] == "-0.25" for row in rows)  # numbers stay numbers
    texts = [row[key] for row in rows for key in ("name", "status")]
    assert not [text for text in texts if text[0] in "=+-@\t\r"] and "\x1b" not in "".join(texts)


def test_results_md_has_a_line_an_image_and_as_many_cells_in_each(written):
    lines = (written / "results.md").read_text().splitlines()
    assert len(lines) == 2 + len(_NASTY) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {12}
    assert not [line for line in lines if re.search(r"<\w|\x1b", line)]
    assert [_shown(line.split(" | ")[0][2:]) for line in lines[2:-2]] == [" ".join(name.split()) for name in _NASTY]


class _Page(HTMLParser):
    """The tags of a page, where its links lead, and the text of its scripts and data."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.ids, self.scripts = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("href", "src")]
        self.ids += [value for key, value in attrs if key == "id"]
        assert not [key for key, _ in attrs if key.startswith("on") or key == "style"]
        if tag == "script":
            assert not [key for key, _ in attrs if key not in ("type", "id")]
            self.scripts.append([dict(attrs).get("type", ""), dict(attrs).get("id", ""), ""])

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1][2] += data

    def handle_endtag(self, tag):
        self.lasttag = "/" + tag


def _parsed(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


def test_the_page_has_no_tags_but_its_own_and_links_that_lead_to_the_files(written, tmp_path):
    text = (written / "index.html").read_text()
    page = _parsed(text)
    write_page(tmp_path, [Row("a", "failed: x"), Row("b", "failed: x")])
    own = _parsed((tmp_path / "index.html").read_text()).tags
    assert page.tags - own == {"abbr"}  # the columns' explanations
    assert "\x1b" not in text
    assert [name[3:] for name in page.ids if name.startswith("at-")] == list(_NASTY)
    assert len(page.ids) == len(set(page.ids))
    anchors = [link for link in page.links if link.startswith("#at-")]
    assert [urllib.parse.unquote(link[4:]) for link in anchors] == 2 * list(_NASTY)  # gallery and table
    files = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert len(files) > 5 and all((written / urllib.parse.unquote(link)).is_file() for link in files)
    assert all(re.fullmatch(r"[\w./%~-]+", link) for link in files)


def test_only_the_pages_own_scripts_run(written):
    """What may run is told by its hash, so nothing that a name or message brings along would."""
    text = (written / "index.html").read_text()
    page = _parsed(text)
    run = [content for kind, _, content in page.scripts if kind in ("", "module")]
    data = [(kind, name) for kind, name, _ in page.scripts if kind not in ("", "module")]
    assert len(run) == 2 and {kind for kind, _ in data} == {"application/json", "text/plain"}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    hashes = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in run]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["script-src"].split() == [f"'sha256-{one}'" for one in hashes]
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_the_pages_data_tell_the_names(written):
    page = _parsed((written / "index.html").read_text())
    (facts,) = (json.loads(content) for _, name, content in page.scripts if name == "page-data")
    assert [image["name"] for image in facts["images"]] == list(_NASTY)
    assert not [image for image in facts["images"] if "\x1b" in json.dumps(image, ensure_ascii=False)]


@pytest.mark.parametrize("width", [100, 400])
def test_the_console_shows_names_as_they_are(width):
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(_ROWS, console)
    text = console.file.getvalue()
    assert "\x1b]" not in text
    if width == 400:
        assert all(name in text for name in _NASTY)
        assert r"cannot read <b>it</b> | [x]\x1b]0;t\x07" in text
