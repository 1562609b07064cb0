"""A result from several photographs: what is kept of each, and how the model is drawn beside it."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import bump, several

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.results import load, save_result


@pytest.fixture(scope="module")
def result():
    return several.result()


def test_photographs_are_read_as_they_were_saved_and_older_results_have_none(result, tmp_path):
    save_result(result, tmp_path / "new")
    read = load(tmp_path / "new")
    assert [one.name for one in read.photographs] == list(several.NAMES)
    for saved, found in zip(result.photographs, read.photographs, strict=True):
        for field in dataclasses.fields(saved):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(saved, field.name))
    assert read.photographs[1].image.min() >= 0 and isinstance(read.photographs[1].size, float)
    save_result(bump.result(), tmp_path / "old")
    assert load(tmp_path / "old").photographs == ()
    assert "photographs" not in json.loads((tmp_path / "old" / "result.json").read_text())


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"used": "yes"},
        {"errors": [1, "a"]},
        None,
    ],
    ids=str,
)
def test_a_damaged_record_of_photographs_is_named(result, tmp_path, change):
    save_result(result, tmp_path / "a")
    record = json.loads((tmp_path / "a" / "result.json").read_text())
    record["photographs"] = record["photographs"][:2] if change is None else [record["photographs"][0] | change] * 3
    (tmp_path / "a" / "result.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="damaged.*: reconstruct again"):
        load(tmp_path / "a")


@pytest.mark.parametrize(("field", "value"), [("view", np.zeros(5)), ("light", np.full((9, 3), np.nan))])
def test_a_photograph_of_another_shape_or_without_numbers_is_no_result(result, field, value):
    wrong = dataclasses.replace(result.photographs[1], **{field: value})
    with pytest.raises(ValueError, match="photograph_"):
        dataclasses.replace(result, photographs=(wrong,))


def test_a_larger_object_looks_like_a_nearer_one(result):
    photograph, camera = result.photographs[1], result.camera
    centre = np.array([0, 0, camera.rot_center_depth], np.float32)
    points = np.asarray(cameras.back_project(result.depth, camera))
    larger = (points - centre) * np.exp(photograph.size) + centre
    seen = cameras.project(cameras.transform(larger, photograph.view, camera), camera)
    nearer = cameras.project(cameras.transform(points, photograph.seen_from(camera), camera), camera)
    np.testing.assert_allclose(nearer, seen, atol=1e-3)
