"""What the page tells of trust: what the metrics say, checked, and nothing else."""

import pytest

from gan2shape_jax.results.page.trust import Trust, trust_of

_NAN = float("nan")


def test_what_is_told_is_kept():
    metrics = {"trust": {"category": 0.4, "expected_side": 0.02, "verdict": "A  guess.\n", "grade": "doubt"}}
    assert trust_of(metrics) == Trust("doubt", "A guess.", 0.4, 0.02)


@pytest.mark.parametrize(
    "told",
    [None, True, 3, "text", [], {}, {"category": 0.9}, {"grade": "certain"}, {"grade": ["trust"], "verdict": 7}],
    ids=str,
)
def test_where_nothing_is_told_in_words_nothing_is_made_up(told):
    assert trust_of({"trust": told}) is None
    assert trust_of({"side": 0.1, "far_from_category": True}) is None


@pytest.mark.parametrize("value", [None, True, "0.5", _NAN, float("inf"), [0.5], {}], ids=str)
def test_figures_that_are_none_are_left_out(value):
    trust = trust_of({"trust": {"grade": "no", "category": value, "expected_side": value}})
    assert trust == Trust("no", "", None, None)


def test_a_share_is_between_nothing_and_all():
    shares = [trust_of({"trust": {"grade": "no", "category": value}}).category for value in (-3, 0, 0.25, 1, 7)]
    assert shares == [0, 0, 0.25, 1, 1]


def test_a_verdict_is_one_line_of_a_modest_length():
    trust = trust_of({"trust": {"verdict": "a\x1b[31m\u202e\n" * 1000}})
    assert len(trust.verdict) <= 600 and "\x1b" not in trust.verdict and "\n" not in trust.verdict and trust.grade == ""
