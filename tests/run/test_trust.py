"""How far to trust a result: of the GAN's kind or not, how good its shape is, and the sentence that says so."""

import dataclasses

import numpy as np
import pytest
from helpers.plain_result import plain_result

from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import sha256
from gan2shape_jax.run import trust
from gan2shape_jax.run.plan import resolve
from gan2shape_jax.run.trust import TrustRecord, beside, compare_with_prior, read_trust, remarks, trust_bytes

_RECORD = TrustRecord(
    usual_error=np.full((8, 8), 0.01, np.float32),
    level=1.5,
    side_line=np.log(np.array([0.01, 1.1], np.float32)),
    side_range=np.array([0.008, 0.014], np.float32),
)


def test_the_expected_side_grows_with_atypicality():
    assert trust.expected_side(None, 0.0) is None and trust.expected_side(_RECORD, None) is None
    assert trust.expected_side(_RECORD, -3.0) == pytest.approx(0.01)
    assert trust.expected_side(_RECORD, 2.0) == pytest.approx(0.0121)
    np.testing.assert_allclose(trust.depth_uncertainty(_RECORD, None), 0.015)
    np.testing.assert_allclose(trust.depth_uncertainty(_RECORD, 0.02), 0.03, rtol=1e-5)


def test_three_verdicts_that_agree():
    far, general = {"far_from_category": True}, "the general shape of a face, not this one's own"
    cases = [
        (0.1, None, {}, "no", "no face found", "the shape is a guess"),
        (0.57, None, {}, "no", "not clearly a face", "the shape is a guess"),  # as a coin was, for the cats' GAN
        (0.9, 0.01, far, "no", "perhaps a face", "the model cannot explain it, so the shape is a guess"),
        (0.1, 0.01, far, "no", "no face found", "the shape is a guess"),
        (0.9, 0.01, {"worse_than_prior": True}, "doubt", "a face", "training has not made the shape better"),
        (0.6, None, {}, "doubt", "perhaps a face", f"{general}; how exact it is has not been measured"),
        (0.6, 0.01, {}, "doubt", "perhaps a face", f"{general}, coarser than usual (SIDE about 0.010)"),
        (0.9, 0.01, {"model_l1": 0.26, "model_l1_p95": 0.2}, "doubt", "a face", "explains this picture less well"),
        (0.9, 0.01, {"model_l1": 0.24, "model_l1_p95": 0.2}, "trust", "a face", "as exact as usual"),
        (0.9, 0.02, {}, "doubt", "a face", "coarser than usual (SIDE about 0.020)"),
        (0.9, 0.011, {}, "trust", "a face", f"{general}, as exact as usual (SIDE about 0.011)"),
        (0.9, None, {}, "unmeasured", "a face", f"{general}; how exact it is has not been measured"),
    ]
    for confidence, expected, metrics, grade, detected, shape in cases:
        told = trust.grade_in_words(confidence, expected, _RECORD, metrics, kind="face")
        assert (told["grade"], told["found"]) == (grade, detected) and shape in told["shape"]
        assert told["invented"] == ("all of it is invented" if confidence < 0.3 else "what is turned away is invented")
        assert told["verdict"] == f"{detected}: {told['shape']}; {told['invented']}" and "\n" not in told["verdict"]
    own = trust.grade_in_words(0.9, 0.01, _RECORD, {}, kind="face", own=True)
    assert own["shape"].startswith("its own shape, as exact")
    far_face = trust.grade_in_words(0.9, 0.01, _RECORD, far, kind="face", surely=True)
    assert far_face["verdict"].startswith("a face: the model cannot explain it") and far_face["grade"] == "no"
    assert trust.detection_in_words(0.9, "object") == "an object"


def test_remarks_in_tables():
    assert remarks({"reconstruction_l1": 0.1, "far_from_category": False}) == []
    assert remarks({"trust": {"grade": "no"}}) == ["far from what the GAN draws"]
    assert remarks({"trust": {"grade": "no", "found": "no face found"}}) == ["no face found"]
    assert remarks({"trust": {"grade": "no", "found": "a face", "category": 0.97}}) == ["the shape is a guess"]
    assert remarks({"trust": {"grade": "unmeasured", "found": "a face"}}) == []
    assert remarks({"trust": {"grade": "doubt"}}) == ["doubtful"]
    assert remarks({"awaits_refinement": True}) == ["not refined yet"]
    assert remarks({"awaits_refinement": True, "trust": {"grade": "doubt"}}) == ["not refined yet", "doubtful"]
    assert remarks({"trust": {"grade": "trust"}}) == remarks({"trust": "x"}) == []
    worse = {"worse_than_prior": True}
    samples = "explains its samples worse and worse"
    assert remarks(worse | {"far_from_category": True}) == [samples, "far from what the GAN draws"]
    assert remarks(worse | {"side": 0.05, "prior": {"side": 0.04}}) == ["worse than its prior"]
    assert remarks(worse | {"side": 0.05, "start": {"side": 0.04}}) == ["worse than its start"]
    assert remarks(worse | {"prior": {}}) == [samples]


