"""The page of ablations from the JSON that the benchmark writes."""

import csv
import io

import numpy as np
import pytest

from benchmarks import ablations_page as pages
from configs.ablation import VARIANTS

FACES = ("001", "002", "005", "006")


def _metrics(side, mad=20.0):
    metrics = dict.fromkeys(pages.METRICS, 1.0) | {"side": side, "mad": mad}
    return metrics | {"prior": metrics | {"side": 0.03}}


@pytest.fixture
def found():
    """Two seeds of the whole method, one of two variants: one clearly worse in SIDE, one scattered around it."""
    whole = {face: {"0": _metrics(0.010 + 0.002 * i), "1": _metrics(0.012 + 0.002 * i)} for i, face in enumerate(FACES)}
    flat = {face: {"0": _metrics(0.021 + 0.002 * i + 0.0001 * (i % 2))} for i, face in enumerate(FACES)}
    shifted = {face: {"0": _metrics(0.011 + 0.002 * i + 0.004 * (-1) ** i)} for i, face in enumerate(FACES)}
    return {"shifted": shifted, "flat": flat, "whole": whole}


def _row(text, variant, column):
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {variant} | 4 |")]
    return line.split(" | ")[column]


def test_every_variant_of_the_config_has_a_meaning():
    assert tuple(pages.MEANING) == (pages.WHOLE, *VARIANTS)


def test_means_are_over_faces_of_means_over_seeds(found):
    text = pages.tables(found)
    assert _row(text, "whole", 3).startswith(f"{np.mean([0.011, 0.013, 0.015, 0.017]):.4f} (")
    assert _row(text, "flat", 2) == "0.0300 (0.0300 to 0.0300)"


def test_differences_are_paired_and_the_clear_ones_marked(found):
    text = pages.tables(found)
    assert _row(text, "flat", 5).startswith("+0.01") and _row(text, "flat", 5).endswith(" *")
    assert not _row(text, "shifted", 5).endswith("*")
    assert "Clearly worse than the whole method: `flat` (SIDE)." in text
    assert "Not told apart from it by so few faces: `shifted`." in text


def test_page_names_the_schedule_and_lists_the_whole_method_first(found):
    text = pages.page(found)
    assert "400 iterations for the prior, then one stage of 100 / 100 / 120" in text
    assert text.index("- `whole`") < text.index("- `flat`") < text.index("- `shifted`")
    assert "| whole | 0.0110 / 20.0 |" in text


def test_variants_without_faces_or_base_make_a_page_too(found):
    only = pages.page({"flat": {"001": {"0": _metrics(0.02)}}})
    assert "| flat | 1 | 0.0300 | 0.0200 | 20.0 |" in only and "Clearly" not in only
    assert pages.tables({}) == "Nothing has been finished yet.\n"


def test_text_above_the_figures_is_kept_and_older_figures_are_replaced(found, tmp_path):
    path = tmp_path / "ablations.md"
    path.write_text("# Ablations\n\nRead by people.\n\n## Figures\n\nof last year\n")
    pages.write_page(path, found)
    text = path.read_text()
    assert text.startswith("# Ablations\n\nRead by people.\n\n## Figures\n\nOne part") and "last year" not in text
    assert "| whole | 0.0110 / 20.0 |" in text


def test_csv_has_a_row_for_every_result(found):
    rows = list(csv.DictReader(io.StringIO(pages.csv_table(found))))
    assert len(rows) == 16
    assert float(rows[0]["side"]) == found["shifted"]["001"]["0"]["side"] and rows[0]["prior_side"] == "0.03"
