"""Parity of the ellipsoid prior, and properties of all priors."""

import functools
import math

import jax
import numpy as np
import pytest
from helpers.parity_record import LARGEST, largest
from helpers.tiny_stylegan2 import TINY

from gan2shape_jax.config import load_config
from gan2shape_jax.config.schema import problems
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry.camera import Camera, rotation_matrix
from gan2shape_jax.geometry.mesh_rasterizer import rasterize
from gan2shape_jax.io.categories import categories
from gan2shape_jax.method import models, prior
from gan2shape_jax.method.prior import ellipsoid, outline_yaws, prior_depth, whole_ellipsoid
from gan2shape_jax.method.settings import from_config

SHAPES = ("ellipsoid", "whole_ellipsoid", "shifted_ellipsoid")
ALIASES = {"ictface": "synface", "celeba": "face", "horse": "car"}
NEAR, FAR = 0.91, 1.02


def _mask(value: float = 1.0) -> np.ndarray:
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = value
    return mask


def _prior(mask, shape):
    config = load_config("ictface:scratch").unlock()
    config.category = "cat"
    config.prior.update(shape=shape, near=NEAR, far=FAR, shift=0.25)
    config.camera.fov_deg = math.degrees(2 * math.atan(63 / 2 * (FAR - NEAR) / 15.5))  # a width of 31 gives NEAR
    return prior_depth(config, mask)


def test_golden_ellipsoids(golden, parity):
    archive = golden("prior.npz")
    categories = sorted({key.split("/")[0] for key in archive})
    assert categories
    for category in categories:
        expected = archive[f"{category}/ellipsoid"][0]
        depth = ellipsoid(archive[f"{category}/mask"], category=category, far=float(expected.max()))
        assert depth.dtype == expected.dtype
        parity(f"ellipsoid of a {category}", largest(depth, expected), 1e-6, "prior.npz", LARGEST)


@pytest.mark.parametrize("category", categories())
def test_an_ellipsoid_lies_on_the_object_and_is_symmetric_as_that_is(category):
    depth = ellipsoid(_mask(), category=category, near=NEAR, far=FAR)
    assert depth.min() == pytest.approx(NEAR, abs=1e-3) and depth.max() == pytest.approx(FAR, abs=1e-6)
    covered = depth < depth.max()
    assert covered[31, 31] and not covered[:, [15, 48]].any()
    np.testing.assert_allclose(depth, depth[:, ::-1], atol=1e-6)
    if category in ALIASES:
        np.testing.assert_array_equal(depth, ellipsoid(_mask(), category=ALIASES[category], near=NEAR, far=FAR))


