"""Several photographs of one object: which are used, what is told of the others, and what the one result has."""

import dataclasses
import types
from unittest import mock

import numpy as np
import pytest
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.method.joint_refinement import Joint
from gan2shape_jax.photos import together
from gan2shape_jax.photos.explain import Predictor
from gan2shape_jax.photos.find import Subject
from gan2shape_jax.photos.pipeline import PhotoModel
from gan2shape_jax.photos.together import Gathered, Shot, Source
from gan2shape_jax.results import pictures

_FINDER = types.SimpleNamespace(kind="face")
_SIDE = 8


def _view(yaw=0.0, pitch=0.0):
    return np.radians([pitch, yaw, 0, 0, 0, 0]).astype(np.float32)


def _trust(grade="trust", warnings=(), blur=0.5):
    told = {"grade": grade, "found": "a face", "shape": "its shape", "invented": "the back", "verdict": "a face: fine"}
    return told | {"category": 0.99, "warnings": list(warnings), "measured": {"blur": blur}, "expected_side": None}


def _shot(name, yaw=0.0, **trust):
    image = np.full((_SIDE, _SIDE, 3), yaw / 90)
    metrics = {"trust": _trust(**trust), "reconstruction_l1": 0.5}
    fields = {"view": _view(yaw), "signed_image": image, "metrics": metrics, "category": "face"}
    return Shot(name, plain_result(name, _SIDE, depth=np.full((_SIDE, _SIDE), 1 + yaw / 1000), **fields))


@pytest.fixture
def photographs(monkeypatch):
    """Returns a function that takes photographs by name, each with the shots of the people in it, or an error."""

    def given(**people):
        def opened(name):
            if isinstance(people[name], UserError):
                raise people[name]
            return name

        def subjects(name, picture, *_, **__):
            crop = np.zeros((4, 4, 3), np.uint8)
            crop[..., 0] = 0 if picture.startswith("grey") else 90
            detection = types.SimpleNamespace(score=0.9, box=types.SimpleNamespace(side=9.0))
            return [mock.Mock(spec=Subject, shot=shot, crop=crop, detection=detection) for shot in people[picture]]

        monkeypatch.setattr(together, "find", lambda picture, finder: people[picture])
        monkeypatch.setattr(together, "is_found", bool)
        monkeypatch.setattr(together, "subjects_of", subjects)
        monkeypatch.setattr(together.pipeline, "explained", lambda subject, model: subject.shot.result)
        digest = {"twin": "first"}
        return [
            Source(name, lambda name=name: opened(name), digest.get(name, name), "v.mp4" if name[0] == "v" else "")
            for name in people
        ]

    return given


def _gather(sources, told=()):
    said = []
    found = together.gather(sources, mock.Mock(spec=PhotoModel, finder=_FINDER), log=said.append)
    assert said == [*found.left_out, *told]
    return found


def test_what_is_no_use_is_left_out_with_a_sentence_and_the_rest_is_used(photographs):
    sources = photographs(
        first=[_shot("first")],
        empty=[],
        broken=UserError("broken.jpg is not a picture"),
        twin=[_shot("twin")],
        blurred=[_shot("blurred", grade="no", warnings=["it is out of focus", "it is very dark"])],
        grey=[_shot("grey", 5)],
        side=[_shot("side", 30, grade="doubt")],
    )
    found = _gather(sources)
    assert [shot.name for shot in found.shots] == ["first", "side"] and found.given == 6
    assert found.left_out == [
        "empty shows no face",
        "broken.jpg is not a picture",
        "twin is the same picture as first, and counts once",
        "blurred is no use: it is out of focus",
        "grey is black and white, and others are not",
    ]


def test_of_several_people_the_one_who_is_in_all_is_taken_and_told_where_that_is_not_sure(photographs, monkeypatch):
    monkeypatch.setattr(together, "same_person", lambda photos, sides: ([0, 1], False))
    told = "which face is in all photographs is not sure: the largest of those that may be is taken"
    found = _gather(photographs(a=[_shot("a")], c=[_shot("other"), _shot("c", 20)]), [told])
    assert [shot.result.name for shot in found.shots] == ["a", "c"] and found.left_out == []


def test_a_videos_frames_are_left_out_without_a_word_unless_all_are(photographs):
    found = _gather(
        photographs(a=[_shot("a")], v1=[], v2=[_shot("v2", 30)], v3=[_shot("v3", grade="no", warnings=["x"])])
    )
    assert [shot.name for shot in found.shots] == ["a", "v2"] and found.left_out == [] and found.given == 4
    found = _gather(photographs(a=[_shot("a")], v1=[], v2=[]))
    assert found.left_out == ["no frame of v.mp4 can be used: v1 shows no face"]


def test_a_file_that_is_given_twice_counts_once(photographs):
    found = _gather(
        photographs(a=[_shot("a")], b=[_shot("b", 20)]) + photographs(b=[_shot("b", 20)], a=[_shot("a")])[1:]
    )
    assert found.given == 2 and found.left_out == ["a is the same picture as a, and counts once"]


