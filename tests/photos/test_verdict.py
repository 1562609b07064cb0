"""From what was measured of a picture to a grade and its sentence."""

import math

import numpy as np
import pytest

from gan2shape_jax.photos import judge
from gan2shape_jax.photos.judge import MEASURES, Assessment, SideModel

_SIDE = SideModel(np.log(np.array([0.012, *[1.5] * len(MEASURES)], np.float32)), np.array([0.7, 1.4], np.float32))
_GOOD = {name: measure.usual for name, measure in MEASURES.items()}


def _told(score=0.97, side=_SIDE, **measured):
    return judge.verdict(score, _GOOD | measured, kind="face", side=side, widths=5.7)


def test_a_good_photo_is_trusted_and_the_sentence_says_how_exact_it_is():
    told = _told()
    assert told["grade"] == "trust" and told["warnings"] == []
    assert told["expected_side"] == pytest.approx(0.012) == _SIDE.usual
    assert told["side_range"] == pytest.approx([0.0084, 0.0168])
    assert told["verdict"] == (
        "a face: the general shape of a face, not this one's own, as accurate as usual: depth is off by about 7% of "
        "the picture's width (90% interval 5% to 10%); the side facing away is invented"
    )
    assert told["verdict"] == f"{told['found']}: {told['shape']}; {told['invented']}"


def test_what_nobody_has_measured_is_said():
    told = _told(side=None)
    assert told["grade"] == "unmeasured" and told["expected_side"] is None
    assert told["shape"].endswith("not this one's own; how accurate it is has not been measured")
    own = judge.verdict(0.9, {}, kind="object", own=True)
    assert own["found"] == "an object" and own["shape"].startswith("its own shape;")


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.doubt is not None])
def test_each_measure_doubts_and_denies_at_its_limits_and_says_why(name):
    measure, worse = MEASURES[name], 1 if MEASURES[name].worst > MEASURES[name].usual else -1
    almost = _told(**{name: measure.doubt - worse * 1e-6})
    assert almost["grade"] == "trust"
    doubted = _told(**{name: measure.doubt})
    assert doubted["grade"] == "doubt" and len(doubted["warnings"]) == 1
    assert f"but {doubted['warnings'][0]}: depth is off by" in doubted["verdict"]
    assert "{" not in doubted["verdict"] and doubted["expected_side"] > almost["expected_side"] * 0.999
    if measure.no is None:
        return
    denied = _told(**{name: measure.no})
    assert denied["grade"] == "no" and denied["expected_side"] is denied["side_range"] is None
    assert denied["shape"] == f"the shape is a guess: {denied['warnings'][0]}"


def test_covered_eyes_explain_what_else_looks_covered():
    """Beside sunglasses' edges there is little to see in a mouth, and the face is uneven."""
    told = _told(eyes=0.4, mouth=0.5, unevenness=0.3)
    assert told["grade"] == "doubt" and told["warnings"] == ["its eyes are covered"]


def test_what_is_unknown_does_not_count():
    told = judge.verdict(0.97, dict.fromkeys(MEASURES, math.nan), kind="face", side=_SIDE)
    assert told["grade"] == "trust" and told["expected_side"] == pytest.approx(0.012)
    assert judge.verdict(0.97, {}, kind="face", side=_SIDE) == told


@pytest.mark.parametrize(
    ("score", "grade", "found", "words"),
    [
        (0.85, "trust", "a face", "as accurate as usual"),
        (0.84, "doubt", "perhaps a face", "but it may be something else, or"),
        (0.59, "no", "not clearly a face", "a guess: it may be something else"),
        (0.29, "no", "no face found", "a guess: nothing in the picture looks like one"),
    ],
)
def test_the_certainty_that_there_is_one(score, grade, found, words):
    told = _told(score)
    assert (told["grade"], told["found"]) == (grade, found) and words in told["shape"]
    assert told["invented"] == ("all of it is invented" if score < 0.3 else "the side facing away is invented")


def test_of_what_is_not_there_nothing_else_is_said():
    told = _told(0.2, blur=MEASURES["blur"].no, size=MEASURES["size"].no)
    assert told["verdict"] == (
        "no face found: the shape is a guess: nothing in the picture looks like one; all of it is invented"
    )


def test_the_gravest_comes_first():
    told = _told(0.8, blur=MEASURES["blur"].doubt, size=MEASURES["size"].no)
    assert told["grade"] == "no" and told["warnings"][0].startswith("it may be something else")
    assert [("pixels" in warning, "focus" in warning) for warning in told["warnings"][1:]] == [
        (True, False),
        (False, True),
    ]
    worse = judge.verdict(0.97, {}, kind="face", side=_SIDE, worse=True)
    assert worse["grade"] == "doubt" and "but training has not made it better" in worse["shape"]


def test_a_second_look_lowers_the_score_of_what_fits_no_face():
    good = judge.certainty(0.96, {"landmark_residual": 0.01, "dissimilarity": 0.5})
    assert good > 0.85
    assert judge.certainty(0.96, {"landmark_residual": 0.05, "dissimilarity": 0.5}) < good
    assert judge.certainty(0.96, {"landmark_residual": 0.01, "dissimilarity": 1.0}) < good
    assert (
        judge.certainty(0.96, {"landmark_residual": math.nan, "dissimilarity": 0.5}) == 0.96
    )  # a kind without landmarks
    assert (
        0
        <= judge.certainty(0.0, {"landmark_residual": 1.0, "dissimilarity": 2.0})
        < judge.certainty(1.0, {"landmark_residual": 0, "dissimilarity": 0})
        <= 1
    )


def test_measures_of_a_result():
    assessment = Assessment(0.9, 120.0, 0.1, 200.0, 0.5, 0.6)
    view = np.radians([-10, 30, 5, 0, 0, 0])
    metrics = {"landmark_error": 0.02, "mouth": 0.9, "open_mouth": 0.05, "eyes": 0.1, "unevenness": 0.2, "hidden": 0.3}
    metrics |= {"shape_distance": 0.02, "dissimilarity": 0.4}
    measured = judge.measured(assessment, view, metrics)
    assert list(measured) == list(MEASURES)
    expected = [0.1, 0.02, 30, 10, 120, 0.6, 0.1, 0.9, 0.05, 0.1, 0.2, 0.3, 0.02, 0.4, 200, 0.5]
    np.testing.assert_allclose([*measured.values()], expected, rtol=1e-6)
    assert math.isnan(judge.measured(assessment, view, {})["landmark_residual"])  # the model knows of no landmarks
    lost = judge.measured(assessment, view, {"landmark_error": None, "dissimilarity": 0.4})
    assert (
        lost["landmark_residual"] > MEASURES["landmark_residual"].no and judge.certainty(0.97, lost) < 0.85
    )  # the detector saw none
