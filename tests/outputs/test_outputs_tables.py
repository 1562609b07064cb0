"""Metrics, tables and the page of a run."""

import io
import json

import numpy as np
import pytest
from helpers import bump
from rich.console import Console

from gan2shape_jax.outputs import Result, Row, print_table, write_metrics, write_page, write_table


@pytest.fixture(scope="module")
def result() -> Result:
    return bump.result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory):
    return bump.write(result, tmp_path_factory.mktemp("run") / "bump")


def test_metrics_file_has_the_promised_keys_and_no_nan(result, written, tmp_path):
    metrics = json.loads((written / "metrics.json").read_text())
    assert metrics["side"] == 0.01 and metrics["prior"]["mad"] == 30.0
    assert metrics["reconstruction_l1"] == 0 and metrics["inversion_l1"] is None
    write_metrics(tmp_path / "m.json", {"side": np.float32(0.5), "mad": float("nan")})
    assert json.loads((tmp_path / "m.json").read_text()) == {"side": 0.5, "mad": None}


def test_table_has_a_row_an_image_then_mean_and_median_of_what_is_known(tmp_path):
    rows = [
        Row("a", metrics={"side": 0.01, "mad": 10.0, "prior": {"side": 0.03}}),
        Row("b|c", "failed: x"),
        Row("d", metrics={"side": 0.02}),
        Row("e", metrics={"side": 0.06, "mad": float("nan")}),
    ]
    write_table(tmp_path, rows)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    cells = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [row["name"] for row in cells] == ["a", "b|c", "d", "e", "mean", "median"]
    assert float(cells[4]["side"]) == pytest.approx(0.03) and float(cells[5]["side"]) == 0.02
    assert cells[1]["side"] == "" and cells[3]["mad"] == "" and float(cells[4]["mad"]) == 10
    assert float(cells[0]["prior_side"]) == 0.03 and cells[1]["status"] == "failed: x"
    text = (tmp_path / "results.md").read_text().splitlines()
    assert len({line.replace("\\|", "").count("|") for line in text}) == 1


def test_an_empty_table_is_still_a_table(tmp_path):
    write_table(tmp_path, [])
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 3


def test_page_links_what_exists_and_escapes_names(written):
    write_page(written.parent, [Row("bump"), Row("<b>", "failed: <i>")])
    page = (written.parent / "index.html").read_text()
    assert "bump/overview.png" in page and "bump/mesh.glb" in page
    assert "<b>" not in page and "<i>" not in page and "%3Cb%3E/overview.png" not in page


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
