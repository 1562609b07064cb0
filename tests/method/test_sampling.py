"""Draws follow their distributions; sample orders are functions of key and iteration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.method import sampling


def test_views_have_the_given_mean_and_covariance():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6)) * 0.1
    mean = rng.normal(size=6)
    drawn = np.asarray(
        sampling.draw_views(jax.random.key(0), jnp.asarray(mean, jnp.float32), jnp.asarray(factor, jnp.float32), 40_000)
    )
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), factor @ factor.T, atol=0.005)


def test_yaw_scale_multiplies_the_drawn_yaw_with_its_mean():
    mean, factor = jnp.arange(6.0), jnp.eye(6) * 0.1
    plain = sampling.draw_views(jax.random.key(1), mean, factor, 5)
    scaled = sampling.draw_views(jax.random.key(1), mean, factor, 5, yaw_scale=1.2)
    np.testing.assert_allclose(scaled[:, 1], 1.2 * plain[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(np.delete(scaled, 1, axis=1), np.delete(plain, 1, axis=1))


def test_lights_fill_their_ranges():
    ranges = (-0.9, 0.8, -0.3, 0.7, -0.1, 0.6, -0.4)
    direction, strength = sampling.draw_lights(jax.random.key(2), 20_000, rand_light=ranges)
    for drawn, low, high in ((direction[:, 0], -0.9, 0.8), (direction[:, 1], -0.3, 0.7), (strength, -0.1, 0.6)):
        assert low <= float(drawn.min()) < low + 0.01 and high - 0.01 < float(drawn.max()) <= high
        assert abs(float(drawn.mean()) - (low + high) / 2) < 0.02


def test_relit_shading_of_a_frontal_plane():
    normal = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (4, 4, 3))
    light = jnp.array([0.5, 0.3, 0.0, 0.0])
    direction, strength = jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.array([0.2, 0.4])
    shading = sampling.relit_shading(normal, light, direction, strength, alpha=-0.6)
    np.testing.assert_allclose(shading[0], 0.5 - 0.12 + 0.5, rtol=1e-6)
    np.testing.assert_allclose(shading[1], 0.5 - 0.24 + 0.7 / np.sqrt(2), rtol=1e-6)


def _batches(count, batch, iterations, skip_first):
    return [
        np.asarray(sampling.batch_indices(jax.random.key(3), i, count=count, batch_size=batch, skip_first=skip_first))
        for i in range(iterations)
    ]


@pytest.mark.parametrize(("count", "batch"), [(24, 4), (10, 4)])
def test_each_pass_sees_different_samples(count, batch):
    per_pass = count // batch
    batches = _batches(count, batch, 3 * per_pass, skip_first=False)
    first = np.concatenate(batches[:per_pass])
    np.testing.assert_array_equal(first, np.arange(per_pass * batch))
    for number in (1, 2):
        seen = np.concatenate(batches[number * per_pass : (number + 1) * per_pass])
        assert len(set(seen)) == per_pass * batch and set(seen) <= set(range(count))
        assert not np.array_equal(seen, first)


def test_the_published_order_skips_the_first_batch_and_the_last():
    batches = _batches(800, 8, 300, skip_first=True)
    np.testing.assert_array_equal(batches[0], np.arange(8, 16))
    np.testing.assert_array_equal(batches[97], np.arange(784, 792))
    assert set(batches[98]) != set(range(792, 800))
    second = np.concatenate(batches[98 : 98 + 99])
    assert len(set(second)) == 99 * 8


def test_one_batch_in_all_is_seen_every_time():
    for skip in (False, True):
        for batch in _batches(4, 4, 3, skip):
            assert sorted(batch) == [0, 1, 2, 3]
