"""What visitors read: escaped, without the server's paths, in the page's words and not the command line's."""

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from gan2shape_jax.apps.photo import masking
from gan2shape_jax.apps.serve import wording
from gan2shape_jax.apps.serve.jobs import Seen

_NAME = "<img src=x onerror=alert(1)>\n.jpg"


def _seen(**fields):
    return Seen(**({"state": "running", "ahead": 0, "stages": {}, "said": "", "error": "", "started": None} | fields))


def test_names_and_messages_are_only_text():
    for told in (
        wording.failure(f"{_NAME} is damaged"),
        wording.note(_NAME),
        wording.status(_seen(said=f"12:00 me: {_NAME}"), "Reconstructing", "me"),
        wording.result("results/a/b", _NAME, "face", known=True, complete=True)[1],
        wording.ended(_seen(state="failed", error=_NAME), {}),
    ):
        assert "<img" not in told and "&lt;img" in told and "\n" not in told


def test_paths_are_not_told():
    assert "me.jpg is damaged" in wording.failure("/srv/a/photo is damaged", {"/srv/a/photo": "me.jpg"})


def test_of_the_log_only_what_is_about_the_photo_is_shown():
    assert "/srv" not in wording.status(_seen(said="refines the model /srv/model.safetensors"), "Reconstructing", "me")
    assert "step1, 5 of 50" in wording.status(_seen(said="12:00:00 me: step1, 5 of 50"), "Reconstructing", "me")


def test_options_of_the_command_line_are_not_told():
    source = open(masking.__file__).read()
    assert "give another --mask or --box" in source  # what is replaced is what is said
    assert "choose another crop" in wording.failure("it shows no object: give another --mask or --box")


def test_waiting_says_how_many_are_ahead():
    assert "2 photos are before yours" in wording.status(_seen(state="waiting", ahead=2), "", "me")
    assert "1 photo is before yours" in wording.status(_seen(state="waiting", ahead=1), "", "me")


def test_the_verdict_is_shown_where_there_is_one_and_a_guess_is_called_one():
    assert "Trust it" in wording.result("b", "Trust it", "face", known=False, complete=False)[1]
    assert "is a guess" in wording.result("b", "", "face", known=False, complete=False)[1]
    assert "verdict" not in wording.result("b", "", "face", known=True, complete=False)[1]