def test_black_and_white_photographs_alone_are_used(photographs):
    assert len(_gather(photographs(grey=[_shot("grey")], grey2=[_shot("grey2", 9)])).shots) == 2


def test_nothing_usable_is_one_error_that_says_why_of_each(photographs):
    sources = photographs(a=[], b=UserError("b.jpg: there is no such file"))
    with pytest.raises(UserError, match=r"^none of these .*: a shows no face; b\.jpg: there is no such file$"):
        _gather(sources)
    with pytest.raises(UserError, match="p9 shows no face; and 3 more$"):
        _gather(photographs(**{f"p{k}": [] for k in range(13)}))


def test_of_too_many_sharp_ones_are_used_evenly_over_the_views(photographs):
    many = {f"p{k}": [_shot(f"p{k}", yaw=k % 40 - 20, blur=0.5 + k / 500)] for k in range(200)}
    told = f"{together.MOST} of 200 photographs are used: sharp ones, spread over the views"
    found = _gather(photographs(**many), [told])
    yaws = sorted(float(np.degrees(shot.result.view[1])) for shot in found.shots)
    assert len(yaws) == together.MOST and found.given == 200
    assert np.diff(yaws).min() > 0.9 and np.ptp(yaws) > 37
    assert found.left_out == []


@pytest.fixture
def fitted(monkeypatch):
    """Returns a function that makes a result of shots, by a fit that answers as told."""
    settings = types.SimpleNamespace()
    data, schedule = types.SimpleNamespace(crop=None), types.SimpleNamespace(flip3=(False, True))
    config = types.SimpleNamespace(category="face", schedule=schedule, data=data)
    grader = types.SimpleNamespace(record=None)
    predictor = mock.Mock(spec=Predictor, plan=types.SimpleNamespace(config=config), settings=settings, grader=grader)

    def drawn(depth, albedo, view, light, *, settings):
        return depth, albedo, np.ones_like(depth), albedo

    monkeypatch.setattr(together, "_drawn", drawn)

    def made(shots, used=None, better=True, spread=40.0, left_out=(), like=0.5):
        seen = {}

        def fit(start, views, images, masks, region, camera, *, symmetric, likeness, fit):
            seen.update(start=start, views=views, images=images, masks=masks, symmetric=symmetric, likeness=likeness)
            count = len(views)
            lights, errors = np.ones((count, 9, 3), np.float32), np.tile(np.float32([0.4, 0.3]), (count, 1))
            moved = views + np.float32([0, 0.01, 0, 0, 0, 0])
            chosen = np.ones(count, bool) if used is None else np.array(used)
            sizes = np.full(count, 0.05, np.float32)
            return Joint(start + 0.01, moved, sizes, images[0], lights, chosen, better, spread, errors)

        likeness = np.where(np.eye(len(shots), dtype=bool), 1, like)
        monkeypatch.setattr(together, "likeness", lambda results: likeness)
        monkeypatch.setattr(together.joint_refinement, "reconstruct", fit)
        given = Gathered(shots, len(shots) + len(left_out), left_out)
        result, order = together.reconstruct(given, predictor, name="me")
        return result, [shot.name for shot in order], seen

    return made


def test_the_result_is_that_of_the_photograph_from_in_front_in_the_joint_shape(fitted):
    shots = [_shot("left", -30), _shot("front", 4), _shot("right", 28)]
    result, order, seen = fitted(shots)
    assert order == [one.name for one in result.photographs] == ["front", "left", "right"]
    np.testing.assert_allclose(seen["start"], np.mean([shot.result.depth for shot in shots], 0), rtol=1e-6)
    assert seen["images"].shape == (3, _SIDE, _SIDE, 3) and 0 <= seen["images"].min() and seen["symmetric"] is True
    np.testing.assert_array_equal(result.depth, seen["start"] + np.float32(0.01))
    np.testing.assert_array_equal(result.signed_image, shots[1].result.signed_image)
    np.testing.assert_array_equal(result.view, result.photographs[0].seen_from(result.camera))
    assert result.view[5] == pytest.approx(np.exp(-0.05) - 1, abs=1e-6) and result.name == "me"
    assert result.photographs[1].errors == pytest.approx((0.4, 0.3))


