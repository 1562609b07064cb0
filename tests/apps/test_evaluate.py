"""Evaluating saved results: where they are found, figures, tables, comparisons, hostile names, what can be wrong."""

import csv
import io
import json
import math
import os
import re
import shutil
import sys

import numpy as np
import pytest
from helpers import bump
from helpers.plain_result import plain_result
from PIL import Image
from scipy import stats

from gan2shape_jax.apps.evaluate import METRICS, Score, compare, find_runs, main, mean_of, score_run
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import render
from gan2shape_jax.main import main as program
from gan2shape_jax.method import metrics
from gan2shape_jax.results import Reconstruction, save_result
from gan2shape_jax.results.tables import csv_value

SIZE = 16
FAR = 1.1


def _result(name: str, size: int = SIZE, tilt: float = 0.0, truth: bool = True) -> Reconstruction:
    """A bump whose depth is off by `tilt` from side to side; a stored figure has to be computed anew."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    height = np.clip(0.8 - x**2 - y**2, 0, None)
    true = np.where(height > 0, 1.05 - 0.08 * height, FAR) if truth else None
    depth, picture = 1.05 - 0.08 * height + tilt * x, np.full((size, size, 3), 0.25)
    stored = {"side": 123.0, "reconstruction_l1": 0.25}
    fields = {"input_depth": depth, "true_depth": true, "reconstruction": picture, "metrics": stored}
    return plain_result(name, size, category="face", **fields)


def _run(folder, *results):
    """A run's folder with these results; a name stands for a bump."""
    for result in results:
        name, fields = (result, bump.result()) if isinstance(result, str) else (result.name, result)
        save_result(fields, folder / "results" / name)
    (folder / "config.json").write_text('{"seed": 3}')
    return folder


@pytest.fixture
def two_runs(tmp_path):
    first = _run(tmp_path / "first", *(_result(n, tilt=t) for n, t in (("a", 0.01), ("b", 0.02), ("c", 0.03))))
    second = _run(tmp_path / "second", *(_result(n, tilt=t) for n, t in (("a", 0.02), ("b", 0.03), ("d", 0))))
    return first, second


def _scores(folder, truth=None):
    return {score.name: score for score in score_run(find_runs([folder])[0], truth)}


def test_figures_are_those_of_the_metrics_not_the_stored_ones(two_runs):
    score, result = _scores(two_runs[0])["b"], _result("b", tilt=0.02)
    valid = render.valid_pixels(result.input_depth, result.camera)
    errors = metrics.depth_metrics(result.input_depth, result.true_depth, valid, result.camera)
    for name, value in errors.items():
        assert score.figures[name] == pytest.approx(float(value), rel=1e-5), name
    assert score.figures["side"] < 0.1 and score.figures["reconstruction_l1"] == pytest.approx(0.25)


def test_a_folder_of_truth_takes_the_place_of_the_saved_truth(two_runs, tmp_path):
    """True depths are found by the path of the result, or by the image's own name."""
    (tmp_path / "truth" / "first").mkdir(parents=True)
    np.save(tmp_path / "truth" / "a.npy", _result("a", tilt=0.01).input_depth)
    np.save(tmp_path / "truth" / "first" / "b.npy", _result("b").true_depth)
    scores = _scores(tmp_path, tmp_path / "truth")
    assert scores["first/a"].figures["side"] == pytest.approx(0, abs=1e-6)
    assert scores["first/b"].figures["side"] > 0
    assert "side" not in scores["first/c"].figures and not scores["first/c"].broken
    assert "no true depth first/c.npy or first/c.png" in scores["first/c"].problem


def test_results_without_truth_keep_what_needs_none(tmp_path, capsys):
    folder = _run(tmp_path / "run", _result("a", truth=False), _result("b", 32, truth=False))
    assert main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "the result has no true depth" in shown and "0.250" in shown and "SIDE |" not in shown
    assert "images of several sizes: normals" in shown