def _history(*errors):
    return [{"step": "step2", "l1": 0.5}, *({"step": "step3", "l1": 0.1, "l1_samples": error} for error in errors)]


@pytest.mark.parametrize("baseline", ["prior", "start"])
@pytest.mark.parametrize("after, worse", [(0.05, True), (0.03, False), (0.04, False)])
def test_where_true_depth_is_known_its_side_decides(baseline, after, worse):
    measured = compare_with_prior({"side": after, baseline: {"side": 0.04}}, _history(0.2, 0.1))
    assert measured == {"samples_l1": {"start": 0.2, "end": 0.1}, "worse_than_prior": worse}


@pytest.mark.parametrize(("errors", "worse"), [((0.1, 0.3, 0.2), True), ((0.2, 0.3, 0.1), False)])
def test_without_true_depth_the_samples_decide(errors, worse):
    assert compare_with_prior({}, _history(*errors))["worse_than_prior"] is worse


@pytest.mark.parametrize(
    ("kept", "worse"), [({"0.0": 0.3, "0.5": 0.2, "1.0": 0.4}, False), ({"0.0": 0.3, "0.5": 0.4}, True)]
)
def test_held_out_samples_decide_before_those_trained_on(kept, worse):
    metrics = {"refinement_share": 0.5, "held_out_l1": kept}
    assert compare_with_prior(metrics, _history(0.1, 0.2))["worse_than_prior"] is worse
    with_side = metrics | {"side": 0.05, "start": {"side": 0.04}}
    assert compare_with_prior(with_side, _history(0.1, 0.2))["worse_than_prior"] is True


@pytest.mark.parametrize("history", [[], _history(), _history(0.1)])
def test_without_evidence_no_shape_is_worse(history):
    assert "worse_than_prior" not in compare_with_prior({}, history)


def test_no_shape_is_promised_for_another_category():
    grader = trust.Grader(load_config("ictface"), record=_RECORD, typical_l1=0.2)
    near, far = trust.graded(grader, [plain_result("a", 8, metrics=trust.nearness(0.2, l1)) for l1 in (0.29, 0.31)])
    assert near.metrics["trust"]["category"] > 0.9 and near.uncertainty is not None
    assert far.metrics["trust"]["grade"] == "no" and far.metrics["trust"]["expected_side"] is None
    assert far.uncertainty is None


@pytest.mark.parametrize(
    ("measured", "own"), [({}, False), ({"refinement_share": 0.0}, False), ({"refinement_share": 0.25}, True)]
)
def test_a_refined_shape_is_the_pictures_own_only_where_held_out_samples_confirm_it(measured, own):
    grader = trust.Grader(load_config("ictface"), record=_RECORD, typical_l1=0.2)
    (result,) = trust.graded(grader, [plain_result("a", 8, metrics=trust.nearness(0.2, 0.1) | measured)])
    assert result.metrics["trust"]["shape"].startswith("its own shape" if own else "the general shape of a face")


def test_a_crop_is_not_scored_without_its_picture(tmp_path):
    config = load_config("ictface").unlock()
    config.data.crop, config.data.image_root = 100, str(tmp_path)
    grader = trust.load_grader(resolve(config.lock()))
    assert grader.detector is not None and grader.record is not None and grader.typical_l1 > 0
    assert trust.assessments(grader, [plain_result("a")]) == [None]
    assert grader.without_files().detector is None
    plain = dataclasses.replace(grader, config=load_config("ictface"))
    assert plain.without_files() is plain


def test_only_an_intact_record_of_this_very_model_is_read(tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"a model")
    assert read_trust(model, 8) is None  # no file
    good = trust_bytes(_RECORD, sha256(model))
    assert good == trust_bytes(_RECORD, sha256(model))
    beside(model).write_bytes(good)
    for field, value in dataclasses.asdict(read_trust(model, 8)).items():
        np.testing.assert_allclose(value, getattr(_RECORD, field), atol=2e-5)
    assert read_trust(model, 16) is None

    def with_(**fields):
        return trust_bytes(dataclasses.replace(_RECORD, **fields), sha256(model))

    bad = {
        "of another model": trust_bytes(_RECORD, "0" * 64),
        "short": good[:-3],
        "empty": b"",
        "not finite": with_(level=np.nan),
        "negative": with_(usual_error=-np.ones((8, 8))),
        "of other shapes": with_(side_line=np.zeros(3)),
    }
    for name, content in bad.items():
        beside(model).write_bytes(content)
        assert read_trust(model, 8) is None, name
