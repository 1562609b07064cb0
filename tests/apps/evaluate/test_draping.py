"""A photo draped over shapes: the one that made the pictures explains them best."""

import numpy as np
import pytest
from helpers.plain_result import plain_result

from gan2shape_jax.apps.evaluate.consistency import Pictures, common_errors, drape
from gan2shape_jax.results.views import rough_views

SIDE = 32
VIEWS = np.array([[0.0, 0.35, 0, 0, 0, 0], [0.1, -0.35, 0, 0, 0, 0], [-0.3, 0.1, 0.05, 0, 0, 0]], np.float32)


def _bump(height):
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    return (1.02 - height * np.clip(1 - x**2 - y**2, 0, None)).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    """A bump with a smooth pattern on it, and what it looks like from three sides."""
    y, x = np.mgrid[:SIDE, :SIDE]
    photo = np.stack([np.sin(x / 3), np.cos(y / 3), np.sin((x + y) / 4)], axis=-1).astype(np.float32) * 0.7
    result = plain_result(side=SIDE, image=photo, light=np.array([0.5, 0.5, 0.0, 0.0], np.float32))
    canonical = np.broadcast_to(photo, (len(VIEWS), *photo.shape))
    return result, np.asarray(rough_views(_bump(0.08), canonical, VIEWS, camera=result.camera, sampling="centred"))


def test_the_right_shape_leaves_the_least_error(scene):
    result, images = scene
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[4:-4, 4:-4] = 1
    shapes = _bump(0.08), np.ones((SIDE, SIDE), np.float32), _bump(-0.08)
    draped = [drape(depth, mask, Pictures(images, VIEWS), result, iterations=20) for depth in shapes]
    right, flat, hollow = common_errors(draped, images).mean(1)
    assert right < 0.5 * flat < 0.5 * hollow


def test_a_view_that_is_off_is_found(scene):
    result, images = scene
    off = Pictures(images, VIEWS + np.array([0.0, 0.12, 0, 0, 0, 0], np.float32))
    found = drape(_bump(0.08), np.ones((SIDE, SIDE), np.float32), off, result)
    np.testing.assert_allclose(found.views[:, :2], VIEWS[:, :2], atol=0.03)


def test_errors_are_counted_where_every_shape_shows_the_object(scene):
    result, images = scene
    left, nowhere = np.zeros((2, SIDE, SIDE), np.float32)
    left[:, : SIDE // 2] = 1
    masks = left, np.ones((SIDE, SIDE), np.float32), nowhere
    draped = [drape(_bump(0.08), mask, Pictures(images, VIEWS), result, iterations=1) for mask in masks]
    changed = images.copy()
    changed[:, :, -4:] = -changed[:, :, -4:]  # nothing of the left half is ever seen so far to the right
    np.testing.assert_allclose(common_errors(draped[:2], changed), common_errors(draped[:2], images), rtol=1e-6)
    assert np.isnan(common_errors(draped[2:], images)).all()
