"""Maps of a photo: compared with the surface, view and crop that the photo was drawn from."""

import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.photographed import photographed
from PIL import Image

from gan2shape_jax.geometry import camera as cameras
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.crop_box import CropBox, crop_to_photo
from gan2shape_jax.photos.maps import _guided, photo_maps

BOX = CropBox(205, 165, 256, 7.5)


@pytest.fixture(scope="module")
def known():
    return photographed(box=BOX)


@pytest.fixture(scope="module")
def maps(known):
    made = photo_maps(known.result, known.photo, BOX)
    pictures = [Image.open(io.BytesIO(content)) for content in made.values()]
    assert list(made) == ["photo_depth.png", "photo_normals.png", "photo_mask.png"]
    return [np.asarray(picture) for picture in pictures], [picture.text["Description"] for picture in pictures]


def _seen(result):
    """Points (n, 3) of the inner surface in the view, and their unit normals there, into the surface."""
    turn = np.asarray(cameras.rotation_matrix(jnp.asarray(result.view[:3])))
    points = cameras.transform(cameras.back_project(result.depth, result.camera), result.view, result.camera)
    normals = np.asarray(lighting.normals(result.depth, result.camera)) @ turn.T
    inner = np.s_[8:-8:3, 8:-8:3]
    return np.asarray(points)[inner].reshape(-1, 3), normals[inner].reshape(-1, 3)


def _there(known):
    """Columns and rows of these points in the photo, from the camera and the crop alone."""
    points, _ = _seen(known.result)
    camera = known.result.camera
    u, v = (points[:, k] / points[:, 2] * camera.focal_length + (camera.image_size - 1) / 2 for k in (0, 1))
    return np.floor(crop_to_photo(np.stack([u + 0.5, v + 0.5], -1), BOX, camera.image_size)).astype(int).T


def test_depth_is_that_of_the_surface_in_16_bits_and_near_is_white(known, maps):
    (depth, _, mask), (said, *_) = maps
    assert depth.shape == mask.shape == (350, 400) and depth.dtype == np.uint16 and mask.dtype == np.uint8
    near, far = map(float, re.findall(r"[0-9.]+(?= m)", said))
    assert near < far and said.startswith(f"linear depth: 65535 is {near:.4f} m from the camera, 1 is {far:.4f} m")
    column, row = _there(known)
    measured = far + (near - far) * (depth[row, column].astype(float) - 1) / 65534
    true = _seen(known.result)[0][:, 2] * known.result.metres
    assert np.abs(measured - true).max() < 0.03 * (far - near)  # a pixel and the splines apart
    assert np.corrcoef(measured, true)[0, 1] > 0.999
    assert len(np.unique(depth)) > 10_000 and depth.max() == 65535


def test_normals_point_out_of_the_surface_to_the_right_and_up_in_the_photo(known, maps):
    (_, normals, mask), _ = maps
    column, row = _there(known)
    read = normals[row, column] / 127.5 - 1
    into = _seen(known.result)[1] * (-1, -1, -1)  # out of it: x to the right, y down, z away from the camera
    angle = np.deg2rad(BOX.roll_deg)  # the crop's content is turned by this, clockwise as seen
    right, down = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ into[:, :2].T
    np.testing.assert_allclose(read, np.stack([right, -down, -into[:, 2]], -1), atol=0.06)
    assert (normals[mask == 0] == (128, 128, 255)).all()
    inside = np.argwhere(mask == 255)
    top, below = (normals[tuple(inside[pick(inside[:, 0])])] for pick in (np.argmin, np.argmax))
    left, right = (normals[tuple(inside[pick(inside[:, 1])])] for pick in (np.argmin, np.argmax))
    assert top[1] > 140 > 116 > below[1] and left[0] < 116 < 140 < right[0]


def test_the_mask_is_where_there_is_depth_and_nothing_is_beside_the_object(known, maps):
    (depth, _, mask), _ = maps
    assert ((depth > 0) == (mask > 0)).all()
    colours = known.photo / 255 - (0.2, 0.5, 0.9)  # of the background
    object_ = np.abs(colours).max(-1) > 0.02
    assert ((mask > 127) & object_).sum() / ((mask > 127) | object_).sum() > 0.95
    assert not mask[:8].any() and not mask[:, :30].any()


def test_the_outline_follows_an_edge_of_the_photo_that_is_near():
    edge, cut = (np.tile((np.arange(120) >= place).astype(np.float32), (120, 1)) for place in (60, 57))
    plain = np.full_like(edge, 0.5)
    crossing = [np.argmax(_guided(cut, guide, 6)[60] >= 0.5) for guide in (edge, plain)]
    assert crossing == [pytest.approx(60, abs=1), 57]
    assert np.ptp(_guided(np.ones_like(edge), edge, 6)) == 0  # where there is no outline, none appears


def test_a_crop_that_reaches_beyond_the_photo_has_maps_of_the_photo(known):
    half = known.photo[:, 205:]
    depth, normals, mask = (
        np.asarray(Image.open(io.BytesIO(content)))
        for content in photo_maps(known.result, half, CropBox(0, 165, 256, 7.5)).values()
    )
    assert depth.shape == mask.shape == normals.shape[:2] == half.shape[:2]
    assert mask[165, 0] == 255 and depth[165, 0] > 0
