"""Parity and properties of the metrics."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import LARGEST, PER_VALUE, largest, per_value

from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import metrics


def test_golden_side(golden, parity):
    archive = golden("losses.npz")
    side = metrics.side(archive["depth_pred"], archive["depth_gt"], archive["mask"][:, 0])
    parity("metric SIDE", per_value(side, archive["side"]), 1e-5, "losses.npz", PER_VALUE)


def test_golden_mean_angle_of_short_normals(golden, parity):
    archive = golden("losses.npz")
    camera = Camera(image_size=archive["depth_pred"].shape[-1])
    # The original divides its frontal border by its length + 1e-7 too. `depth_metrics` never sees
    # the border, which erosion removes; the mask of this file keeps it, and acos shows what float32
    # makes of it.
    border = np.ones(archive["depth_pred"].shape, bool)
    border[:, 1:-1, 1:-1] = False
    frontal = np.array([0, 0, 1 / (1 + 1e-7)], np.float32)
    normals = [
        jnp.where(
            border[..., None],
            frontal,
            lighting.normals(jnp.asarray(archive[k]), camera, unit=False),
        )
        for k in ("depth_pred", "depth_gt")
    ]
    angle = metrics.mean_angle(*normals, archive["mask"][:, 0])
    parity("metric MAD", per_value(angle, archive["mad"]), 1e-5, "losses.npz", PER_VALUE)


def test_golden_erosion(golden, parity):
    archive = golden("losses.npz")
    off = largest(metrics.erode(archive["mask"][:, 0]), archive["eroded"])
    parity("erosion of the metrics' mask", off, 0, "losses.npz", LARGEST)


def test_evaluation_mask_leaves_out_background_and_invalid_pixels():
    depth = jnp.full((7, 9), 1.1).at[1:6, 1:6].set(1.0)
    valid = jnp.ones((7, 9)).at[:, :3].set(0.0)
    expected = np.zeros((7, 9))
    expected[2:5, 4:5] = 1
    np.testing.assert_array_equal(metrics.evaluation_mask(depth, valid), expected)


def test_side_ignores_a_common_factor_and_measures_the_spread_of_the_log_ratio():
    rng = np.random.default_rng(0)
    true = jnp.asarray(rng.uniform(0.9, 1.1, (8, 8)))
    mask = jnp.ones((8, 8))
    assert float(metrics.side(true * 3, true, mask)) == pytest.approx(0, abs=1e-6)
    ratio = rng.normal(0, 0.05, (8, 8))
    assert float(metrics.side(true * np.exp(ratio), true, mask)) == pytest.approx(ratio.std(), rel=1e-4)


def test_mean_angle_of_known_normals():
    angle = np.radians(30)
    first = jnp.zeros((4, 4, 3)).at[..., 2].set(1)
    second = jnp.zeros((4, 4, 3)).at[..., 0].set(np.sin(angle)).at[..., 2].set(np.cos(angle))
    mask = jnp.ones((4, 4)).at[0].set(0)
    assert float(metrics.mean_angle(first, second, mask)) == pytest.approx(30, rel=1e-5)


def _object(shift=0.0):
    """A depth that is off by `shift`, and the true one, with a round object before the farthest background."""
    y, x = np.mgrid[:16, :16] / 7.5 - 1
    true_depth = np.where(x**2 + y**2 < 0.5, 0.95 + 0.05 * x, 1.1).astype(np.float32)
    return true_depth + np.float32(shift), true_depth


def test_metrics_of_the_truth_itself_are_zero_but_for_the_short_normals():
    errors = metrics.depth_metrics(*_object(), np.ones((16, 16), np.float32), Camera(16))
    assert sorted(errors) == ["mad", "mad_unit", "mae", "mse", "side"]
    for name in ("side", "mae", "mse"):
        assert float(errors[name]) == 0
    assert float(errors["mad_unit"]) < 0.05  # rounding: acos is steep at one
    assert 1 < float(errors["mad"]) < 8


def test_depth_errors_are_the_metrics_of_checked_arrays():
    camera = Camera(16)
    depth, true_depth = _object(0.01)
    errors = metrics.depth_errors(depth, jnp.asarray(true_depth), camera)
    expected = metrics.depth_metrics(jnp.asarray(depth), jnp.asarray(true_depth), jnp.ones((16, 16)), camera)
    assert errors.keys() == expected.keys()
    for name, value in errors.items():
        np.testing.assert_allclose(value, expected[name], rtol=0.01, err_msg=name)  # angles near 0 are rough
    np.testing.assert_allclose([errors["mae"], errors["mse"]], [0.01, 1e-4], atol=1e-6)
    batch = metrics.depth_errors(np.stack([depth] * 3), np.stack([true_depth] * 3), camera)
    np.testing.assert_allclose(batch["side"], [errors["side"]] * 3, atol=1e-6)


def test_empty_pixels_of_a_warped_depth_are_left_out():
    camera = Camera(16)
    depth, true_depth = _object(0.01)
    depth[:, 8:] = camera.background_depth
    np.testing.assert_allclose(metrics.depth_errors(depth, true_depth, camera)["mae"], 0.01, atol=1e-6)
    left = metrics.depth_errors(depth, true_depth, camera, valid=np.ones((16, 16)))
    assert left["mae"] > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda depth, true: (depth, np.where(true < 1.1, true, 0)), "true_depth has values that are not positive"),
        (lambda depth, true: (np.full_like(depth, np.nan), true), "depth has values that are not positive and finite"),
        (lambda depth, true: (depth[None], true), r"have the shapes \(1, 16, 16\) and \(16, 16\)"),
        (lambda depth, true: (depth[:8], true[:8]), r"shapes \(8, 16\) and \(8, 16\): \(..., 16, 16\)"),
        (lambda depth, true: (depth, np.ones_like(true)), "there is nothing to compare"),
    ],
)
def test_depths_without_an_error_are_refused(change, message):
    """A background of 0 gave nan."""
    with pytest.raises(ValueError, match=message):
        metrics.depth_errors(*change(*_object()), Camera(16))
