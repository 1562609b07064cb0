"""A photo draped over shapes: the one that made the pictures explains them best."""

import numpy as np
import pytest

from gan2shape_jax.apps.evaluate.unseen import common_errors, drape
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.results.views import rough_views

SIDE = 32
CAMERA = Camera(SIDE)
LIGHT = np.array([0.5, 0.5, 0.0, 0.0], np.float32)
VIEWS = np.array([[0.0, 0.35, 0, 0, 0, 0], [0.1, -0.35, 0, 0, 0, 0], [-0.3, 0.1, 0.05, 0, 0, 0]], np.float32)


def _bump(height):
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    return (1.02 - height * np.clip(1 - x**2 - y**2, 0, None)).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    """A bump with a smooth pattern on it, and what it looks like from three sides."""
    y, x = np.mgrid[:SIDE, :SIDE]
    photo = np.stack([np.sin(x / 3), np.cos(y / 3), np.sin((x + y) / 4)], axis=-1).astype(np.float32) * 0.7
    canonical = np.broadcast_to(photo, (len(VIEWS), *photo.shape))
    return photo, np.asarray(rough_views(_bump(0.08), canonical, VIEWS, camera=CAMERA, sampling="centred"))


def test_the_right_shape_leaves_the_least_error(scene):
    photo, pictures = scene
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[4:-4, 4:-4] = 1
    shapes = {"right": _bump(0.08), "flat": np.ones((SIDE, SIDE), np.float32), "hollow": _bump(-0.08)}
    draped = [drape(depth, photo, mask, LIGHT, pictures, VIEWS, CAMERA, iterations=40) for depth in shapes.values()]
    right, flat, hollow = common_errors(draped, pictures).mean(1)
    assert right < 0.5 * flat < 0.5 * hollow


def test_a_view_that_is_off_is_found(scene):
    photo, pictures = scene
    mask = np.ones((SIDE, SIDE), np.float32)
    off = VIEWS + np.array([0.0, 0.12, 0, 0, 0, 0], np.float32)
    found = drape(_bump(0.08), photo, mask, LIGHT, pictures, off, CAMERA)
    np.testing.assert_allclose(found.views[:, :2], VIEWS[:, :2], atol=0.03)


def test_errors_are_counted_where_every_shape_shows_the_object(scene):
    photo, pictures = scene
    left, nowhere = np.zeros((2, SIDE, SIDE), np.float32)
    left[:, : SIDE // 2] = 1
    whole = np.ones((SIDE, SIDE), np.float32)
    both = [drape(_bump(0.08), photo, mask, LIGHT, pictures, VIEWS, CAMERA, iterations=1) for mask in (left, whole)]
    changed = pictures.copy()
    changed[:, :, -4:] = -changed[:, :, -4:]  # nothing of the left half is ever seen so far to the right
    np.testing.assert_allclose(common_errors(both, changed), common_errors(both, pictures), rtol=1e-6)
    none = [drape(_bump(0.08), photo, nowhere, LIGHT, pictures, VIEWS, CAMERA, iterations=1)]
    assert np.isnan(common_errors(none, pictures)).all()
