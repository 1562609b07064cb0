"""A result that somebody else has made or that is damaged: nothing waits, nothing outside is read, the others go on."""

import base64
import json
import os

import pytest
from helpers import bump

from gan2shape_jax.apps.evaluate import find_runs
from gan2shape_jax.errors import UserError
from gan2shape_jax.main import main
from gan2shape_jax.results import load, load_metrics, save_result, write_outputs
from gan2shape_jax.results.outputs import OutputOptions

_DEEP = "[" * 1_000_000
_SECRET = "root:x:0:0:a secret"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    options = OutputOptions(preset="mesh", picture_size=32, animation=False)
    write_outputs(bump.result(), folder / "results" / "bad", options=options)
    save_result(bump.result(), folder / "results" / "good")
    return folder


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    """A run of two results, `bad` and `good`, in the current folder; beside it a secret."""
    for path in whole.rglob("*"):
        place = tmp_path / "run" / path.relative_to(whole)
        place.mkdir(parents=True) if path.is_dir() else (place.parent.mkdir(exist_ok=True), os.link(path, place))
    (tmp_path / "secret").write_text(_SECRET)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def _spoil(path, how):
    path.unlink(missing_ok=True)
    if how == "pipe":
        os.mkfifo(path)
    elif how in ("/dev/zero", "../../../secret"):
        path.symlink_to(how)
    else:
        path.write_text(how)


_BAD = [
    *(("depth.npy", how) for how in ("pipe", "/dev/zero", "../../../secret", "", "\x93NUMPY")),
    *(("result.json", how) for how in ("{", _DEEP, "[]", "../../../secret", '{"format": 1}')),
    ("texture_unlit.png", "pipe"),
    ("texture_unlit.png", "../../../secret"),
]


@pytest.mark.parametrize("name, how", _BAD, ids=lambda value: value[:20])
def test_a_bad_result_is_named_and_the_others_go_on(run, capsys, name, how):
    _spoil(run / "results" / "bad" / name, how)
    with pytest.raises(UserError, match=f"results/bad.*(damaged|missing|not read|not a file|not an image)|{name}"):
        load(run / "results" / "bad")
    for command in ("render {} --yaw 20 --size 16", "export print {}", "export spread {}", "edit {} --yaw 20"):
        assert main(command.format("run/results/bad").split()) == 1
        assert (said := capsys.readouterr().err).startswith("error: ") and "bad" in said and len(said) < 2000
    assert main(["page", "run", "--out", "all.html"]) == 0
    text = (run.parent / "all.html").read_text()
    assert 'id="model-1"' in text and "secret" not in text
    capsys.readouterr()
    main(["evaluate", "run", "--out", "evaluated"])
    said = capsys.readouterr().out
    assert "good" in (run.parent / "evaluated" / "images.csv").read_text() and "bad: " in said


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"metrics": value}
            for value in ([1], "a", {"prior": 1}, {"side": "a"}, {"side": [1]}, {"prior": {"mad": {"a": 1}}})
        ),
        *({"metrics": {"trust": value}} for value in ([], "no", {"grade": 1}, {"found": ["a"], "grade": "no"})),
        *(
            {"name": 1},
            {"category": []},
            {"camera": []},
            {"camera": {"image_size": "a"}},
            {"arrays": 5},
            {"reference": "a"},
            {"eyes": "a"},
            {"eyes": 1e300},
            {"eyes_mm": 0},
        ),
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_record_of_other_types_is_refused_by_name(run, change, capsys):
    path = run / "results" / "bad" / "result.json"
    record = json.loads(path.read_text()) | change
    path.unlink()
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="results/bad.*damaged"):
        load(run / "results" / "bad")
    assert main(["page", "run", "--out", "all.html"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_what_a_result_says_otherwise_is_as_it_was(run):
    metrics = {"side": None, "prior": {"side": 0.1}, "trust": {"grade": "no", "expected_side": None}, "frame": {"x": 1}}
    path = run / "results" / "bad" / "result.json"
    record = json.loads(path.read_text()) | {"metrics": metrics}
    path.unlink()
    path.write_text(json.dumps(record))
    assert load_metrics(path.parent) == metrics == load(path.parent).metrics


@pytest.mark.parametrize(
    "how", ["pipe", "/dev/zero", "../../../secret", _DEEP, "1\n2\n3", '{"format": 2, "thumb": 1}\n{}\n{}']
)
def test_a_bad_fragment_is_made_anew_or_left_out(run, how):
    _spoil(run / "results" / "bad" / "page.jsonl", how)
    assert main(["page", "run", "--out", "all.html"]) == 0
    text = (run.parent / "all.html").read_text()
    assert 'id="model-1"' in text and "secret" not in text
    assert ('id="model-0"' in text) is ("thumb" not in how)


def test_a_page_that_is_passed_on_holds_nothing_from_elsewhere(run):
    for path in (run / "results" / "bad").glob("mesh*"):
        path.unlink()
        path.symlink_to("../../../secret")
    assert main(["page", "run/results/bad", "--out", "one.html"]) == 0
    text = (run.parent / "one.html").read_text()
    assert 'id="model-0"' in text
    assert base64.b64encode(_SECRET.encode())[:16].decode() not in text


def test_a_link_inside_a_result_is_read(run):
    folder = run / "results" / "bad"
    (folder / "depth.npy").rename(folder / "kept.npy")
    (folder / "depth.npy").symlink_to("kept.npy")
    assert load(folder).name == load(run / "results" / "good").name


def test_a_damaged_configuration_of_a_result_stops_no_others(run, capsys):
    (run / "results" / "bad" / "config.json").write_text(_DEEP)
    (actual,) = find_runs([run])
    with pytest.raises(UserError, match=r"results/bad/config\.json is damaged"):
        actual.config(next(name for name in actual.images if "bad" in name))
    assert main(["evaluate", "run"]) == 0
