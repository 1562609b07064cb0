"""How far to trust a result: of the GAN's kind or not, how good its shape is, and the sentence that says so."""

import dataclasses

import cv2
import numpy as np
import pytest
from helpers.placed import placed
from helpers.plain_result import plain_result
from PIL import Image

import gan2shape_jax as g2s
from gan2shape_jax.config import load_config
from gan2shape_jax.io.files import sha256
from gan2shape_jax.photos import judge
from gan2shape_jax.photos.judge import (
    MEASURES,
    WORDS,
    Assessment,
    SideModel,
    TrustRecord,
    beside,
    compare_with_prior,
    read_trust,
    remarks,
    trust_bytes,
)
from gan2shape_jax.plan.recipe import resolve

_RECORD = TrustRecord(
    usual_error=np.full((8, 8), 0.01, np.float32),
    level=1.5,
    side=SideModel(np.log(np.array([0.01, *[1.2] * len(MEASURES)], np.float32)), np.array([0.7, 1.5], np.float32)),
    mean_depth=np.linspace(-0.1, 0.1, 64, dtype=np.float32).reshape(8, 8),
)


def test_the_uncertainty_grows_with_the_side_to_expect():
    np.testing.assert_allclose(judge.depth_uncertainty(_RECORD, 0.01), 0.015, rtol=1e-5)
    np.testing.assert_allclose(judge.depth_uncertainty(_RECORD, 0.02), 0.03, rtol=1e-5)


def test_remarks_in_tables():
    assert remarks({"reconstruction_l1": 0.1}) == []
    assert remarks({"trust": {"grade": "no"}}) == ["the shape is a guess"]
    assert remarks({"trust": {"grade": "no", "found": "no face found", "category": 0.1}}) == ["no face found"]
    blurred = {"category": 0.97, "warnings": ["it is out of focus"]}
    assert remarks({"trust": blurred | {"grade": "no"}}) == ["the shape is a guess: it is out of focus"]
    assert remarks({"trust": blurred | {"grade": "doubt"}}) == ["doubtful: it is out of focus"]
    assert remarks({"trust": {"grade": "unmeasured", "found": "a face"}}) == []
    assert remarks({"trust": {"grade": "doubt"}}) == ["doubtful"]
    assert remarks({"awaits_refinement": True}) == ["not refined yet"]
    assert remarks({"awaits_refinement": True, "trust": {"grade": "doubt"}}) == ["not refined yet", "doubtful"]
    assert remarks({"trust": {"grade": "trust"}}) == remarks({"trust": "x"}) == []
    worse = {"worse_than_prior": True}
    samples = "explains its samples worse and worse"
    assert remarks(worse | {"trust": {"grade": "doubt", "warnings": [WORDS["worse"]]}}) == [samples]
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


def _graded(metrics=None, assessment=None):
    grader = judge.Grader(load_config("ictface"), None, _RECORD, by_model=True)
    return judge.graded(grader, plain_result("a", 8, metrics=metrics or {}), assessment or Assessment(0.97))


def test_no_shape_is_promised_of_what_shows_nothing_of_the_kind():
    near, far = _graded(), _graded(assessment=Assessment(0.2))
    assert near.metrics["trust"]["grade"] == "trust" and near.metrics["trust"]["category"] == 0.97
    np.testing.assert_allclose(near.uncertainty, 0.015, rtol=1e-5)
    assert far.metrics["trust"]["grade"] == "no" and far.metrics["trust"]["expected_side"] is None
    assert far.uncertainty is None


def test_what_was_measured_is_kept_with_the_verdict():
    result = _graded({"dissimilarity": 0.5}, Assessment(0.97, 30.0, blur=0.5))
    measured = result.metrics["trust"]["measured"]
    assert measured == {"unsure": 0.03, "yaw": 0.0, "pitch": 0.0, "size": 30.0, "blur": 0.5, "dissimilarity": 0.5}
    assert result.metrics["trust"]["warnings"] == ["it has only 30 pixels in the photo"]
    assert judge.graded(judge.Grader(load_config("ictface")), plain_result("a", 8), None).metrics == {}


@pytest.mark.parametrize(
    ("measured", "own"), [({}, False), ({"refinement_share": 0.0}, False), ({"refinement_share": 0.25}, True)]
)
def test_a_refined_shape_is_the_pictures_own_only_where_held_out_samples_confirm_it(measured, own):
    result = _graded(measured)
    assert result.metrics["trust"]["shape"].startswith("its own shape" if own else "the general shape of a face")


def test_a_crop_is_not_scored_without_its_picture(tmp_path):
    config = load_config("ictface").unlock()
    config.data.crop, config.data.image_root = 100, str(tmp_path)
    grader = judge.load_grader(resolve(config.lock()))
    assert grader.detector is not None and grader.record is not None and grader.by_model
    assert judge.assessments(grader, [plain_result("a")]) == [None]
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
    read = read_trust(model, 8)
    np.testing.assert_allclose(read.usual_error, _RECORD.usual_error, atol=2e-5)
    np.testing.assert_allclose(read.mean_depth, _RECORD.mean_depth, atol=1e-4)
    assert read.level == _RECORD.level
    np.testing.assert_allclose(read.side.weights, _RECORD.side.weights)
    np.testing.assert_allclose(read.side.interval, _RECORD.side.interval)
    assert read_trust(model, 16) is None

    def with_(**fields):
        return trust_bytes(dataclasses.replace(_RECORD, **fields), sha256(model))

    bad = {
        "of another model": trust_bytes(_RECORD, "0" * 64),
        "short": good[:-3],
        "empty": b"",
        "not finite": with_(level=np.nan),
        "huge": with_(side=SideModel(np.full_like(_RECORD.side.weights, 1e30), _RECORD.side.interval)),
        "of a huge level": with_(level=3e38),
        "negative": with_(usual_error=-np.ones((8, 8))),
        "of other measures": with_(side=SideModel(np.zeros(3), np.ones(2))),
    }
    for name, content in bad.items():
        beside(model).write_bytes(content)
        assert read_trust(model, 8) is None, name


@pytest.mark.parametrize(
    ("drawn", "told"),
    [
        ([], []),
        ([((x, 87), (17, 12)) for x in (169, 211)], ["its eyes are covered"]),
        ([((192, 130), (9, 8))], ["its mouth is open, and the model's is closed"]),
    ],
    ids=["plain", "sunglasses", "open"],
)
def test_sunglasses_and_an_open_mouth_on_a_bundled_head_are_told(tmp_path, drawn, told):
    photo = placed("people/image/000.png", side=128, y=110)
    for place, axes in drawn:
        cv2.ellipse(photo, place, axes, 0, 0, 360, (30, 28, 25), -1, cv2.LINE_AA)
    Image.fromarray(photo).save(tmp_path / "a.png")
    trust = g2s.photo(tmp_path / "a.png").metrics["trust"]
    assert trust["warnings"] == told and trust["grade"] == ("doubt" if told else "trust")


def test_a_shape_that_has_collapsed_is_told(tmp_path):
    """Hair over an eye, and the shape is that of an egg: a sixth of the mean shape's relief away from it."""
    Image.fromarray(placed("people/image/001.png", side=128, y=110)).save(tmp_path / "a.png")
    metrics = g2s.photo(tmp_path / "a.png").metrics
    assert metrics["shape_distance"] > 1.5 * MEASURES["shape_distance"].doubt
    assert "its shape is unlike a usual face's, as where hair covers an eye" in metrics["trust"]["warnings"]
