"""Parity, properties and gradients of the loss terms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parity_record import PER_VALUE, per_value

from gan2shape_jax.method import losses


def test_golden_losses(golden, parity):
    archive = golden("losses.npz")
    a, b = (jnp.asarray(archive[k].transpose(0, 2, 3, 1)) for k in ("a", "b"))
    for field, name, actual in (
        ("photometric", "photometric loss, masked", losses.photometric(a, b, jnp.asarray(archive["mask"][:, 0]))),
        ("photometric_nomask", "photometric loss, without mask", losses.photometric(a, b)),
        ("smooth4", "smoothness of channels", losses.smoothness(jnp.moveaxis(a, -1, 1))),
        ("smooth3", "smoothness of a depth", losses.smoothness(a[..., 0])),
    ):
        parity(name, per_value(actual, archive[field]), 1e-5, "losses.npz", PER_VALUE)


def test_photometric_ignores_masked_pixels_and_takes_one_ratio_over_the_batch():
    a = jnp.zeros((2, 4, 4, 3))
    b = a.at[0].set(1.0).at[1, 2:].set(5.0)
    mask = jnp.ones((2, 4, 4)).at[1, 2:].set(0.0)
    # 16 pixels differ by one, 8 agree, 8 do not count.
    assert float(losses.photometric(a, b, mask)) == pytest.approx(16 / 24)


def test_smoothness_is_zero_for_planes_and_counts_the_mixed_difference_twice():
    y, x = jnp.mgrid[:6, :6].astype(float)
    assert float(losses.smoothness(0.5 * x - 0.25 * y + 3)) == 0
    assert float(losses.smoothness(x * y)) == pytest.approx(2)
    assert float(losses.smoothness(x * x)) == pytest.approx(2)


def test_feature_distance_matches_pooling_by_torch(parity):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    mask = rng.uniform(size=(2, 16, 16)).astype(np.float32)
    features = [rng.normal(size=(2, 2, s, s, c)).astype(np.float32) for s, c in ((16, 3), (8, 4), (4, 6))]
    expected = 0.0
    for a, b in features:
        pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(mask)[:, None], 16 // a.shape[1]).numpy()
        weight = np.broadcast_to(pooled[:, 0, :, :, None], a.shape)
        expected += (np.abs(a - b) * weight).sum() / weight.sum()
    distance = losses.feature_distance([f[0] for f in features], [f[1] for f in features], jnp.asarray(mask))
    parity("masked distance of features", per_value(distance, expected), 1e-5, measure=PER_VALUE)


def test_feature_distance_stops_the_targets_gradient():
    a, b = jax.random.normal(jax.random.key(0), (2, 1, 4, 4, 2))
    mask = jnp.ones((1, 4, 4))
    gradient = jax.jit(jax.grad(lambda a, b: losses.feature_distance((a,), (b,), mask), (0, 1)))
    to_a, to_b = gradient(a, b)
    assert float(jnp.abs(to_a).sum()) > 0
    np.testing.assert_array_equal(to_b, 0)


def test_gradients_match_finite_differences():
    with jax.enable_x64():
        keys = jax.random.split(jax.random.key(0), 4)
        a, b = (jax.random.normal(k, (2, 5, 5, 3), jnp.float64) for k in keys[:2])
        mask = jax.random.uniform(keys[2], (2, 5, 5), jnp.float64)
        functions = (
            lambda a: losses.photometric(a, b, mask),
            lambda a: losses.smoothness(jnp.moveaxis(a, -1, 1)),
            lambda a: losses.feature_distance((a,), (b,), mask),
            losses.latent_norm,
        )
        for function in functions:
            jax.test_util.check_grads(jax.jit(function), (a,), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)
        of_mask = jax.jit(lambda m: losses.photometric(a, b, m))
        jax.test_util.check_grads(of_mask, (mask,), order=1, modes=["rev"], rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.photometric, lambda a, b, m: losses.feature_distance((a,), (b,), m)])
@pytest.mark.parametrize("difference, inside", [(0, 1), (1, 0)])
def test_equal_images_and_empty_masks_give_zero_with_finite_gradients(loss, difference, inside):
    a, mask = jax.random.normal(jax.random.key(0), (1, 4, 4, 3)), jnp.full((1, 4, 4), float(inside))
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(a, a + difference, mask)
    assert float(value) == 0
    chex.assert_tree_all_finite(gradients)
