"""One decision: what is there and what is asked for, and what happens."""

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.training.decision import Redraw, Refuse, Resume, Skip, Start, There, Wanted, decide, require

_MADE = {"configuration": "new", "image": "1234", "optimizer.learning_rate": 0.1}


def _there(state="complete", *, drawing="plain", fault="", **facts) -> There:
    return There(state, _MADE | facts, drawing, fault)


@pytest.mark.parametrize(
    ("there", "wanted", "expected"),
    [
        (There(), {}, Start()),
        (There(), {"replaces": True}, Start()),
        (There(fault="it is cut"), {}, Start("it is cut")),
        (_there(fault="it is cut", image="other"), {}, Start("it is cut")),
        (_there("begun"), {}, Resume()),
        (_there("provisional"), {}, Resume()),
        (_there("provisional", drawing="fine"), {}, Resume()),
        (_there(), {}, Skip()),
        (_there(drawing="fine"), {}, Redraw()),
        (_there(drawing=""), {}, Skip()),  # an earlier version did not say
        (There("complete", {"image": "1234"}), {}, Skip()),  # facts that an earlier version did not note
        (There("complete"), {}, Skip()),
        (_there(more="unknown"), {}, Skip()),
        (_there(image="other"), {"replaces": True}, Start()),
        (_there("begun", image="other"), {"replaces": True}, Start()),
    ],
)
def test_what_happens_follows_from_what_is_there_and_what_is_wanted(there, wanted, expected):
    assert require(decide(there, Wanted(_MADE, "plain", **wanted))) == expected


@pytest.mark.parametrize("state", ["begun", "provisional", "complete"])
@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"configuration": "old"}, "configuration (was 'old', is 'new')"),
        ({"optimizer.learning_rate": 0.2}, "optimizer.learning_rate (was 0.2, is 0.1)"),
        ({"image": "abcdef0123456789ff"}, "image (was a file of SHA-256 abcdef0123456789, is a file of SHA-256 1234)"),
        ({"image": "no file"}, "image (was 'no file', is a file of SHA-256 1234)"),
        ({"gan.checkpoint": "aa", "recipe": "joint"}, "recipe (was 'joint', is 'predict')"),
    ],
)
def test_something_else_is_refused_with_both_values(state, facts, told):
    wanted = Wanted(_MADE | {"recipe": "predict", "gan.checkpoint": "bb"}, place="/tmp/a holds a run", advice="go away")
    refused = decide(_there(state, **{"recipe": "predict"} | facts), wanted)
    assert refused == Refuse(f"/tmp/a holds a run made with other values: {told}; go away")
    with pytest.raises(UserError, match="holds a run made with other values"):
        require(refused)


def test_of_a_fact_that_has_fields_those_that_differ_are_told():
    wanted = Wanted({"settings": {"rate": 0.1, "batch": 8, "later": 1}}, place="it", advice="go away")
    same, other = ({"settings": {"batch": 8, "rate": rate}} for rate in (0.1, 0.2))
    assert decide(There("begun", same), wanted) == Resume()
    assert (
        decide(There("begun", other), wanted).sentence
        == "it made with other values: settings.rate (was 0.2, is 0.1); go away"
    )
