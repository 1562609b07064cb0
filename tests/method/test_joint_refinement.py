"""Joint refinement: what follows from the pictures, decisions, and one shape from several of them."""

import numpy as np
import pytest

from gan2shape_jax.geometry import camera as camera_lib
from gan2shape_jax.geometry import lighting, render, resample
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import joint_refinement
from gan2shape_jax.method.factors import blend_border

_SIDE = 32
_CAMERA = Camera(image_size=_SIDE)
_REGION = np.pad(np.ones((24, 24), np.float32), 4)


def _views(*yaws, pitch=0.0):
    views = np.zeros((len(yaws), 6), np.float32)
    views[:, 0], views[:, 1] = np.radians(pitch), np.radians(yaws)
    return views


def _answering(errors, count, seen=None):
    """Returns a fit whose errors are those of the start and of a joint shape, (n, 2)."""

    def fit(pictures, known, wish, *, camera, rounds):
        if seen is not None:
            seen.append((wish, rounds))
        n = len(pictures.shown)
        own = np.pad(np.asarray(errors, np.float32)[:, int(wish.free)], (0, n - count))
        depth = known.start + 0.01 * wish.free
        return depth, pictures.views, np.zeros(n), np.full((_SIDE, _SIDE, 3), 0.3), np.zeros((n, 9, 3)), own

    return fit


def _reconstruct(errors, views, seen=None, likeness=None):
    count = len(views)
    images, masks = np.full((count, _SIDE, _SIDE, 3), 0.5, np.float32), np.ones((count, _SIDE, _SIDE), np.float32)
    start, fit = np.ones((_SIDE, _SIDE), np.float32), _answering(errors, count, seen)
    known = start, views, images, masks, _REGION, _CAMERA
    return joint_refinement.reconstruct(*known, symmetric=True, likeness=likeness, fit=fit)


@pytest.mark.parametrize(
    ("errors", "used", "better"),
    [
        ([[0.10, 0.08], [0.11, 0.09], [0.09, 0.08]], [1, 1, 1], True),
        ([[0.10, 0.10], [0.11, 0.11], [0.09, 0.09]], [1, 1, 1], False),  # nothing gained: the start stays
        ([[0.10, 0.12], [0.11, 0.12], [0.09, 0.10]], [1, 1, 1], False),
        ([[0.10, 0.08], [0.11, 0.09], [0.09, 0.08], [0.30, 0.28]], [1, 1, 1, 0], True),  # another's face
        ([[0.10, 0.08], [0.30, 0.28]], [1, 1], True),  # of two, nobody can say which is another's
    ],
)
def test_a_joint_shape_is_taken_where_pictures_left_out_are_explained_better(errors, used, better):
    joint = _reconstruct(errors, _views(*np.linspace(-30, 30, len(errors))))
    assert joint.used.tolist() == list(map(bool, used)) and joint.better is better
    assert joint.depth.max() == pytest.approx(1.01 if better else 1.0)
    np.testing.assert_allclose(joint.errors, errors)


def test_an_error_and_a_look_that_are_each_a_little_strange_are_another_objects():
    errors, views = [[0.10, 0.08], [0.11, 0.09], [0.09, 0.08], [0.13, 0.12]], _views(-30, -10, 10, 30)
    assert _reconstruct(errors, views).used.all()
    assert _reconstruct(errors, views, likeness=np.array([0.4, 0.5, 0.4, 0.1])).used.tolist() == [1, 1, 1, 0]
    assert _reconstruct(errors, views, likeness=np.array([0.4, 0.5, 0.4, 0.4])).used.all()


def test_each_picture_is_left_out_once_and_the_rest_teach():
    seen = []
    joint = _reconstruct([[0.1, 0.08]] * 4, _views(-30, -10, 10, 30), seen)
    left_out = [tuple(wish.teaches[:4]) for wish, rounds in seen if rounds == min(rounds for _, rounds in seen)]
    assert sorted(left_out) == 2 * [(0, 1, 0, 1)] + 2 * [(1, 0, 1, 0)]
    assert seen[-1][0].teaches.tolist() == [1, 1, 1, 1, 0, 0]  # and padding teaches nothing
    assert joint.spread_deg == pytest.approx(60, abs=1e-3)


