"""Whether a shape is worse than what it started from: by SIDE where it is known, by the samples where it is not."""

import pytest

from gan2shape_jax.run.verdict import compare_with_prior, is_far, remarks, worse_in_words


def _history(*errors):
    return [{"step": "step2", "l1": 0.5}, *({"step": "step3", "l1": 0.1, "l1_samples": error} for error in errors)]


@pytest.mark.parametrize("baseline", ["prior", "start"])
@pytest.mark.parametrize(("after", "worse"), [(0.05, True), (0.03, False), (0.04, False)])
def test_side_decides_where_it_is_known(baseline, after, worse):
    metrics = {"side": after, baseline: {"side": 0.04}}
    measured = compare_with_prior(metrics, _history(0.2, 0.1))
    assert measured == {"samples_l1": {"start": 0.2, "end": 0.1}, "worse_than_prior": worse}


@pytest.mark.parametrize(("errors", "worse"), [((0.1, 0.3, 0.2), True), ((0.2, 0.3, 0.1), False)])
def test_samples_decide_where_nothing_true_is_known(errors, worse):
    measured = compare_with_prior({"reconstruction_l1": 0.1}, _history(*errors))
    assert measured["worse_than_prior"] is worse


@pytest.mark.parametrize(
    ("kept", "worse"), [({"0.0": 0.3, "0.5": 0.2, "1.0": 0.4}, False), ({"0.0": 0.3, "0.5": 0.4}, True)]
)
def test_samples_kept_out_of_a_refinement_are_better_witnesses_than_those_it_saw(kept, worse):
    metrics = {"refinement_share": 0.5, "kept_out_l1": kept}
    assert compare_with_prior(metrics, _history(0.1, 0.2))["worse_than_prior"] is worse
    known = metrics | {"side": 0.05, "start": {"side": 0.04}}
    assert compare_with_prior(known, _history(0.1, 0.2))["worse_than_prior"] is True


@pytest.mark.parametrize("history", [[], _history(), _history(0.1)])
def test_nothing_is_claimed_where_nothing_was_measured(history):
    assert "worse_than_prior" not in compare_with_prior({"reconstruction_l1": 0.1}, history)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"side": 0.05, "prior": {"side": 0.04}}, "worse than its prior"),
        ({"side": 0.05, "start": {"side": 0.04}}, "worse than its start"),
        ({"samples_l1": {"start": 0.1, "end": 0.2}}, "explains its samples ever worse"),
        ({"prior": {}, "samples_l1": {"start": 0.1, "end": 0.2}}, "explains its samples ever worse"),
    ],
)
def test_words_say_by_what_it_is_judged(metrics, words):
    assert worse_in_words(metrics) == words


def test_far_is_beyond_one_and_a_half_times_what_most_samples_have():
    assert not is_far(0.29, 0.2) and is_far(0.31, 0.2)


def test_all_that_is_remarkable_is_told():
    assert remarks({"reconstruction_l1": 0.1, "far_from_category": False}) == []
    told = remarks({"worse_than_prior": True, "far_from_category": True})
    assert told == ["explains its samples ever worse", "far from what the GAN draws"]
