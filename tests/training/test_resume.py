"""One decision: what is there and what is asked for, and what happens."""

import pytest

from gan2shape_jax.errors import UserError
from gan2shape_jax.training.resume import Decision, Existing, Requested, decide

_MADE = {"configuration": "new", "image": "1234", "optimizer.learning_rate": 0.1}


def _existing(state="complete", *, drawing="plain", fault="", **facts) -> Existing:
    return Existing(state, _MADE | facts, drawing, fault)


@pytest.mark.parametrize(
    ("existing", "requested", "expected"),
    [
        (Existing(), {}, Decision.MAKE),
        (Existing(), {"replaces": True}, Decision.MAKE),
        (Existing(fault="it is cut"), {}, Decision.MAKE),
        (_existing(fault="it is cut", image="other"), {}, Decision.MAKE),
        (_existing("begun"), {}, Decision.RESUME),
        (_existing("provisional"), {}, Decision.RESUME),
        (_existing("provisional", drawing="fine"), {}, Decision.RESUME),
        (_existing(), {}, Decision.SKIP),
        (_existing(drawing="fine"), {}, Decision.REDRAW),
        (_existing(drawing=""), {}, Decision.SKIP),  # an earlier version did not say
        (Existing("complete", {"image": "1234"}), {}, Decision.SKIP),  # facts that an earlier version did not note
        (Existing("complete"), {}, Decision.SKIP),
        (_existing(more="unknown"), {}, Decision.SKIP),
        (_existing(image="other"), {"replaces": True}, Decision.MAKE),
        (_existing("begun", image="other"), {"replaces": True}, Decision.MAKE),
    ],
)
def test_what_happens_follows_from_what_exists_and_what_is_requested(existing, requested, expected):
    assert decide(existing, Requested(_MADE, "plain", **requested)) is expected


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
    requested = Requested(
        _MADE | {"recipe": "predict", "gan.checkpoint": "bb"}, place="/tmp/a holds a run", advice="go away"
    )
    with pytest.raises(UserError) as refused:
        decide(_existing(state, **{"recipe": "predict"} | facts), requested)
    assert str(refused.value) == f"/tmp/a holds a run made with other values: {told}; go away"


def test_of_a_fact_that_has_fields_those_that_differ_are_told():
    requested = Requested({"settings": {"rate": 0.1, "batch": 8, "later": 1}}, place="it", advice="go away")
    same, other = ({"settings": {"batch": 8, "rate": rate}} for rate in (0.1, 0.2))
    assert decide(Existing("begun", same), requested) is Decision.RESUME
    with pytest.raises(UserError, match=r"settings\.rate \(was 0\.2, is 0\.1\); go away$"):
        decide(Existing("begun", other), requested)