def test_the_less_views_are_spread_the_stiffer_is_the_shape():
    def stiffness(*yaws):
        seen = []
        _reconstruct([[0.1, 0.08]] * len(yaws), _views(*yaws), seen)
        return float(seen[-1][0].stiffness)

    assert stiffness(-45, 0, 45) == 1
    assert 5 < stiffness(-12, 0, 12) < 15
    assert stiffness(0, 0, 0) == 1e4


def test_outlines_are_where_masks_end_inside_the_picture():
    masks = np.zeros((2, _SIDE, _SIDE), np.float32)
    masks[0, 10:, 8:20] = 1
    masks[1] = 1
    images = np.zeros((2, _SIDE, _SIDE, 3), np.float32)
    pictures = joint_refinement._padded(_views(0, 20), images, masks)
    assert pictures.shown.tolist() == [1, 1, 0] and pictures.masked.tolist() == [1, 0, 1]
    assert pictures.outlined[:, 0].tolist() == [1, 0, 1]
    x, y = pictures.outline[0].T
    assert set(x[y > 11]) == {8, 19} and y.max() < _SIDE - 3  # it leaves the picture below
    assert pictures.distance[0, 20, 23] == 4 and pictures.distance[1].max() == 0


def test_halves_share_an_albedo_except_where_both_are_seen_and_differ():
    under, albedo = np.full((4, 4, 3), 20.0, np.float32), np.full((4, 4, 3), 0.4, np.float32)
    albedo[0, 0], albedo[1, 1], under[2, 0] = 0.05, 0.45, 0  # a fringe; nearly alike; seen in one half only
    alike = joint_refinement._alike(albedo * under, under)[..., 0]
    np.testing.assert_allclose(alike, alike[:, ::-1])
    assert alike[0, 0] < 0.01 and 0.9 < alike[1, 1] < 1 and alike[2, 0] > 0.99 and alike[3, 0] == 1


@pytest.mark.heavy
def test_pictures_from_the_sides_tell_a_nose_that_the_start_lacks():
    # A ridge in the middle that the start does not have, with colours all over, in three lights.
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j].astype(np.float32)
    start = np.asarray(blend_border(1.04 - 0.06 * np.clip(1 - x**2 - 0.5 * y**2, 0, 1), _CAMERA), np.float32)
    truth = start - 0.02 * np.exp(-(x**2) / 0.06 - y**2 / 0.2)
    views = _views(-35, -15, 0, 20, 35)
    albedo = np.clip(0.4 + 0.3 * rng.normal(size=(_SIDE, _SIDE, 3)), 0.05, 0.9)
    albedo = ((albedo + albedo[:, ::-1]) / 2).astype(np.float32)
    images = []
    for view in views:
        depth = np.asarray(render.warp_depth(truth[None], view[None], _CAMERA))
        grid = camera_lib.inverse_warped_grid(depth, view[None], _CAMERA)
        shading = np.asarray(lighting.harmonics(lighting.normals(truth, _CAMERA))) @ np.array(
            [0.5, *rng.normal(0, 0.15, 2), 0.3, 0, 0, 0, 0, 0], np.float32
        )
        lit = (albedo * np.maximum(shading, 0.02)[..., None])[None]
        images.append(np.asarray(resample.grid_sample(lit, grid))[0])
    images = np.clip(np.stack(images), 0, 1) ** (1 / 2.2)
    masks = np.ones(images.shape[:3], np.float32)
    joint = joint_refinement.reconstruct(
        start, views, images.astype(np.float32), masks, _REGION, _CAMERA, symmetric=True
    )
    middle = np.s_[8:24, 8:24]

    def error(depth):
        return np.std((depth - truth)[middle])

    assert joint.better and joint.used.all()
    assert error(joint.depth) < 0.6 * error(start)
    assert np.degrees(np.abs(joint.views - views)[:, :2]).max() < 2
    # Of the noise that is the albedo, what is finer than pixels is lost in drawing.
    assert np.corrcoef(joint.albedo[middle].ravel(), albedo[middle].ravel())[0, 1] > 0.8
