"""Evaluating saved results: figures as the metrics give them, tables, comparisons, and what can be wrong."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest

from gan2shape_jax.apps.evaluate.command import METRICS, Score, ScoredRun, compare, main, score_run
from gan2shape_jax.apps.evaluate.runs import config_hash, find_runs, read_config
from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.geometry import render
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.main import main as program
from gan2shape_jax.method import metrics
from gan2shape_jax.results import Result, save_result

SIZE = 16
FAR = 1.1


def _result(name: str, size: int = SIZE, tilt: float = 0.0, truth: bool = True) -> Result:
    """A bump whose depth is off by `tilt` from side to side."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    height = np.clip(0.8 - x**2 - y**2, 0, None)
    true = np.where(height > 0, 1.05 - 0.08 * height, FAR)
    sheet = np.ones((size, size))
    picture = np.zeros((size, size, 3))
    return Result(
        name=name,
        camera=Camera(size),
        depth=sheet,
        albedo=picture,
        view=np.zeros(6),
        light=np.zeros(4),
        mask=sheet,
        image=picture,
        input_mask=sheet,
        canonical=picture,
        reconstruction=picture + 0.25,
        warped_depth=1.05 - 0.08 * height + tilt * x,
        true_depth=true if truth else None,
        metrics={"side": 123.0},
        category="face",
    )  # a stored figure that has to be computed anew


def _run(folder, **results):
    for name, result in results.items():
        save_result(result, folder / name.replace("__", "/"))
    return folder


@pytest.fixture
def two_runs(tmp_path):
    first = _run(tmp_path / "first", a=_result("a", tilt=0.01), b=_result("b", tilt=0.02), c=_result("c", tilt=0.03))
    second = _run(tmp_path / "second", a=_result("a", tilt=0.02), b=_result("b", tilt=0.03), d=_result("d"))
    return first, second


def _scores(folder, truth=None):
    return {score.name: score for score in score_run(find_runs([folder])[0], truth)}


def test_figures_are_those_of_the_metrics_not_the_stored_ones(two_runs):
    score = _scores(two_runs[0])["b"]
    result = _result("b", tilt=0.02)
    valid = render.valid_pixels(result.warped_depth, result.camera)
    errors = metrics.depth_metrics(result.warped_depth, result.true_depth, valid, result.camera)
    for name, value in errors.items():
        assert score.figures[name] == pytest.approx(float(value), rel=1e-5), name
    assert score.figures["side"] < 0.1
    assert score.figures["reconstruction_l1"] == pytest.approx(0.25)


def test_truth_folder_takes_the_place_of_the_saved_truth(two_runs, tmp_path):
    truth = tmp_path / "truth"
    truth.mkdir()
    np.save(truth / "a.npy", _result("a", tilt=0.01).warped_depth)
    scores = _scores(two_runs[0], truth)
    assert scores["a"].figures["side"] == pytest.approx(0, abs=1e-6)
    assert "side" not in scores["b"].figures and "no true depth b.npy or b.png" in scores["b"].problem
    assert not scores["b"].broken


def test_truth_is_found_by_the_images_own_name_too(tmp_path):
    folder = _run(tmp_path / "many", first__a=_result("a"), second__b=_result("b"))
    truth = tmp_path / "truth"
    (truth / "second").mkdir(parents=True)
    np.save(truth / "a.npy", _result("a").true_depth)
    np.save(truth / "second/b.npy", _result("b").true_depth)
    assert all("side" in score.figures for score in _scores(folder, truth).values())


def test_results_without_truth_keep_what_needs_none(tmp_path, capsys):
    folder = _run(tmp_path / "run", a=_result("a", truth=False))
    assert main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "the result has no true depth" in shown and "0.250" in shown and "SIDE |" not in shown


def test_one_image_is_a_run_of_one(two_runs):
    (run,) = find_runs([two_runs[0] / "a"])
    assert run.label == "a" and list(run.images) == ["a"]


