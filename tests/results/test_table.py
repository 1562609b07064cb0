"""Tables of a run: names and messages are text in Markdown, HTML, spreadsheets and on the terminal."""

import csv
import html
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from gan2shape_jax.results import Row, print_table, write_table
from gan2shape_jax.results.tables import csv_cell, csv_value, markdown_cell

_NASTY = (
    *("x[/red]", "[link=file:///etc/passwd]x[/link]", "=cmd|' /C calc'!A1", "+1", "-1", "@SUM(A1)", "'=1"),
    *("<img src=x onerror=alert(1)>", "'><script>alert(1)</script>", "a|b`c`[d](javascript:e)*f*_g_"),
    *("my  photo", "50% off & more", ":car:"),
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
    if text in _NASTY:
        assert _shown(cell) == " ".join(text.split())


_ROWS = [Row(name, "failed: cannot read\n  <b>it</b> | [x]\x1b]0;t\x07", {"side": -0.25}) for name in _NASTY]


def test_files_hold_the_names_as_text_and_no_formula(tmp_path):
    write_table(tmp_path, _ROWS)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [csv_value(row["name"]) for row in rows] == list(_NASTY)
    assert all(row["side"] == "-0.25" for row in rows)  # numbers stay numbers
    texts = [row[key] for row in rows for key in ("name", "status")]
    assert not [text for text in texts if text[0] in "=+-@\t\r"] and "\x1b" not in "".join(texts)
    lines = (tmp_path / "results.md").read_text().splitlines()
    *lines, space, legend = lines
    assert len(lines) == 2 + len(_NASTY) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}  # name, side, status
    assert space == "" and re.fullmatch(r"- depth error: Scale-invariant error of depth.* \(SIDE\)", legend)
    assert not [line for line in lines if re.search(r"<\w|\x1b", line)]
    assert [_shown(line.split(" | ")[0][2:]) for line in lines[2:-2]] == [" ".join(name.split()) for name in _NASTY]


@pytest.mark.parametrize("width", [100, 400])
def test_the_console_shows_names_as_they_are(width):
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(_ROWS, console)
    text = console.file.getvalue()
    assert "\x1b]" not in text
    if width == 400:
        assert all(name in text for name in _NASTY)
        assert r"cannot read <b>it</b> | [x]\x1b]0;t\x07" in text


def test_csv_has_a_row_an_image_and_markdown_the_mean_and_median_of_what_is_known_below(tmp_path):
    rows = [
        Row("a", metrics={"side": 0.01, "mad": 10.0, "prior": {"side": 0.03}}),
        Row("b|c", "failed: x"),
        Row("d", metrics={"side": 0.02}),
        Row("e", metrics={"side": 0.06, "mad": float("nan")}),
    ]
    write_table(tmp_path, rows)
    with (tmp_path / "results.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [row["name"] for row in cells] == ["a", "b|c", "d", "e"]
    assert cells[1]["side"] == "" and cells[3]["mad"] == ""
    assert float(cells[0]["prior_side"]) == 0.03 and cells[1]["status"] == "failed: x"
    text, legend = (part.splitlines() for part in (tmp_path / "results.md").read_text().split("\n\n"))
    assert len({line.replace("\\|", "").count("|") for line in text}) == 1
    titles, *lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text if "---" not in line]
    summaries = {line[0]: dict(zip(titles, line, strict=True)) for line in lines[-2:]}
    assert [line[0] for line in lines] == ["a", "b\\|c", "d", "e", "mean", "median"]
    assert summaries["mean"]["depth error"] == "0.0300" and summaries["median"]["depth error"] == "0.0200"
    labels = ["depth error", "angle error", "depth error at start"]
    assert summaries["mean"]["angle error"] == "10.0" and titles == ["name", *labels, "status"]
    assert [line.partition(":")[0] for line in legend] == [f"- {label}" for label in labels]  # each is explained


def test_a_table_without_figures_needs_no_legend(tmp_path):
    write_table(tmp_path, [Row("a", "failed: x")])
    assert (tmp_path / "results.md").read_text().endswith("| median |  |\n")


@pytest.mark.parametrize("width", [80, 160])
def test_the_printed_table_cuts_no_number_off(width):
    metrics = {"side": 0.02903, "mad": 38.74, "mad_unit": 38.29, "prior": {"side": 0.02296, "mad": 37.18}}
    metrics |= {"mae": 0.0239, "mse": 0.000896, "reconstruction_l1": 0.0702, "inversion_l1": 0.0441}
    console = Console(width=width, file=io.StringIO())
    print_table([Row("001", metrics=metrics), Row("long_name_7", "failed: no mask")], console)
    text = console.file.getvalue()
    assert "…" not in text
    assert ("unit MAD" in text) == (width == 160) and "SIDE" in text  # what the literature calls them
    numbers = ("0.0290", "38.7", "0.0230", "37.2", "0.070", "0.044")
    assert [number for number in numbers if number not in text] == []
    assert ("0.000896" in text) == (width == 160)
