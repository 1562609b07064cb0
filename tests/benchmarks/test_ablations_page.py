"""The tables of the ablations, and the page that is made of them."""

import csv
import io

import numpy as np
import pytest

from benchmarks.pages import ablations_page
from benchmarks.quality import ablation_tables
from configs.ablation import VARIANTS

FACES = ("001", "002", "005", "006")


def _metrics(side, mad=20.0):
    figures = dict.fromkeys(ablation_tables.METRICS, 1.0) | {"side": side, "mad": mad}
    return figures | {"prior": figures | {"side": 0.03}}


@pytest.fixture
def metrics():
    """Two seeds of the whole method, one of two variants: one clearly worse in SIDE, one scattered around it."""
    whole = {face: {"0": _metrics(0.010 + 0.002 * i), "1": _metrics(0.012 + 0.002 * i)} for i, face in enumerate(FACES)}
    flat = {face: {"0": _metrics(0.021 + 0.002 * i + 0.0001 * (i % 2))} for i, face in enumerate(FACES)}
    shifted = {face: {"0": _metrics(0.011 + 0.002 * i + 0.004 * (-1) ** i)} for i, face in enumerate(FACES)}
    return {"shifted": shifted, "flat": flat, "whole": whole}


def _row(text, variant, column):
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {variant} | 4 |")]
    return line.split(" | ")[column]


def test_every_variant_of_the_config_has_a_meaning():
    assert tuple(ablation_tables.MEANING) == (ablation_tables.WHOLE, *VARIANTS)


def test_means_are_over_faces_of_means_over_seeds(metrics):
    text = ablation_tables.tables(metrics)
    assert _row(text, "whole", 3).startswith(f"{np.mean([0.011, 0.013, 0.015, 0.017]):.4f} (")
    assert _row(text, "flat", 2) == "0.0300 (0.0300 to 0.0300)"


def test_differences_are_paired_and_the_clear_ones_marked(metrics):
    text = ablation_tables.tables(metrics)
    assert _row(text, "flat", 5).startswith("+0.01") and _row(text, "flat", 5).endswith(" *")
    assert not _row(text, "shifted", 5).endswith("*")
    assert "Clearly worse than the whole method: `flat` (SIDE)." in text
    assert "Not told apart from it by so few faces: `shifted`." in text


def test_page_names_the_schedule_and_lists_the_whole_method_first(metrics):
    text = ablations_page.figures(ablation_tables.tables(metrics))
    assert "400 iterations for the prior, then one stage of 100 / 100 / 120" in text
    assert text.index("- `whole`") < text.index("- `flat`") < text.index("- `shifted`")
    assert "| whole | 0.0110 / 20.0 |" in text


def test_variants_without_faces_or_base_make_a_page_too():
    only = ablations_page.figures(ablation_tables.tables({"flat": {"001": {"0": _metrics(0.02)}}}))
    assert "| flat | 1 | 0.0300 | 0.0200 | 20.0 |" in only and "Clearly" not in only
    assert ablation_tables.tables({}) == "Nothing has been finished yet.\n"


def test_text_above_the_figures_is_kept_and_older_figures_are_replaced(metrics, tmp_path):
    path = tmp_path / "ablations.md"
    path.write_text("# Ablations\n\nRead by people.\n\n## Figures\n\nof last year\n")
    ablations_page.write_page(path, ablation_tables.tables(metrics))
    text = path.read_text()
    assert text.startswith("# Ablations\n\nRead by people.\n\n## Figures\n\nOne part") and "last year" not in text
    assert "| whole | 0.0110 / 20.0 |" in text


def test_csv_has_a_row_for_every_result(metrics):
    rows = list(csv.DictReader(io.StringIO(ablation_tables.csv_table(metrics))))
    assert len(rows) == 16
    assert float(rows[0]["side"]) == metrics["shifted"]["001"]["0"]["side"] and rows[0]["prior_side"] == "0.03"
