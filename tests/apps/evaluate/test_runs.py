"""Finding results: in runs, below several runs, and under names made to do harm."""

import csv
import json
import os
import re
import shutil
import sys

import pytest
from helpers import bump

from gan2shape_jax.apps.evaluate import identity
from gan2shape_jax.apps.evaluate.reports import find_runs
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.results import save_result
from gan2shape_jax.results.page import csv_value


def _run(root, *names):
    """A run's folder with results of these images."""
    for name in names:
        save_result(bump.result(), root / "results" / name)
    (root / "config.json").write_text(json.dumps({"seed": 3}))
    (root / "versions.json").write_text("{}")
    return root


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
    (found,) = find_runs([run / "results/a"])
    assert found.home == run and found.config.seed == 3 and list(found.images) == ["a"]
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
    assert main(["evaluate", str(run), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for text in (shown, (out / "evaluation.md").read_text()):
        assert "\x1b" not in text and "\x07" not in text and not re.search(r"<(b|img)", text)
        assert r"t\\x1b\]0;owned\\x07" in text and r"a\|b\`c\`" in text
    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3, 10}
    with (out / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row[key] for row in rows for key in ("run", "name", "problem") if row[key]]
    assert not [text for text in texts if text[0] in "=+-@\t\r\n" or "\x1b" in text]
    assert {"=1+1", "a|b`c`", "<img src=x>", "@SUM(A1)"} <= {csv_value(row["name"]) for row in rows}


def test_pictures_of_images_have_names_of_their_own_in_one_folder():
    assert identity.picture_name("run", "001") == "run_001.png"
    pairs = [("x", "a_b"), ("x_a", "b"), ("x", "a/b"), ("x", "a b"), ("x", "a\x1bb"), ("x", "../a"), ("..", "b")]
    pairs += [("x", "ü" * 300), ("x", "ü" * 299), ("x", "\ud800"), ("x/y", "a"), ("x", "y/a")]
    names = [identity.picture_name(*pair) for pair in pairs]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-][\w.-]*\.png", name) and len(name.encode()) < 255 for name in names)
