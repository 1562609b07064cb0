"""Groups of images: which sizes they have, and that they change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.image_groups import by_groups, group_of


@pytest.mark.parametrize(
    "batch, size, most, group",
    [(16, 4, 64, 16), (16, 4, 63, 8), (17, 4, 64, 1), (34, 4, 68, 17), (6, 100, 64, 1), (1, 100, 64, 1)],
)
def test_a_group_is_the_largest_divisor_that_fits(batch, size, most, group):
    assert group_of(batch, size, most=most) == group


def test_groups_give_what_the_whole_batch_gives():
    size = 128 * 128  # five images a group at most: three of these six
    images = jax.random.normal(jax.random.key(0), (6, 5)), jnp.arange(6)

    def function(group):
        values, number = group
        return jnp.cumsum(values, axis=1) * number[:, None], number + 1

    whole, parts = (by_groups(function, images, size=size, in_groups=choice) for choice in (False, True))
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    mapped = jax.vmap(lambda x: by_groups(function, x, size=size, in_groups=True))(
        jax.tree.map(lambda x: jnp.stack([x, 2 * x]), images))
    np.testing.assert_array_equal(mapped[0][0], whole[0])
    assert mapped[1].shape == (2, 6)
