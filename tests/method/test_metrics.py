"""Metrics and perceptual distances: parity, properties, gradients, weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers import reference_weights
from helpers.parity_record import LARGEST, PER_VALUE, largest, per_value, relative

from gan2shape_jax.config import schema
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import lighting
from gan2shape_jax.geometry.camera import Camera
from gan2shape_jax.method import metrics, perceptual


def test_golden_metrics_of_depth(golden, parity):
    archive, name = golden("losses.npz"), "losses.npz"
    depths, mask = [jnp.asarray(archive[k]) for k in ("depth_pred", "depth_gt")], archive["mask"][:, 0]
    parity("metric SIDE", per_value(metrics.side(*depths, mask), archive["side"]), 1e-5, name, PER_VALUE)
    # The original divides its frontal border by its length + 1e-7 too. `depth_metrics` never sees
    # the border, which erosion removes; the mask of this file keeps it, and acos shows what float32
    # makes of it.
    border = np.ones(depths[0].shape, bool)
    border[:, 1:-1, 1:-1] = False
    frontal, camera = np.array([0, 0, 1 / (1 + 1e-7)], np.float32), Camera(image_size=border.shape[-1])
    normals = [jnp.where(border[..., None], frontal, lighting.normals(d, camera, unit=False)) for d in depths]
    parity("metric MAD", per_value(metrics.mean_angle(*normals, mask), archive["mad"]), 1e-5, name, PER_VALUE)
    parity("erosion of the metrics' mask", largest(metrics.erode(mask), archive["eroded"]), 0, name, LARGEST)


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
    assert [float(errors[name]) for name in ("side", "mae", "mse")] == [0, 0, 0]
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
        (lambda depth, true: (depth, np.ones_like(true)), "nothing can be compared"),
    ],
)
def test_depths_without_an_error_are_refused(change, message):
    """A background of 0 gave nan."""
    with pytest.raises(ValueError, match=message):
        metrics.depth_errors(*change(*_object()), Camera(16))


@pytest.fixture(name="params", scope="module")
def _params():
    """Parameters of the right shapes and sizes."""
    return {name: np.asarray(value, np.float32) for name, value in reference_weights.lpips_params().items()}


@pytest.fixture(name="narrow", scope="module")
def _narrow(params):
    """The same network with a sixteenth of the channels, where their number does not matter."""

    def thin(name, value):
        if name in ("shift", "scale"):
            return value
        keep = tuple(slice(None) if n == 3 else slice(n // 16) for n in value.shape)
        return value[keep] * (4 if value.ndim == 4 else 1)

    return {name: thin(name, value) for name, value in params.items()}


def _distance(a, b, params):
    return perceptual.lpips_distance(params, *(perceptual.lpips_features(params, first) for first in (a, b))).sum()


def test_golden_lpips(golden, parity):
    archive = golden("lpips.npz")
    assert set(archive["names"]) == set(perceptual.torch_shapes())
    params = reference_weights.lpips_params(int(archive["seed"]))
    gradient, (distance, (first, *others)) = reference_weights.lpips_of(archive, params)
    file = "lpips.npz"
    parity("LPIPS, distance", per_value(distance, archive["distance"]), 1e-4, file, PER_VALUE)
    for distance, golden in zip(others, archive["per_layer"][1:], strict=True):
        parity("LPIPS, distance of a layer", per_value(distance, golden), 1e-4, file, PER_VALUE)
    # The original sums into its first layer's tensor, so that the total stands in its place.
    np.testing.assert_allclose(archive["per_layer"][0], archive["distance"], rtol=1e-6)
    remaining = archive["distance"] - archive["per_layer"][1:].sum(0)
    parity("LPIPS, distance of a layer", per_value(first, remaining), 1e-4, file, PER_VALUE)
    off = relative(gradient, archive["grad_b"].transpose(0, 2, 3, 1))
    parity("LPIPS, input gradient", off, 1e-3, file)


def test_equal_and_featureless_images_are_at_distance_zero_with_finite_gradients(narrow):
    """A mask may blank whole images; lengths have no derivative where features vanish."""
    # With negative biases only, every feature of a constant image at the shift is zero.
    dead = {k: -np.abs(v) - 0.1 if k.endswith("bias") else v for k, v in narrow.items()}
    image = np.broadcast_to(narrow["shift"], (1, 16, 16, 3))
    run = jax.jit(jax.value_and_grad(_distance))
    for weights in (narrow, dead):
        value, gradient = run(image, image, weights)
        assert float(value) == pytest.approx(0, abs=1e-9)
        chex.assert_tree_all_finite(gradient)
    features = jax.jit(perceptual.lpips_features)
    assert all(float(jnp.abs(f).max()) == 0 for f in features(dead, image))
    assert all(float(jnp.abs(f).max()) > 0 for f in features(narrow, image))


def test_lpips_gradient_matches_finite_differences(narrow):
    with jax.enable_x64():
        weights = {k: v.astype(np.float64) for k, v in narrow.items()}
        keys = jax.random.split(jax.random.key(0), 3)
        a, b, direction = (jax.random.uniform(k, (1, 16, 16, 3), jnp.float64, -1, 1) for k in keys)
        run = jax.jit(jax.value_and_grad(_distance))
        step = 1e-6
        ahead, behind = (run(a + s * direction, b, weights)[0] for s in (step, -step))
        slope = jnp.vdot(run(a, b, weights)[1], direction)
        assert float(slope) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)


def test_features_of_an_odd_side_leave_out_the_last_row_and_column(narrow):
    image = jax.random.uniform(jax.random.key(0), (1, 35, 35, 3), minval=-1)
    sides = [f.shape[1] for f in jax.jit(perceptual.lpips_features)(narrow, image)]
    assert sides == [35, 17, 8, 4, 2]


def test_discriminator_distance_sums_the_layers_means():
    a = (jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 2, 2, 5)))
    b = (jnp.ones((2, 4, 4, 3)), jnp.full((2, 2, 2, 5), -3.0))
    assert float(perceptual.discriminator_distance(a, b)) == pytest.approx(4)
    gradients = jax.grad(perceptual.discriminator_distance, (0, 1))(a, b)
    chex.assert_trees_all_close(gradients[0], jax.tree.map(lambda g: -g, gradients[1]))
    chex.assert_tree_all_finite(jax.grad(perceptual.discriminator_distance)(a, a))
    with pytest.raises(ValueError):
        perceptual.discriminator_distance(a, b[:1])


def test_configurations_name_every_distance():
    fields, names = schema.fields(), set(perceptual.DISTANCES)
    assert set(fields["loss.perceptual"].choices) == names
    for name, distance in perceptual.DISTANCES.items():
        assert (distance.load is not None) == (f"loss.{name}_weights" in fields)


def test_weights_are_read_back_or_refused(params, tmp_path):
    path = tmp_path / "lpips.safetensors"
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in params.items()}, path)
    chex.assert_trees_all_equal(perceptual.load_lpips(path), params)
    path.unlink()
    with pytest.raises(UserError, match="no such file; name the LPIPS weights"):
        perceptual.load_lpips(path)
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        perceptual.load_lpips(path)
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in params.items() if k != "linear5"}, path)
    with pytest.raises(UserError, match="lpips.safetensors.*missing: linear5"):
        perceptual.load_lpips(path)
