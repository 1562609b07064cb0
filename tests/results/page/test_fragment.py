"""A result's fragment of the page: it says again what the result says, it is small, and the same each time."""

import base64
import io
import json
import zlib

import numpy as np
import pytest
from helpers import bump
from helpers.plain_result import plain_result
from PIL import Image

from gan2shape_jax.results import host
from gan2shape_jax.results.page.fragment import FILE, fragment_of, write_fragment
from gan2shape_jax.results.surface import object_mask


@pytest.fixture(scope="module")
def result():
    return bump.result()


def _inflated(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def _depth(model: dict) -> np.ndarray:
    """Decodes depth value by value, as its description says and unlike the code that wrote it."""
    coded, size = _inflated(model["depth"]).astype(int), model["size"]
    steps = np.zeros((size, size), int)
    for k in range(size * size):
        row, column = divmod(k, size)
        zigzag = coded[k] * 256 + coded[size * size + k]
        change = zigzag // 2 if zigzag % 2 == 0 else -(zigzag // 2) - 1
        left = steps[row, column - 1] if column else 0
        above = steps[row - 1, column] if row else 0
        corner = steps[row - 1, column - 1] if row and column else 0
        steps[row, column] = (change + left + above - corner) % 65536
    return model["depth_low"] + steps / 65535 * (model["depth_high"] - model["depth_low"])


def _picture(entry: dict) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(entry["data"]))) as image:
        assert image.format == entry["kind"].upper()
        return np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1


def test_the_model_says_what_the_result_says(result):
    _, model, _, _ = fragment_of(result)
    step = (model["depth_high"] - model["depth_low"]) / 65535
    assert np.abs(_depth(model) - result.depth).max() < 0.51 * step and step < 2e-6
    inside = np.unpackbits(_inflated(model["inside"]))[: bump.SIZE**2].reshape(bump.SIZE, -1)
    assert np.array_equal(inside.astype(bool), object_mask(result))
    assert np.array_equal(_inflated(model["input_mask"]).reshape(result.mask.shape), result.input_mask * 255)
    assert np.array_equal(np.float32(model["view"]), result.view)
    assert np.array_equal(np.float32(model["light"]), result.light)
    assert model["focal"] == pytest.approx(result.camera.focal_length, rel=1e-8)


def test_normals_survive_the_steps_of_depth():
    """16-bit steps of the object's own range turn normals by less than a tenth of a degree, at a photo's size."""
    y, x = np.mgrid[:128, :128] / 127 * 2 - 1
    depth = (1.05 - 0.1 * np.clip(1 - x**2 - y**2, 0, None)).astype(np.float32)
    result = plain_result(side=128, depth=depth)
    coded = _depth(fragment_of(result)[1]).astype(np.float32)
    normals = [host.normals(one, result.camera) for one in (depth, coded)]
    cosine = np.clip((normals[0] * normals[1]).sum(axis=-1), -1, 1)
    assert np.degrees(np.arccos(cosine)).max() < 0.2 and np.degrees(np.arccos(cosine)).mean() < 0.05


def test_a_flat_depth_is_no_division_by_zero():
    _, model, _, _ = fragment_of(plain_result())
    assert np.array_equal(_depth(model), np.ones((16, 16)))


def test_pictures_of_small_images_are_there_without_loss(result):
    _, model, extras, texture = fragment_of(result)
    for key, picture in (("albedo", result.albedo), ("input", result.image)):
        assert model[key]["kind"] == "jpeg" and extras[key]["kind"] == "png"
        assert np.abs(_picture(extras[key]) - picture).max() < 0.51 / 127.5
    assert "gan_image" not in extras and "spread" not in extras and texture == {}
    assert "albedo" not in fragment_of(plain_result(side=160))[2]  # large: JPEG does not show


def test_the_card_shows_photo_and_shape(result):
    card = fragment_of(result)[0]
    with Image.open(io.BytesIO(base64.b64decode(card["thumb"]))) as thumb:
        assert thumb.size == (160, 80)
        photo, shape = np.split(np.asarray(thumb.convert("RGB"), np.float32), 2, axis=1)
    assert photo.std() > 10 and shape.std() > 10 and np.ptp(shape, axis=-1).max() < 25  # the shape is grey
    assert len(json.dumps(card)) < 8000


def test_the_spread_of_depth_is_told_where_a_result_has_one():
    spread = np.linspace(0, 0.03, bump.SIZE**2, dtype=np.float32).reshape(bump.SIZE, -1)
    known = bump.result()
    object.__setattr__(known, "depth_spread", spread)  # whether or not the record has such a field
    extras = fragment_of(known)[2]
    told = _inflated(extras["spread"]).reshape(spread.shape) / 255 * extras["spread_high"]
    assert np.abs(told - spread).max() < 0.51 * 0.03 / 255


def test_a_texture_becomes_a_line_of_its_own(result):
    texture = np.zeros((2000, 2000, 3), np.uint8)
    texture[:, 1000:] = 200
    line = fragment_of(result, texture=texture)[3]
    shown = _picture(line["texture"])
    assert shown.shape == (1024, 1024, 3)
    assert shown[:, 100].mean() < -0.98 and shown[:, 900].mean() == pytest.approx(200 / 127.5 - 1, abs=0.01)


def test_the_whole_sheet_is_kept_where_the_mesh_keeps_it(result):
    inside = np.unpackbits(_inflated(fragment_of(result, full=True)[1]["inside"]))
    assert inside[: bump.SIZE**2].all()


def test_the_file_has_a_line_for_each_part_and_the_same_bytes_each_time(result, tmp_path):
    write_fragment(result, tmp_path)
    content = (tmp_path / FILE).read_bytes()
    assert [json.loads(line) for line in content.splitlines()] == fragment_of(result)
    write_fragment(result, tmp_path)
    assert (tmp_path / FILE).read_bytes() == content and b"\r" not in content
