"""The word on a result: of the GAN's kind or not, how good its shape is, and one sentence of it."""

import dataclasses

import numpy as np
import pytest
from helpers.plain_result import plain_result

from gan2shape_jax.config import load_config
from gan2shape_jax.results import load_metrics, load_result, save_result
from gan2shape_jax.run import trust
from gan2shape_jax.run.verdict import remarks
from gan2shape_jax.stylegan2.typicality import LIMIT
from gan2shape_jax.training.trust_file import TrustRecord

_RECORD = TrustRecord(
    usual_error=np.full((8, 8), 0.01, np.float32),
    level=1.5,
    side_line=np.log(np.array([0.01, 1.1], np.float32)),
    side_range=np.array([0.008, 0.014], np.float32),
)
_KNOWN = {"model_l1": 0.1, "model_l1_p95": 0.2}


def test_the_kind_is_the_lesser_of_what_two_measures_say():
    assert trust.category_of(None, {}) is None
    assert trust.category_of(LIMIT, {}) == pytest.approx(0.5)
    assert trust.category_of(-1.0, _KNOWN) > 0.99
    assert trust.category_of(LIMIT, _KNOWN) == pytest.approx(0.5)
    assert trust.category_of(None, _KNOWN | {"model_l1": 0.3}) == pytest.approx(0.5)
    assert trust.category_of(-1.0, _KNOWN | {"model_l1": 9.0}) < 1e-6
    assert trust.category_of(1e9, _KNOWN) < 1e-6


def test_the_side_to_expect_grows_with_what_is_unusual():
    assert trust.expected_side(None, 0.0) is None and trust.expected_side(_RECORD, None) is None
    assert trust.expected_side(_RECORD, -3.0) == pytest.approx(0.01)
    assert trust.expected_side(_RECORD, 2.0) == pytest.approx(0.0121)
    np.testing.assert_allclose(trust.spread_of(_RECORD, None), 0.015)
    np.testing.assert_allclose(trust.spread_of(_RECORD, 0.02), 0.03, rtol=1e-5)


@pytest.mark.parametrize(
    ("share", "expected", "metrics", "grade", "words"),
    [
        (0.3, None, {}, "no", "does not look like a face to this GAN: the shape is a guess"),
        (0.9, 0.01, {"far_from_category": True}, "no", "the shape is a guess"),
        (0.9, 0.01, {"worse_than_prior": True}, "doubt", "training has not made the shape better"),
        (0.6, 0.01, {}, "doubt", "only partly"),
        (0.9, 0.01, {"model_l1": 0.26, "model_l1_p95": 0.2}, "doubt", "explains this picture less well than usual"),
        (0.9, 0.01, {"model_l1": 0.24, "model_l1_p95": 0.2}, "trust", "as good as usual"),
        (0.9, 0.02, {}, "doubt", "SIDE about 0.020"),
        (0.9, 0.011, {}, "trust", "as good as usual (SIDE about 0.011); what is turned away is invented"),
        (0.9, None, {}, "trust", "how exact the shape is has not been measured"),
    ],
)
def test_one_sentence_says_it(share, expected, metrics, grade, words):
    found, sentence = trust.word_on(share, expected, _RECORD, metrics, kind="face")
    assert found == grade and words in sentence and "\n" not in sentence


def test_what_only_the_discriminator_knows_is_told_so():
    grade, sentence = trust.word_on(0.1, None, None, {}, kind="face", typical=True)
    assert grade == "no" and "its model cannot explain this picture" in sentence


def test_a_grade_is_a_remark_in_tables():
    assert remarks({"trust": {"grade": "no"}}) == ["far from what the GAN draws"]
    assert remarks({"trust": {"grade": "doubt"}}) == ["doubtful"]
    assert remarks({"trust": {"grade": "trust"}}) == remarks({"trust": "x"}) == []


def test_the_line_for_the_console():
    told = {"trust": {"grade": "no", "verdict": "this is a guess"}}
    assert trust.sentence_of("a", told) == "warning: a: this is a guess"
    assert trust.sentence_of("a", {"trust": {"grade": "trust", "verdict": "fine"}}) == "a: fine"
    assert trust.sentence_of("a", {}) is None and trust.sentence_of("a", {"trust": 3}) is None


def test_where_nothing_is_known_nothing_is_told():
    judge = trust.Judge(load_config("ictface"), scorer=None, record=_RECORD, model=False)
    result = plain_result("a")
    assert trust.judged(judge, result) is result


def test_of_another_kind_no_shape_is_promised():
    judge = trust.Judge(load_config("ictface"), scorer=None, record=_RECORD, model=True)
    near, far = (plain_result("a", 8, metrics=_KNOWN | {"model_l1": l1}) for l1 in (0.1, 0.9))
    told = trust.judged(judge, near)
    assert told.metrics["trust"]["category"] > 0.9 and told.depth_spread is not None
    other = trust.judged(judge, far)
    assert other.metrics["trust"]["grade"] == "no" and other.metrics["trust"]["expected_side"] is None
    assert other.depth_spread is None


def test_what_was_cut_out_of_a_picture_is_not_scored_where_the_picture_is_not_at_hand(tmp_path):
    config = load_config("ictface").unlock()
    config.data.crop, config.data.image_root = 100, str(tmp_path)
    judge = trust.load(config.lock(), model=True)
    assert judge.scorer is not None and judge.record is not None
    assert trust.atypicality_of(judge, plain_result("a")) is None
    assert judge.without_files().scorer is None
    plain = dataclasses.replace(judge, config=load_config("ictface"))
    assert plain.without_files() is plain


def test_what_is_told_is_kept_with_the_result(tmp_path):
    judge = trust.Judge(load_config("ictface"), scorer=None, record=_RECORD, model=True)
    result = trust.judged(judge, plain_result("a", 8, metrics=_KNOWN))
    save_result(result, tmp_path / "a")
    found = load_result(tmp_path / "a")
    assert found.metrics == result.metrics and load_metrics(tmp_path / "a") == result.metrics
    np.testing.assert_array_equal(found.depth_spread, result.depth_spread)