def test_comparison_pairs_by_name_and_says_what_is_left_over(two_runs):
    comparison = compare({run.label: score_run(run) for run in find_runs(two_runs)}, "first", "second")
    assert comparison.images == 2 and comparison.notes == ["only in first: c", "only in second: d"]
    by_hand = np.mean([_scores(two_runs[1])[n].figures["side"] - _scores(two_runs[0])[n].figures["side"] for n in "ab"])
    assert comparison.differences["side"].mean == pytest.approx(by_hand)
    assert comparison.differences["reconstruction_l1"].mean == 0


def test_images_of_other_sizes_and_other_truths_are_not_compared():
    def scores(*fields):
        return [
            Score(name, dict.fromkeys(METRICS, value), size=size, truth=truth) for name, value, size, truth in fields
        ]

    first = scores(*((name, 1.0, 64, 1) for name in "abc"))
    two = scores(("a", 3.0, 128, 1), ("b", 4.0, 64, 2), ("c", 2.0, 64, 1))
    comparison = compare({"one": first, "two": two}, "one", "two")
    assert comparison.differences["side"].count == 1 and comparison.differences["side"].mean == 1.0
    assert comparison.differences["inversion_l1"].count == 2 and comparison.differences["inversion_l1"].mean == 2.0
    assert comparison.notes == [
        "a: of different sizes, not compared",
        "b: the runs' true depths differ, depth errors not compared",
    ]


