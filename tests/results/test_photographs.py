"""A result from several photographs: what is kept of each, and how the model is drawn beside it."""

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from helpers import bump, several
from PIL import Image

from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.results import Row, load, outputs, save_result, views, write_outputs, write_page
from gan2shape_jax.results.outputs import OutputOptions


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


def test_each_photograph_is_drawn_beside_the_model_in_its_light(result):
    rows = views.photograph_rows(result, 24)
    assert [len(row) for row in rows] == [4, 4, 4] and all(tile.shape == (24, 24, 3) for row in rows for tile in row)
    first, coloured, same = rows
    np.testing.assert_array_equal(first[3], result.render(size=24))  # in its own light: as it is
    np.testing.assert_array_equal(first[3], same[3])  # another view, the same light
    assert (first[1] != same[1]).any() and (first[2] != same[2]).any()
    change = coloured[3].astype(int) - first[3]
    assert np.abs(change[..., 2]).max() == 0  # no light of its own in blue
    right, left = change[:, 12:, 0], change[:, :12, 0]
    assert left.max() > 0 > right.min()  # normals point into the surface: on its left side to the right


def test_the_files_and_the_page_have_the_photographs(result, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_SMALLEST_PICTURE", 192)  # as for users, see `small_overviews`
    write_outputs(result, tmp_path / "results" / "a", options=OutputOptions(preset="mesh", picture_size=32))
    with Image.open(tmp_path / "results" / "a" / "photographs.png") as sheet:
        assert sheet.size == (4 * 194 - 2, 3 * 194 - 2)
    extras = json.loads((tmp_path / "results" / "a" / "page.jsonl").read_text().splitlines()[2])
    assert [one["name"] for one in extras["photographs"]] == list(several.NAMES)
    assert [one["used"] for one in extras["photographs"]] == [True, True, False]
    for one in extras["photographs"]:
        with Image.open(io.BytesIO(base64.b64decode(one["pictures"]["data"]))) as strip:
            assert strip.size == (4 * 144, 144)
    assert outputs.fragment_of(load(tmp_path / "results" / "a"))[2].keys() == extras.keys()
    trust = {"grade": "trust", "found": "a face", "photographs": "from 2 of 3 <b>photographs</b>"}
    write_page(tmp_path, [Row("a", "done", {"trust": trust})])
    page = (tmp_path / "index.html").read_text()
    assert "from 2 of 3" in page and "<b>side" not in page and "<b>photographs" not in page
    assert outputs.fragment_of(bump.result())[2].keys().isdisjoint({"photographs"})
