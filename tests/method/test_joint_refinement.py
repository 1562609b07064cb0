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
    pictures = joint_refinement._padded(_views(0, 20), np.zeros(2), images, masks)
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


def test_an_enlarged_depth_map_is_of_the_same_surface():
    larger = joint_refinement.enlarged_camera(_CAMERA, 3 * _SIDE)
    # What three pixels show together is what the one pixel shows that they are of.
    np.testing.assert_allclose(larger.focal_length, 3 * _CAMERA.focal_length, rtol=1e-6)
    depth = np.asarray(blend_border(1 + 0.0005 * np.mgrid[:_SIDE, :_SIDE][0].astype(np.float32), _CAMERA))
    enlarged = joint_refinement.enlarged_depth(depth, larger)
    middle = enlarged[1 + 3 * 5 : -15 : 3, 1 + 3 * 5 : -15 : 3]
    np.testing.assert_allclose(middle, depth[5:-5, 5:-5], atol=1e-6)
    border = enlarged > 1.02  # no wider than in any picture, and without waves beside it
    assert border.all(axis=0).sum() == 4 and border.any(axis=0).sum() == 4


def _ridge(camera):
    """Returns a dome, the same with a ridge in its middle, views, albedo, and its pictures in five lights."""
    rng, side = np.random.default_rng(0), camera.image_size
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    start = np.asarray(blend_border(1.04 - 0.06 * np.clip(1 - x**2 - 0.5 * y**2, 0, 1), camera), np.float32)
    truth = start - 0.02 * np.exp(-(x**2) / 0.06 - y**2 / 0.2)
    views = _views(-35, -15, 0, 20, 35)
    albedo = np.clip(0.4 + 0.3 * rng.normal(size=(side, side, 3)), 0.05, 0.9)
    albedo = ((albedo + albedo[:, ::-1]) / 2).astype(np.float32)
    images = []
    for view in views:
        depth = np.asarray(render.warp_depth(truth[None], view[None], camera))
        grid = camera_lib.inverse_warped_grid(depth, view[None], camera)
        shading = np.asarray(lighting.harmonics(lighting.normals(truth, camera))) @ np.array(
            [0.5, *rng.normal(0, 0.15, 2), 0.3, 0, 0, 0, 0, 0], np.float32
        )
        lit = (albedo * np.maximum(shading, 0.02)[..., None])[None]
        images.append(np.asarray(resample.grid_sample(lit, grid))[0])
    return start, truth, views, albedo, (np.clip(np.stack(images), 0, 1) ** (1 / 2.2)).astype(np.float32)


@pytest.mark.heavy
def test_pictures_from_the_sides_tell_a_nose_that_the_start_lacks():
    start, truth, views, albedo, images = _ridge(_CAMERA)
    masks = np.ones(images.shape[:3], np.float32)
    joint = joint_refinement.reconstruct(start, views, images, masks, _REGION, _CAMERA, symmetric=True)
    middle = np.s_[8:24, 8:24]

    def error(depth):
        return np.std((depth - truth)[middle])

    assert joint.better and joint.used.all()
    assert error(joint.depth) < 0.6 * error(start)
    assert np.degrees(np.abs(joint.views - views)[:, :2]).max() < 2
    # Of the noise that is the albedo, what is finer than pixels is lost in drawing.
    assert np.corrcoef(joint.albedo[middle].ravel(), albedo[middle].ravel())[0, 1] > 0.8


@pytest.mark.heavy
def test_larger_pictures_refine_what_smaller_ones_told():
    camera = joint_refinement.enlarged_camera(_CAMERA, 2 * _SIDE)
    start, truth, views, _, images = _ridge(camera)
    small = np.asarray(resample.resize(start[..., None], _SIDE))[..., 0]
    sizes, lights = np.full(5, 0.01, np.float32), np.zeros((5, 9, 3), np.float32)
    albedo, errors = np.ones((_SIDE, _SIDE, 3), np.float32), np.zeros((5, 2), np.float32)
    told = joint_refinement.Joint(small, views, sizes, albedo, lights, np.ones(5, bool), True, 70.0, errors)
    masks = np.ones(images.shape[:3], np.float32)
    joint = joint_refinement.refine(told, images, masks, _REGION, camera, symmetric=True)
    middle = np.s_[16:48, 16:48]

    def error(depth):
        return np.std((depth - truth)[middle])

    assert joint.depth.shape == truth.shape and joint.albedo.shape == (*truth.shape, 3) and joint.better
    assert error(joint.depth) < 0.6 * error(start)
    assert np.ptp(joint.sizes) < 0.01  # a size of all is hardly told from a relief
    assert np.degrees(np.abs(joint.views - views)[:, :2]).max() < 2
