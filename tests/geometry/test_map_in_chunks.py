"""Chunks of a batch: which sizes they have, and that they change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.geometry.map_in_chunks import chunk_of, map_in_chunks


@pytest.mark.parametrize(
    "batch, size, most, chunk",
    [(16, 4, 64, 16), (16, 4, 63, 8), (17, 4, 64, 1), (34, 4, 68, 17), (6, 100, 64, 1), (1, 100, 64, 1)],
)
def test_a_chunk_is_the_largest_divisor_that_fits(batch, size, most, chunk):
    assert chunk_of(batch, size, most=most) == chunk


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_a_cpu_takes_chunks(platform, loops):
    function = jax.jit(lambda x: map_in_chunks(jnp.sin, x, size=128 * 128))
    text = str(jax.export.export(function, platforms=[platform])(jnp.zeros((6, 5))).mlir_module())
    assert ("stablehlo.while" in text) == loops


def test_chunks_give_what_the_whole_batch_gives():
    size = 128 * 128  # five images a chunk at most: three of these six
    images = jax.random.normal(jax.random.key(0), (6, 5)), jnp.arange(6)

    def function(chunk):
        values, number = chunk
        return jnp.cumsum(values, axis=1) * number[:, None], number + 1

    whole, parts = (map_in_chunks(function, images, size=size, in_chunks=choice) for choice in (False, True))
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    mapped = jax.vmap(lambda x: map_in_chunks(function, x, size=size, in_chunks=True))(
        jax.tree.map(lambda x: jnp.stack([x, 2 * x]), images)
    )
    np.testing.assert_array_equal(mapped[0][0], whole[0])
    assert mapped[1].shape == (2, 6)