def test_names_below_folders_are_paths_and_half_written_folders_are_passed_over(tmp_path):
    folder = _run(tmp_path / "run", people__a=_result("people/a"), people__b=_result("people/b"))
    shutil.copytree(folder / "people/a", folder / "people/.a.x.part")
    (run,) = find_runs([folder])
    assert list(run.images) == ["people/a", "people/b"]


def test_labels_are_as_long_as_it_takes_to_differ(tmp_path):
    for name in ("one", "two"):
        _run(tmp_path / name / "run", a=_result("a"))
    assert [run.label for run in find_runs([tmp_path / "one/run", tmp_path / "two/run"])] == ["one/run", "two/run"]


def test_comparison_pairs_by_name_and_says_what_is_left_over(two_runs):
    first, second = (ScoredRun(run, score_run(run)) for run in find_runs(two_runs))
    comparison = compare(first, second)
    assert comparison.images == 2
    assert comparison.notes == ["only in first: c", "only in second: d"]
    by_hand = np.mean([_scores(two_runs[1])[n].figures["side"] - _scores(two_runs[0])[n].figures["side"] for n in "ab"])
    assert comparison.differences["side"].estimate == pytest.approx(by_hand)
    assert comparison.differences["reconstruction_l1"].estimate == 0


def test_images_of_other_sizes_and_other_truths_are_not_compared():
    def run(label, **scores):
        folder = dataclasses.make_dataclass("Folder", ["label"])(label)
        return ScoredRun(
            folder,
            [
                Score(name, dict.fromkeys(METRICS, value), size=size, truth=truth)
                for name, (value, size, truth) in scores.items()
            ],
        )

    comparison = compare(
        run("one", a=(1.0, 64, 1), b=(1.0, 64, 1), c=(1.0, 64, 1)),
        run("two", a=(3.0, 128, 1), b=(4.0, 64, 2), c=(2.0, 64, 1)),
    )
    assert comparison.differences["side"].count == 1 and comparison.differences["side"].estimate == 1.0
    assert comparison.differences["inversion_l1"].count == 2 and comparison.differences["inversion_l1"].estimate == 2.0
    assert comparison.notes == [
        "a: of different sizes (64 and 128 pixels for a), not compared",
        "b: the runs' true depths differ, depth errors not compared",
    ]


def test_command_writes_tables_that_agree(two_runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert program(["evaluate", *map(str, two_runs), "--out", str(out)]) == 0
    assert (out / "evaluation.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    rows = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert [(r["run"], r["name"]) for r in rows] == [("first", n) for n in "abc"] + [("second", n) for n in "abd"]
    summary = list(csv.DictReader(io.StringIO((out / "summary.csv").read_text())))
    (mean,) = [r for r in summary if (r["run"], r["metric"], r["statistic"]) == ("first", "mad", "mean")]
    assert float(mean["estimate"]) == pytest.approx(np.mean([float(r["mad"]) for r in rows[:3]]))
    assert float(mean["low"]) < float(mean["estimate"]) < float(mean["high"]) and mean["images"] == "3"
    (pair,) = [r for r in summary if r["metric"] == "side" and r["statistic"] == "mean paired difference"]
    assert pair["run"] == "second - first" and pair["images"] == "2"


def test_manifest_is_the_same_for_the_same_results_elsewhere(two_runs, tmp_path):
    places = [tmp_path / place / "first" for place in ("here", "elsewhere")]
    records = []
    for i, folder in enumerate(places):
        shutil.copytree(two_runs[0], folder / "results")
        (folder / "config.json").write_text(to_json(load_config("ictface")))
        assert main([str(folder), "--out", str(tmp_path / f"out{i}")]) == 0
        records.append(json.loads((tmp_path / f"out{i}/manifest.json").read_text()))
        assert records[-1]["runs"][0].pop("path") == str(folder)
    assert records[0] == records[1]
    assert records[0]["runs"][0]["config_sha256"] == config_hash(load_config("ictface").to_dict())


def test_config_hash_heeds_what_changes_results_only():
    config = json.loads(to_json(load_config("ictface")))
    other = {**config, "workdir": "elsewhere", "logging": {}}
    assert config_hash(config) == config_hash(other) != config_hash({**config, "seed": 1})
    assert config_hash(None) is None


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("precision", "bfloat16", False),
        ("precision", "float32", False),
        ("deterministic", True, False),
        ("iterations_per_call", 7, False),
        ("images_at_once", 4, True),
        ("compilation_cache", "off", True),
        ("hosts", "one", True),
        ("hosts_timeout_s", 7, True),
    ],
)
def test_config_hash_heeds_what_results_depend_on_in_the_runtime(field, value, same):
    config = json.loads(to_json(load_config("ictface")))
    other = {**config, "runtime": {**config["runtime"], field: value}}
    assert (config_hash(config) == config_hash(other)) is same