def test_half_marked_pixels_do_not_count():
    expected = ellipsoid(_mask(), category="cat")
    np.testing.assert_array_equal(ellipsoid(np.maximum(_mask(), 0.5), category="cat"), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_reach_from_near_on_the_object_to_far_around_it(shape):
    depth = _prior(_mask(), shape)
    assert depth.dtype == np.float32 and depth.shape == (64, 64)
    assert depth.min() == pytest.approx(NEAR, abs=1e-3)  # the tip lies between pixels
    assert depth.max() == pytest.approx(FAR, abs=1e-6)
    assert _mask()[np.unravel_index(depth.argmin(), depth.shape)] == 1


def test_the_whole_ellipsoid_is_as_deep_as_half_its_width_within_the_range():
    def nearest(width, **arguments):
        mask = np.zeros((64, 64), np.float32)
        mask[20:40, 10 : 10 + width] = 1
        return whole_ellipsoid(mask, **{"far": FAR, "least": 0.9, "pixel": 0.003} | arguments).min()

    assert nearest(21) == pytest.approx(FAR - 10 * 0.003, abs=5e-4)
    assert nearest(41) == pytest.approx(FAR - 20 * 0.003, abs=5e-4)
    assert nearest(41, pixel=0.03) == pytest.approx(0.9, abs=1e-3)  # not nearer than depths can be
    assert nearest(41, pixel=0.03, least=0.1) > FAR - 0.4
    with pytest.raises(UserError, match="must lie behind the least depth"):
        nearest(21, least=FAR)


@pytest.mark.parametrize("above, below", [(False, False), (True, False), (False, True), (True, True)])
def test_the_whole_ellipsoid_goes_on_beyond_the_edges_that_the_mask_touches(above, below):
    mask = np.zeros((64, 64), np.float32)
    mask[0 if above else 16 : 64 if below else 48, 16:48] = 1
    depth = whole_ellipsoid(mask, far=FAR, least=0.9, pixel=0.003)
    rise = FAR - depth[:, 32]
    samples_seen = np.nonzero(rise > 1e-6)[0]
    assert samples_seen.min() == 0 if above else samples_seen.min() in (15, 16, 17)
    assert samples_seen.max() == 63 if below else samples_seen.max() in (46, 47, 48)
    # Cut off at two thirds of the way from the middle to the rim, it is still high there; a rim is flat.
    assert (rise[0] > 0.2 * rise.max()) == above and (rise[63] > 0.2 * rise.max()) == below


def test_the_flat_prior_is_a_plane_and_the_shifted_one_the_ellipsoid_moved():
    np.testing.assert_array_equal(_prior(_mask(), "flat"), np.ones((64, 64), np.float32))  # the middle of [0.9, 1.1]
    plain = _prior(_mask(), "ellipsoid")
    np.testing.assert_array_equal(plain, ellipsoid(_mask(), category="cat", near=NEAR, far=FAR))
    # The mask is 32 pixels wide: its box measures 31 from centre to centre.
    moved = ellipsoid(_mask(), category="cat", near=NEAR, far=FAR, shift=8 / 31)
    np.testing.assert_allclose(moved[:, 8:], plain[:, :-8], atol=1e-6)


@pytest.mark.parametrize(
    "mask, options, message",
    [
        (_mask(0.6), {}, "empty.*0.7"),
        (np.pad(np.ones((5, 1), np.float32), ((5, 5), (7, 7))), {}, "1 pixels wide"),
        (_mask(), {"near": 1.0, "far": 1.0}, "far"),
    ],
)
def test_what_no_ellipsoid_fits_is_refused(mask, options, message):
    with pytest.raises(UserError, match=message):
        ellipsoid(mask, category="cat", **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_empty_mask_is_refused(shape):
    with pytest.raises(UserError, match="the object mask is empty"):
        _prior(_mask(0.5), shape)


CAR = (0.154, 0.062, 0.052, 40.0)
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
TRIANGLES = np.array([[side[0], *side[k : k + 2]] for side in SIDES for k in (1, 2)])


@functools.partial(jax.jit, static_argnames="size")
def _rasterized(yaw, size=64):
    """Returns the depth of the cuboid `CAR` after a turn, degrees; where it is empty, 100."""
    length, width, height, azimuth = CAR
    points = CORNERS * np.array([width, height, length], np.float32) / 2  # the front is towards the camera
    turn = rotation_matrix(jax.numpy.stack([0.0, jax.numpy.radians(yaw - azimuth), 0.0]))
    fragments = rasterize(points @ turn.T + np.array([0, 0, 1.0]), Camera(image_size=size), faces=TRIANGLES)
    return jax.numpy.where(fragments.triangle >= 0, fragments.depth, 100.0)


def test_a_cuboid_is_that_of_the_rasterizer_and_is_turned_to_the_right():
    config = load_config("ictface:scratch").unlock()
    config.prior.update(shape="cuboid", cuboid=CAR, far=1.015)
    depth, expected = prior_depth(config, _mask()), np.asarray(_rasterized(0.0))
    assert depth.dtype == np.float32 and depth.max() > 1.015  # the far end lies behind what is around it
    np.testing.assert_allclose(depth, np.where(expected < 100, expected, 1.015), atol=1e-6)
    nearest = np.nonzero(depth == depth.min())[1].mean()
    assert nearest > 36  # the corner between front and flank
    np.testing.assert_array_equal(depth, prior_depth(config, _mask(0)))  # whatever the mask


@pytest.mark.parametrize("wrong", [(0.1, 0.1, 40.0), (0.1, 0.1, 0.0, 40.0), (0.1, "wide", 0.1, 0.0)])
def test_what_is_no_cuboid_is_refused(wrong):
    config = load_config("ictface:scratch").unlock()
    config.prior.cuboid = wrong
    (problem,) = problems(config)
    assert "config.prior.cuboid is" in problem and "length, width and height" in problem


def test_widths_of_outlines_tell_how_far_cuboids_are_turned():
    truth = np.random.default_rng(0).permutation(np.linspace(-45, 45, 60))
    masks = np.stack([np.asarray(_rasterized(yaw)) < 100 for yaw in truth]).astype(np.float32)
    length, width, height, azimuth = CAR
    for mirrored in (False, True):
        seen, sign = (masks[:, :, ::-1], -1) if mirrored else (masks, 1)
        yaws = outline_yaws(seen, (length, width, height, sign * azimuth), farthest=45)
        assert sorted(np.degrees(yaws)) == pytest.approx(np.linspace(-45, 45, 60), abs=1e-4)
        off = np.abs(np.degrees(yaws) - sign * truth)
        # From the side all are about equally wide, and from in front to either side of it.
        assert off[(truth > -10) & (truth < 30)].max() < 4 and off.mean() < 5


def test_the_view_network_learns_the_yaws_that_it_is_told(monkeypatch):
    monkeypatch.setattr(prior, "_LESSONS", 60)
    config = load_config("ictface:scratch").unlock()
    config.update(image_size=32)
    settings = from_config(config, TINY, original_size=32)
    params = models.init_params(jax.random.key(0), settings)
    yaws = np.radians(np.linspace(-40, 40, 16)).astype(np.float32)
    images = np.broadcast_to(np.linspace(-1, 1, 16, dtype=np.float32)[:, None, None, None], (16, 32, 32, 3))
    mean = np.array([0.1, 0, 0, 0, 0, 0], np.float32)
    taught = prior.taught_yaws(params, images, yaws, mean, settings, rng=np.random.default_rng(0))
    views = np.asarray(models.views(taught, images, mean, settings))
    assert np.corrcoef(views[:, 1], yaws)[0, 1] > 0.9
    np.testing.assert_allclose(views[:, 0], np.radians(6), atol=np.radians(2))  # the mean view's pitch
    assert all(taught[name] is params[name] for name in params if name != "view")
