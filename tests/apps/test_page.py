"""`gan2shape-jax page`: one file of any results, wherever they lie, and its messages."""

import json
import re

import pytest
from helpers import bump
from helpers.plain_result import plain_result

from gan2shape_jax.main import main
from gan2shape_jax.results import save_result


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with three results, only their arrays; one below a folder, one damaged."""
    monkeypatch.chdir(tmp_path)
    save_result(bump.result(), tmp_path / "run" / "results" / "006")
    save_result(plain_result("b c", metrics={"side": 0.1, "trust": {"grade": "doubt"}}), tmp_path / "run/results/a/b c")
    save_result(plain_result(), tmp_path / "run" / "results" / "bad")
    (tmp_path / "run" / "results" / "bad" / "result.json").write_text("{")
    (tmp_path / "run" / "config.json").write_text("{}")
    return tmp_path


def _page(path) -> tuple[dict, str]:
    text = path.read_text()
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text)[1]), text


def test_one_result_gets_a_page_beside_its_files(run, capsys):
    assert main(["page", "run/results/006"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("wrote run/results/006/page.html: 006, ") and told.endswith(" MB\n")
    facts, text = _page(run / "run/results/006/page.html")
    assert [image["name"] for image in facts["images"]] == ["006"] and facts["images"][0]["place"] == "."
    assert 'id="model-0"' in text  # built from the arrays


def test_a_run_becomes_a_page_of_all_its_results(run, capsys):
    assert main(["page", "run", "--out", "all.html"]) == 0
    facts, text = _page(run / "all.html")
    assert {image["name"]: image["done"] for image in facts["images"]} == {"006": True, "a/b c": True, "bad": False}
    assert facts["images"][1]["remarks"] == "doubtful"
    assert "unreadable" in facts["images"][2]["remarks"] and "<b>" not in text
    assert facts["images"][1]["place"] == "run/results/a/b%20c"
    assert "3 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("page nothing", "nothing is not a results folder: there is no such folder"),
        ("page run run", "name the page of several results: --out FILE.html"),
        ("page run --out page.txt", "--out page.txt: the name must end in .html or .htm"),
        ("page run --out none/page.html", "--out none/page.html: there is no folder none"),
        ("page run --out folder.html", "--out folder.html is a folder: name a file"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(run, capsys, words, message):
    (run / "folder.html").mkdir()
    before = sorted(run.rglob("*"))
    assert main(words.split()) == 1
    told = capsys.readouterr()
    assert message in told.err and "Traceback" not in told.err and told.out == ""
    assert sorted(run.rglob("*")) == before
