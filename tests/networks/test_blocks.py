"""Layers on blocks of pixels, the form of a TPU, give what they give on pixels, with the same gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax.networks import Encoder, EncoderDecoder, blocks, convolution, initial_params
from gan2shape_jax.networks.normalization import group_norm
from gan2shape_jax.platforms import emulated_tpu


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def _from_pixels(operation):
    return lambda x, kernel: blocks.to_pixels(operation(blocks.to_blocks(x), kernel))


_PAIRS = {
    "convolve3": (convolution.convolve, _from_pixels(blocks.convolve), 3),
    "convolve5": (convolution.convolve, _from_pixels(blocks.convolve), 5),
    "half4": (convolution.convolve_half, lambda x, k: blocks.convolve_half(blocks.to_blocks(x), k), 4),
    "half3": (convolution.convolve_half, lambda x, k: blocks.convolve_half(blocks.to_blocks(x), k), 3),
    "half, to blocks": (
        convolution.convolve_half,
        lambda x, k: blocks.to_pixels(blocks.halve_to_blocks(x, k)),
        4,
    ),
    "mix": (convolution.convolve, _from_pixels(blocks.mix), 1),
    "twice": (convolution.convolve_twice, lambda x, k: blocks.to_pixels(blocks.convolve_twice(x, k)), 4),
    "upsample": (convolution.upsample_convolve, lambda x, k: blocks.to_pixels(blocks.upsample_convolve(x, k)), 3),
}


@pytest.mark.parametrize("name", _PAIRS)
def test_convolutions_of_blocks_are_those_of_pixels(name):
    of_pixels, of_blocks, size = _PAIRS[name]
    with jax.enable_x64():
        x, kernel = _normal(0, 2, 8, 12, 3), _normal(1, size, size, 3, 5)

        def run(operation):
            out, pull = jax.vjp(operation, x, kernel)
            return out, pull(_normal(2, *out.shape))

        chex.assert_trees_all_close(run(of_blocks), run(of_pixels), rtol=1e-10, atol=1e-10)


def test_kernels_that_reach_beyond_neighbouring_blocks_are_refused():
    with pytest.raises(ValueError, match="side 7"):
        blocks.convolve(jnp.zeros((1, 4, 4, 8)), jnp.zeros((7, 7, 2, 2)))


def test_blocks_and_pixels_are_each_others_inverses():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    cells = blocks.to_blocks(x)
    np.testing.assert_array_equal(cells[1, 1, 2, 3 * 1 : 3 * 2], x[1, 2, 5])
    np.testing.assert_array_equal(blocks.to_pixels(cells), x)


def test_group_norm_of_blocks_is_that_of_pixels():
    with jax.enable_x64():
        x, scale, bias = 100 + _normal(0, 2, 8, 12, 6), _normal(1, 6), _normal(2, 6)

        def run(operation):
            out, pull = jax.vjp(operation, x, scale, bias)
            return out, pull(_normal(3, *out.shape))

        def in_blocks(x, scale, bias):
            return blocks.to_pixels(blocks.group_norm(blocks.to_blocks(x), scale, bias, 3))

        chex.assert_trees_all_close(
            run(in_blocks), run(lambda x, scale, bias: group_norm(x, scale, bias, 3)), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize(
    "module",
    [EncoderDecoder(16, 3, 8, zdim=8, group_base=4), EncoderDecoder(32, 1, 8, zdim=8, group_base=2), Encoder(16, 6, 4)],
    ids=["sheet of 16", "sheet of 32", "vector"],
)
def test_networks_in_a_tpus_form_are_the_same(module):
    with jax.enable_x64():
        params = initial_params(jax.random.key(0), {"net": module}, dtype=jnp.float64)["net"]
        x = _normal(1, 2, module.size, module.size, 3)

        def run():
            out, pull = jax.vjp(lambda p, x: module.apply({"params": p}, x), params, x)
            return out, pull(_normal(2, *out.shape))

        expected = jax.jit(run)()
        with emulated_tpu():
            found = jax.jit(lambda: run())()  # traced anew
        chex.assert_trees_all_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("platform", "blocked"), [("cpu", False), ("cuda", False), ("tpu", True)])
def test_only_a_tpu_has_blocks_and_only_where_channels_are_few(platform, blocked):
    for width, expected in ((8, blocked), (128, False)):
        module = EncoderDecoder(16, 3, width, zdim=8, group_base=4)
        x = jnp.zeros((1, 16, 16, 3))
        params = jax.eval_shape(module.init, jax.random.key(0), x)
        text = str(jax.export.export(jax.jit(module.apply), platforms=[platform])(params, x).mlir_module())
        # Side S is 8 blocks of 4 times the width there.
        assert (f"tensor<1x8x8x{4 * width}xf32>" in text) == expected
