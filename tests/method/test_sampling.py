"""Draws and sample orders; the steps and their order: what the paper says that each trains, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.lift import steps
from gan2shape_jax.method import models, sampling
from gan2shape_jax.method.schedule import STEPS, make_schedule


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


def test_every_step_trains_the_networks_that_the_paper_names():
    known = STEPS | {step.name: step for step in (steps.INVERSION_STEP, steps.ANCHORED_STEP)}
    assert {name: set(step.networks) for name, step in known.items()} == {
        "prior": {"depth"},
        "inversion": {"encoder"},  # before the first stage of a lift
        "step1": {"albedo"},
        "step2": {"encoder"},
        "step3": {"depth", "albedo", "view", "light"},
        "anchored": {"depth", "albedo", "view", "light"},  # step 3 of a lift
    }
    assert set().union(*(step.networks for step in known.values())) == set(models.NAMES)
    assert all(step.cache for step in known.values() if step.collect)


def test_the_schedule_is_data():
    planned = make_schedule(((6, 5, 4), (3, 2, 1)), flip1=(False, False), flip3=(True, False), prior_iterations=7)
    assert [(p.label, p.iterations, p.flip) for p in planned] == [
        ("prior", 7, False),
        ("stage 1 step1", 6, False),
        ("stage 1 step2", 5, False),
        ("stage 1 step3", 4, True),
        ("stage 2 step1", 3, False),
        ("stage 2 step2", 2, False),
        ("stage 2 step3", 1, False),
    ]
    assert [p.number for p in planned] == list(range(7))
    without = make_schedule(((1, 1, 1),), flip1=(False,), flip3=(False,), prior_iterations=0)
    assert [p.step for p in without] == ["step1", "step2", "step3"]
    twice = {"stages": ((1, 1, 1),) * 2, "flip1": (False,) * 2, "flip3": (False,) * 2, "prior_iterations": 1}
    lift = make_schedule(**twice, first=((steps.INVERSION_STEP, 5),), thirds=(steps.ANCHORED_STEP,))
    labels = ["prior", "inversion", *(f"stage 1 {name}" for name in ("step1", "step2", "anchored"))]
    assert [phase.label for phase in lift[:5]] == labels and lift[-1].label == "stage 2 step3"