def test_command_writes_tables_that_agree(two_runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert program(["evaluate", *map(str, two_runs), "--out", str(out)]) == 0
    assert (out / "evaluation.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    rows = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert [(r["run"], r["name"]) for r in rows] == [("first", n) for n in "abc"] + [("second", n) for n in "abd"]
    summary = list(csv.DictReader(io.StringIO((out / "summary.csv").read_text())))
    (mean,) = [r for r in summary if (r["run"], r["metric"]) == ("first", "mad")]
    assert float(mean["mean"]) == pytest.approx(np.mean([float(r["mad"]) for r in rows[:3]]))
    assert float(mean["low"]) < float(mean["mean"]) < float(mean["high"]) and mean["images"] == "3"
    (pair,) = [r for r in summary if (r["run"], r["metric"]) == ("second - first", "side")]
    assert pair["images"] == "2"


def test_damaged_results_and_truths_that_do_not_fit_are_said_and_the_others_scored(two_runs, tmp_path, capsys):
    np.save(two_runs[0] / "results" / "a" / "warped_depth.npy", np.ones((3, 3), np.float32))
    (two_runs[0] / "failures.json").write_text('{"e": "no latent"}')
    assert main([str(two_runs[0])]) == 1
    shown = capsys.readouterr().out
    assert "warped_depth has shape (3, 3)" in shown and "first: e: the run failed: no latent" in shown
    assert "| first | 2 | 0.0" in shown
    truth = tmp_path / "truth"
    truth.mkdir()
    corner = np.zeros((SIZE, SIZE), np.float32)
    corner[0, 0] = 1  # an object where the reconstruction has none that counts
    for depth, message in (
        (np.zeros((SIZE, SIZE), np.float32), "shows no object"),
        (corner, "no pixel in common"),
        (np.ones((8, 8), np.float32), "(16, 16) is expected"),
        (np.full((SIZE, SIZE), 1e300), "a.npy holds numbers that are too large"),
    ):
        np.save(truth / "a.npy", depth)
        assert main([str(two_runs[1]), "--truth", str(truth)]) == 1
        shown = capsys.readouterr().out
        assert message in shown and "nan" not in shown
    Image.new("RGB", (16, 15)).save(truth / "b.png")
    main([str(two_runs[1]), "--truth", str(truth)])
    assert "must be square" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "there is no such folder"),
        (["."], "holds no results"),
        ([".", "."], "is named twice"),
        ([".", "--truth", "absent"], "--truth absent is not a folder"),
    ],
)
def test_unusable_folders_are_refused_in_words(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_a_file_of_the_run_that_is_none_is_an_error_by_its_name(two_runs, capsys):
    (two_runs[0] / "config.json").write_text("[1]")
    np.save(two_runs[0] / "a.npy", _result("a").true_depth)
    assert main([str(two_runs[0]), "--truth", str(two_runs[0])]) == 1  # which the configuration may crop
    assert "config.json" in capsys.readouterr().out
    (two_runs[0] / "failures.json").write_text("[1]")
    assert main([str(two_runs[0])]) == 1
    assert "failures.json" in capsys.readouterr().err


def test_mean_of_is_scipys():
    values = np.random.default_rng(0).normal(3.0, 2.0, 7)
    ours = mean_of(values)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert (ours.mean, ours.low, ours.high, ours.count) == pytest.approx((values.mean(), low, high, 7))


def test_one_value_has_no_interval():
    single = mean_of([2.5])
    assert (single.mean, single.count) == (2.5, 1)
    assert math.isnan(single.low) and math.isnan(single.high)


def _images(*paths):
    return [list(run.images) for run in find_runs(paths)]


def test_names_are_paths_below_the_folder_of_results(tmp_path):
    run = _run(tmp_path / "run", "a", "people/b", "result.json", "results/c")
    save_result(bump.result(), run / "results" / ".a.abcdefgh.part")
    assert _images(run) == [["a", "people/b", "result.json", "results/c"]]
    assert _images(run / "results") == [["a", "people/b", "result.json", "results/c"]]
    assert _images(run / "results" / "people") == [["b"]]


def test_runs_pair_by_name_also_below_a_folder_of_runs(tmp_path):
    first = _run(tmp_path / "all" / "first", "a", "people/b")
    second = _run(tmp_path / "all" / "second", "a", "people/b")
    assert _images(first, second) == [["a", "people/b"]] * 2
    assert _images(tmp_path / "all") == [["first/a", "first/people/b", "second/a", "second/people/b"]]
    paths = [_run(tmp_path / name / "run", "a") for name in ("one", "two")]
    assert [run.label for run in find_runs(paths)] == ["one/run", "two/run"]  # as long as it takes to differ
    assert [run.label for run in find_runs(paths[:1])] == ["run"]


def test_one_image_knows_its_run_and_a_run_and_its_results_are_one(tmp_path):
    run = _run(tmp_path / "run", "a")
    (runs,) = find_runs([run / "results/a"])
    assert runs.home == run and runs.config("a").seed == 3 and list(runs.images) == ["a"]
    with pytest.raises(UserError, match="is named twice"):
        find_runs([run, run / "results"])


def test_names_in_reports_are_text(tmp_path, capsys):
    """Folders may be called anything: control characters among it, for nobody has checked their names."""
    names = ("=1+1", "a|b`c`", "<img src=x>", "x[y](z)", "t\x1b]0;owned\x07", "two\nlines", "- x")
    run = _run(tmp_path / "=run|<b>", *names)
    if sys.platform == "linux":  # bytes that are no text
        shutil.copytree(run / "results" / "- x", os.fsdecode(os.fsencode(run / "results") + b"/\xff"))
    failures = {"\x1b[2J": "no\x1b[2J | <b>latent</b>\nat all", "@SUM(A1)": "x"}
    (run / "failures.json").write_text(json.dumps(failures))
    out = tmp_path / "out"
    assert program(["evaluate", str(run), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for text in (shown, (out / "evaluation.md").read_text()):
        assert "\x1b" not in text and "\x07" not in text and not re.search(r"<(b|img)", text)
        assert r"no\\x1b\[2J \| &lt;b&gt;latent" in text and r"=run\|" in text
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row[key] for row in rows for key in ("run", "name", "problem") if row[key]]
    assert not [text for text in texts if text[0] in "=+-@\t\r\n" or "\x1b" in text]
    assert {"=1+1", "a|b`c`", "<img src=x>", "@SUM(A1)"} <= {csv_value(row["name"]) for row in rows}
