"""Evaluating what others have left in a run's folder: each file of it may be made to do harm."""

import json
import os

import numpy as np
import pytest
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.apps.evaluate.command import main
from gan2shape_jax.config import load_config, to_json
from gan2shape_jax.results import save_result

_CONFIG = json.loads(to_json(load_config("ictface")))
_DEEP = "[" * 100_000


@pytest.fixture
def run(tmp_path):
    for name in ("a", "b"):
        save_result(plain_result(name), tmp_path / "run" / "results" / name)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", _DEEP),
        ("config.json", "[1]"),
        ("config.json", json.dumps(_CONFIG | {"data": []})),
        ("config.json", json.dumps(_CONFIG | {"data": _CONFIG["data"] | {"crop": "all"}})),
        ("config.json", json.dumps(_CONFIG | {"data": _CONFIG["data"] | {"crop": {"a": 1}}})),
        ("config.json", json.dumps(_CONFIG | {"data": _CONFIG["data"] | {"crop": -5}})),
        ("config.json", "9" * 5000),
        ("failures.json", _DEEP),
        ("failures.json", '["a"]'),
        ("failures.json", '{"c": 1}'),
        ("failures.json", '{"c": {"d": "e"}}'),
    ],
)
def test_a_file_of_the_run_that_is_none_is_an_error_by_its_name(name, content, run, capsys):
    (run / name).write_text(content)
    assert main([str(run)]) == 1
    assert name in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_are_not_waited_for(run, tmp_path, capsys):
    os.mkfifo(run / "versions.json")
    (run / "results" / "a" / "result.json").rename(run / "results" / "a" / "former.json")
    os.mkfifo(run / "results" / "a" / "result.json")
    assert main([str(run), "--out", str(tmp_path / "out")]) in (0, 1)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"][0]["made_with"] is None
    os.mkfifo(run / "failures.json")
    assert main([str(run)]) == 1
    assert "failures.json is a named pipe" in capsys.readouterr().err


@pytest.mark.parametrize("content", [_DEEP, "{", '{"a": NaN}', "[]", "\udcff"])
def test_versions_that_cannot_be_read_are_unknown(content, run, tmp_path):
    (run / "versions.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    main([str(run), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"][0]["made_with"] is None


def test_true_depths_that_are_none_are_said_of_their_images(run, tmp_path, capsys):
    truth = tmp_path / "truth"
    truth.mkdir()
    np.save(truth / "a.npy", np.full((16, 16), 1e300))
    Image.new("RGB", (16, 15)).save(truth / "b.png")
    assert main([str(run), "--truth", str(truth)]) == 1
    shown = capsys.readouterr().out
    assert "a.npy holds numbers that are not finite" in shown and "has to be square" in shown