def test_a_runs_configuration_comes_back_as_it_was(tmp_path):
    folder = _run(tmp_path / "run" / "results", a=_result("a")).parent
    config = load_config("cat")
    (folder / "config.json").write_text(to_json(config))
    assert to_json(read_config(find_runs([folder])[0])) == to_json(config)


def test_a_damaged_result_is_reported_and_the_others_are_scored(two_runs, capsys):
    np.save(two_runs[0] / "a" / "warped_depth.npy", np.ones((3, 3), np.float32))
    (two_runs[0] / "failures.json").write_text('{"e": "no latent"}')
    assert main([str(two_runs[0])]) == 1
    shown = capsys.readouterr().out
    assert "warped_depth.npy is no float32 array" in shown and "first: e: the run failed: no latent" in shown
    assert shown.count("| b | 0.0") == 1


def test_truth_of_another_image_is_said_and_not_a_nan(tmp_path, capsys):
    folder = _run(tmp_path / "run", a=_result("a"))
    truth = tmp_path / "truth"
    truth.mkdir()
    depth = np.zeros((SIZE, SIZE), np.float32)  # nothing but background
    np.save(truth / "a.npy", depth)
    assert main([str(folder), "--truth", str(truth)]) == 1
    shown = capsys.readouterr().out
    assert "shows no object" in shown and "nan" not in shown
    depth[0, 0] = 1  # an object where the reconstruction has none that counts
    np.save(truth / "a.npy", depth)
    assert main([str(folder), "--truth", str(truth)]) == 1
    shown = capsys.readouterr().out
    assert "no pixel in common" in shown and "nan" not in shown
    np.save(truth / "a.npy", np.ones((8, 8), np.float32))
    assert main([str(folder), "--truth", str(truth)]) == 1
    assert "(16, 16) is needed" in capsys.readouterr().out


def test_several_sizes_are_pointed_out(tmp_path, capsys):
    folder = _run(tmp_path / "run", a=_result("a"), b=_result("b", size=32))
    assert main([str(folder)]) == 0
    assert "images of several sizes (16, 32 pixels)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "make, options, message",
    [
        (lambda p: p / "absent", [], "there is no such folder"),
        (lambda p: p, [], "holds no results"),
        (lambda p: p, ["."], "is named twice"),
        (lambda p: p, ["--truth", "absent"], "--truth absent is not a folder"),
    ],
)
def test_unusable_folders_are_refused_in_words(make, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(make(tmp_path)), *options]) == 1
    assert message in capsys.readouterr().err


def test_a_damaged_configuration_is_named(two_runs, capsys):
    shutil.copytree(two_runs[0], two_runs[0] / "results")
    (two_runs[0] / "config.json").write_text("[1")
    assert main([str(two_runs[0])]) == 1
    assert "config.json is damaged" in capsys.readouterr().err
