"""Which image joint training shows in each iteration, and which of its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.training import joint_plan


@pytest.mark.parametrize(("iterations", "count"), [(12, 3), (10, 4), (2, 5), (7, 7)])
def test_every_epoch_shows_every_image_once(iterations, count):
    order = joint_plan.image_order(jax.random.key(3), iterations, count)
    assert order.shape == (iterations,)
    for start in range(0, iterations, count):
        epoch = order[start : start + count]
        assert len(set(epoch.tolist())) == len(epoch) and set(epoch.tolist()) <= set(range(count))


def test_chosen_samples_are_distinct_and_all_come_up():
    keys = jnp.stack([jax.random.key(1)] * 60)
    chosen = np.asarray(joint_plan.sample_choices(keys, jnp.arange(60), count=10, batch_size=4))
    assert chosen.shape == (60, 4)
    assert all(len(set(row)) == 4 for row in chosen.tolist())
    assert set(chosen.ravel().tolist()) == set(range(10))
    again = np.asarray(joint_plan.sample_choices(keys[:5], jnp.arange(5), count=10, batch_size=4))
    np.testing.assert_array_equal(again, chosen[:5])
