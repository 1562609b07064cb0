"""Views from landmarks: a guess is corrected by where points are, and the points come from many pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import landmark_pose
from gan2shape_jax.geometry.camera import Camera

_CAMERA = Camera(64, fov_deg=10.0)
_MIRRORED = (1, 0, 2, 4, 3)
_POINTS = np.array(
    [[-0.03, -0.03, 0.965], [0.03, -0.03, 0.965], [0, 0, 0.943], [-0.026, 0.028, 0.968], [0.026, 0.028, 0.968]],
    np.float32,
)


@jax.jit
def _projected(view):
    return cam.project(cam.transform(jnp.asarray(_POINTS), view, _CAMERA), _CAMERA)


def _seen(views):
    """Returns the points' pixels from views (n, 6): one by one, by one program."""
    return np.stack([_projected(view) for view in np.asarray(views, np.float32)])


def _views(count):
    rng = np.random.default_rng(0)
    return np.concatenate(
        [rng.normal(0, [0.1, 0.35, 0.05], (count, 3)), rng.normal(0, 0.002, (count, 3)) * [1, 1, 0]], 1
    )


def _corrected(guesses, landmarks):
    correct = jax.vmap(landmark_pose.corrected_view, in_axes=(0, 0, None, None))
    arrays = (jnp.asarray(values, jnp.float32) for values in (guesses, landmarks, _POINTS))
    return jax.tree.map(np.asarray, jax.jit(correct)(*arrays, _CAMERA))


def test_a_right_guess_stays_and_a_far_turn_that_is_taken_for_less_is_mended():
    views = _views(64) * [1, 1, 1, 0, 0, 0]
    same, error = _corrected(views, _seen(views))
    np.testing.assert_allclose(same, views, atol=1e-4)
    assert error.max() < 1e-5
    views[:, 1] = np.where(views[:, 1] > 0, 0.8, -0.8)  # 46 degrees
    guesses = views * [1, 0.6, 1, 1, 1, 1]
    mended, error = _corrected(guesses, _seen(views))
    assert np.abs(mended[:, 1] - views[:, 1]).max() < 0.13 and error.max() < 0.02  # of 0.32
    assert np.abs(mended[:, 3:5] - views[:, 3:5]).max() < 0.004 and not mended[:, 5].any()


def test_where_a_network_takes_an_object_to_lie_does_not_count():
    """A translation that is wrong by 0.02, seven pixels of 64, turned views by some ten degrees when it was kept."""
    views = _views(64)
    one, another = (_corrected(views + [0, 0, 0, x, y, 0], _seen(views))[0] for x, y in ((0, 0), (0.02, -0.02)))
    np.testing.assert_array_equal(one, another)
    assert np.abs(one - views)[:, :3].mean() < 0.02


def test_a_mirror_image_has_the_mirrored_view():
    views = _views(16)
    guesses, landmarks = views * 0.8, _seen(views)
    mirrored = (landmarks * [-1, 1] + [63, 0])[:, _MIRRORED]
    signs = np.array([1, -1, -1, -1, 1, 1])
    np.testing.assert_allclose(
        _corrected(guesses * signs, mirrored)[0], _corrected(guesses, landmarks)[0] * signs, atol=1e-4
    )


def test_a_landmark_that_is_far_off_turns_a_view_by_a_bounded_angle_and_is_told():
    views, far = _views(16), np.zeros((5, 2))
    far[2] = [20, 0]  # pixels: the nose on the cheek
    one, error = _corrected(views, _seen(views) + far)
    assert 0.1 < np.abs(one - views).max() < 0.4 and error.min() > 0.02
    far[2] = [200, 0]
    assert np.abs(_corrected(views, _seen(views) + far)[0] - views)[:, :3].max() <= 0.6 + 1e-6


def test_without_all_landmarks_the_guess_stays():
    views, landmarks = _views(2), _seen(_views(2)).copy()
    landmarks[1, 3] = np.nan
    same, error = _corrected(views + 0.1, landmarks)
    np.testing.assert_array_equal(same[1], (views + 0.1).astype(np.float32)[1])
    assert np.isnan(error[1]) and np.isfinite(error[0]) and np.isfinite(same).all()


@pytest.mark.parametrize("off", [0.0, 0.05])
def test_points_are_those_that_many_pictures_agree_on(off):
    """Begun with points on a plane, by guesses that are `off` radians wrong."""
    rng, views = np.random.default_rng(1), _views(256)
    landmarks = _seen(views) + rng.normal(0, 0.2, (256, 5, 2))
    guesses = views + rng.normal(0, off + 1e-6, views.shape) * [1, 1, 1, 0, 0, 0]
    flat = (_POINTS / _POINTS[:, 2:]).astype(np.float32)
    points = landmark_pose.fit_points(landmarks, guesses, flat, _MIRRORED, _CAMERA)
    depth = lambda points: points[:, 2] - points[:, 2].mean()  # noqa: E731 (the whole may lie elsewhere)
    np.testing.assert_allclose(depth(points), depth(_POINTS), atol=0.002)
    np.testing.assert_allclose(points[:, :2], _POINTS[:, :2], atol=0.001)
    np.testing.assert_allclose(points, points[list(_MIRRORED)] * [-1, 1, 1], atol=1e-6)
