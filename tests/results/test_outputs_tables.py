"""Metrics, tables and the page of a run."""

import csv
import io
import json

import numpy as np
import pytest
from helpers import bump
from rich.console import Console

from gan2shape_jax.results import Result, Row, print_table, write_metrics, write_page, write_table


@pytest.fixture(scope="module")
def result() -> Result:
    return bump.result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return bump.write(result, tmp_path_factory.mktemp("run") / "results" / "bump")


def test_metrics_file_has_the_promised_keys_and_no_nan(result, written, tmp_path):
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["side"] == 0.01 and metrics["prior"]["mad"] == 30.0
    assert metrics["reconstruction_l1"] == 0 and metrics["inversion_l1"] is None
    write_metrics(tmp_path / "m.json", {"side": np.float32(0.5), "mad": float("nan")})
    assert json.loads((tmp_path / "m.json").read_text()) == {"side": 0.5, "mad": None}


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
    text = (tmp_path / "results.md").read_text().splitlines()
    assert len({line.replace("\\|", "").count("|") for line in text}) == 1
    titles, *lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text if "---" not in line]
    summaries = {line[0]: dict(zip(titles, line, strict=True)) for line in lines[-2:]}
    assert [line[0] for line in lines] == ["a", "b\\|c", "d", "e", "mean", "median"]
    assert summaries["mean"]["side"] == "0.0300" and summaries["median"]["side"] == "0.0200"
    assert summaries["mean"]["mad"] == "10.0" and summaries["mean"]["mae"] == "–"


def test_an_empty_table_is_still_a_table(tmp_path):
    write_table(tmp_path, [])
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1
    assert len((tmp_path / "results.md").read_text().splitlines()) == 4


def test_page_links_what_exists_and_escapes_names(written):
    write_page(written.parents[1], [Row("bump"), Row("<b>", "failed: <i>")])
    page = (written.parents[1] / "index.html").read_text()
    assert "bump/overview.png" in page and "bump/mesh.glb" in page
    assert "<b>" not in page and "<i>" not in page and "%3Cb%3E/overview.png" not in page
    assert "&lt;b&gt;" in page and "failed: &lt;i&gt;" in page


@pytest.mark.parametrize("width", [80, 160])
def test_the_printed_table_cuts_no_number_off(width):
    metrics = {
        "side": 0.02903,
        "mad": 38.74,
        "mad_unit": 38.29,
        "prior": {"side": 0.02296, "mad": 37.18},
        "mae": 0.0239,
        "mse": 0.000896,
        "reconstruction_l1": 0.0702,
        "inversion_l1": 0.0441,
    }
    console = Console(width=width, file=io.StringIO())
    print_table([Row("001", metrics=metrics), Row("long_name_7", "failed: no mask")], console)
    text = console.file.getvalue()
    assert "…" not in text
    for number in ("0.0290", "38.7", "0.0230", "37.2", "0.070", "0.044"):
        assert number in text
    assert ("0.000896" in text) == (width == 160)