def test_photographs_with_more_pixels_refine_the_joint_shape_at_these(fitted, monkeypatch):
    given, side = [], together._FINER

    def refine(joint, images, masks, region, camera, *, symmetric, fit):
        given.append((images, masks, region, camera))
        return joint._replace(depth=np.full((side, side), 1.02, np.float32))

    monkeypatch.setattr(together.joint_refinement, "refine", refine)
    monkeypatch.setattr(together, "changed", lambda settings, camera: settings)

    def shots(sides):
        grey = [Image.new("RGB", (one, one), (200, 0, 0)) for one in sides]
        return [dataclasses.replace(_shot(f"p{k}", 25 * k), picture=one) for k, one in enumerate(grey)]

    result, order, _ = fitted(shots([side, 2 * side, 40]))  # most have them
    (images, masks, region, camera) = given.pop()
    assert images.shape == (3, side, side, 3) and masks.shape == (3, side, side) and region.shape == (_SIDE, _SIDE)
    np.testing.assert_allclose(images[:, 5, 5], 3 * [[200 / 255, 0, 0]], rtol=1e-6)
    assert result.camera == camera and result.depth.shape == result.mask.shape == (side, side)
    assert result.signed_albedo.shape == (side, side, 3) and result.photographs[1].signed_image.shape == (side, side, 3)
    assert order == ["p0", "p1", "p2"]
    assert len(fitted(shots([side, 40, 40]))[0].depth) == len(fitted(shots([side] * 3), better=False)[0].depth) == _SIDE
    assert not given


def test_the_verdict_says_what_the_photographs_gave(fitted):
    shots = [_shot("a"), _shot("b", 30), _shot("c", -30)]
    trust = fitted(shots, left_out=["d shows no face"])[0].metrics["trust"]
    assert trust["photographs"] == "from 3 of 4 photographs; d shows no face" and "its own shape" in trust["shape"]
    assert trust["verdict"].endswith(f"; {trust['photographs']}")

    result = fitted(shots, used=[True, False, True], better=False)[0]
    trust, facts = result.metrics["trust"], result.metrics["photographs"]
    assert "not this one's own" in trust["shape"]
    told = "from 2 of 3 photographs, which do not tell the shape better than the model alone does; "
    assert trust["photographs"] == f"{told}b does not show the same face"
    assert facts["used"] == 2 and not facts["better"] and facts["left_out"] == ["b does not show the same face"]
    assert [one.used for one in result.photographs] == [True, False, True]

    trust = fitted(shots, spread=6.0)[0].metrics["trust"]
    assert "not this one's own" in trust["shape"]  # from in front alone, a better fit is no shape of one's own
    assert trust["photographs"].endswith("; turn the head: nothing here is seen from the side")
    trust = fitted(shots, left_out=[f"{k} shows no face" for k in range(9)])[0].metrics["trust"]
    assert trust["photographs"].endswith("2 shows no face; 6 more were left out")


def test_photographs_that_do_not_look_like_one_person_give_no_shape_of_ones_own(fitted):
    shots = [_shot("a"), _shot("b", 30), _shot("c", -30)]
    like = np.array([[1, 0.7, 0.1], [0.7, 1, 0.1], [0.1, 0.1, 1]])
    result, _, seen = fitted(shots, like=like)
    np.testing.assert_allclose(seen["likeness"], [0.4, 0.4, 0.1])
    assert "its own shape" in result.metrics["trust"]["shape"]
    trust = fitted(shots, like=like, used=[True, False, True])[0].metrics["trust"]
    assert "not this one's own" in trust["shape"]
    assert "; they may show different people: look at them yourself" in trust["photographs"]


def test_a_single_usable_photograph_gives_what_the_model_makes_of_it(fitted):
    shot = _shot("only", 10)
    result, order, seen = fitted([shot], left_out=["b shows no face", "c shows no face"])
    assert not seen and order == ["only"] and result.photographs[0].errors is None
    np.testing.assert_array_equal(result.depth, shot.result.depth)
    told = "from 1 of 3 photographs: one alone does not tell a shape; b shows no face; c shows no face"
    assert result.metrics["trust"]["photographs"] == told
    assert result.metrics["photographs"]["used"] == 1
    told = fitted([shot])[0].metrics["trust"]["photographs"]
    assert told == "from 1 of 1 photograph: one alone does not tell a shape"


def test_photographs_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    paths = [tmp_path / folder / "a.png" for folder in "xy"]
    for grey, path in enumerate(paths):
        path.parent.mkdir()
        Image.new("L", (20, 20), grey).save(path)
    assert [one.name for one in together.sources_of(paths[:1])] == ["a.png"]
    first, other = together.sources_of(paths)
    assert [first.name, other.name] == list(map(str, paths)) and first.digest != other.digest
    assert first.open().picture.size == (20, 20)
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(UserError, match=r"y/a\.png changed while it was processed"):
        other.open()
    with pytest.raises(UserError, match="none.png"):
        together.sources_of([tmp_path / "none.png"])[0].open()


def test_a_video_gives_frames_and_one_that_is_damaged_a_sentence(tmp_path):
    turn, broken = tmp_path / "turn.mp4", tmp_path / "broken.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    pictures.write_animation(turn, noise, fps=5)
    broken.write_bytes(turn.read_bytes()[:100])
    *shown, damaged = together.sources_of([turn, broken], names=["me.mp4", "broken.mp4"])
    assert len({one.name for one in shown}) == len({one.digest for one in shown}) == 5
    assert all(one.name.startswith("me-00m0") and one.open().picture.size == (64, 64) for one in shown)
    with pytest.raises(UserError, match="broken.mp4"):
        damaged.open()
