"""Parity, gradients and weight reading of the perceptual distances."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers import reference_weights
from helpers.parity_record import PER_VALUE, per_value

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import perceptual

# The scaling layer is part of the published weights, not of the recipe.
_PUBLISHED = {
    "scaling_layer.shift": np.array([-0.030, -0.088, -0.188]),
    "scaling_layer.scale": np.array([0.458, 0.448, 0.450]),
}


def _recipe(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The weights that the reference ran with, drawn by the tensor's name."""
    if name in _PUBLISHED:
        return _PUBLISHED[name].reshape(shape)
    return reference_weights.drawn(name, shape, seed)


def _torch_state(names, seed: int = 0) -> dict[str, np.ndarray]:
    shapes = perceptual.torch_shapes()
    assert set(names) == set(shapes)
    return {str(name): _recipe(str(name), shapes[str(name)], seed) for name in names}


@pytest.fixture(name="params", scope="module")
def _params():
    """Parameters of the right shapes and sizes."""
    state = _torch_state(perceptual.torch_shapes())
    return {k: jnp.asarray(v) for k, v in perceptual.lpips_from_torch(state).items()}


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
    return perceptual.lpips_distance(params, *(perceptual.lpips_features(params, one) for one in (a, b))).sum()


def test_golden_lpips(golden, parity):
    archive = golden("lpips.npz")
    state = _torch_state(archive["names"], int(archive["seed"]))
    params = {k: jnp.asarray(v) for k, v in perceptual.lpips_from_torch(state).items()}
    a, b = (jnp.asarray(archive[k].transpose(0, 2, 3, 1)) for k in ("a", "b"))

    @jax.jit
    def run(params, a, b):
        def total(b):
            features = perceptual.lpips_features(params, a), perceptual.lpips_features(params, b)
            distance = perceptual.lpips_distance(params, *features)
            return distance.sum(), (distance, perceptual.lpips_per_layer(params, *features))

        return jax.grad(total, has_aux=True)(b)

    gradient, (distance, (first, *others)) = run(params, a, b)
    file = "lpips.npz"
    parity("LPIPS, distance", per_value(distance, archive["distance"]), 1e-4, file, PER_VALUE)
    for distance, golden in zip(others, archive["per_layer"][1:], strict=True):
        parity("LPIPS, distance of a layer", per_value(distance, golden), 1e-4, file, PER_VALUE)
    # The original sums into its first layer's tensor, so that the total stands in its place.
    np.testing.assert_allclose(archive["per_layer"][0], archive["distance"], rtol=1e-6)
    remaining = archive["distance"] - archive["per_layer"][1:].sum(0)
    parity("LPIPS, distance of a layer", per_value(first, remaining), 1e-4, file, PER_VALUE)
    golden = archive["grad_b"].transpose(0, 2, 3, 1)
    for item in range(len(golden)):
        error = np.linalg.norm(np.asarray(gradient[item]) - golden[item])
        parity("LPIPS, input gradient", error / np.linalg.norm(golden[item]), 1e-3, file)


def test_equal_and_featureless_images_are_at_distance_zero_with_finite_gradients(narrow):
    """A mask may blank whole images; lengths have no derivative where features vanish."""
    # With negative biases only, every feature of a constant image at the shift is zero.
    dead = {k: -jnp.abs(v) - 0.1 if k.endswith("bias") else v for k, v in narrow.items()}
    image = jnp.broadcast_to(narrow["shift"], (1, 16, 16, 3))
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
        weights = {k: v.astype(jnp.float64) for k, v in narrow.items()}
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
