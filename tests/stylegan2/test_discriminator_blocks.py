"""The discriminator in a TPU's form, on blocks of pixels with filters folded into kernels, is the same function."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.networks import blocks
from gan2shape_jax.platforms import emulated_tpu
from gan2shape_jax.stylegan2 import Architecture, filters, layers

_ARCH = Architecture(
    size=16, style_dim=4, mapping_layers=1, channels=(4, 4, 4), discriminator_channels=(5, 6, 4), stddev_group=2
)
_KINDS = {
    "resnet": _ARCH,
    "without shortcut": dataclasses.replace(_ARCH, discriminator_kind="orig", discriminator_clamp=0.5),
    "skip": dataclasses.replace(_ARCH, discriminator_kind="skip"),
    "another filter": dataclasses.replace(_ARCH, discriminator_taps=(1.0, 2.0, 1.0)),
    "too wide to fold": dataclasses.replace(_ARCH, discriminator_channels=(5, 65, 4)),
    "wide at first": dataclasses.replace(_ARCH, discriminator_channels=(5, 6, 33)),
}


def _params(arch):
    params = stylegan2.init_params(jax.random.key(0), arch)["discriminator"]
    keys = iter(jax.random.split(jax.random.key(1), 100))
    # Biases are zero at first.
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.1 * jax.random.normal(next(keys), leaf.shape)), params)


@pytest.mark.parametrize("kind", _KINDS)
def test_values_gradients_and_the_gradient_penalty_are_the_same(kind):
    arch = _KINDS[kind]
    with jax.enable_x64():
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), _params(arch))
        images = jax.random.uniform(jax.random.key(2), (4, 16, 16, 3), jnp.float64, -1, 1)

        def everything(params, images):
            def penalty(params):
                gradient = jax.grad(lambda seen: stylegan2.discriminate(params, seen, arch=arch)[0].sum())(images)
                return jnp.sum(jnp.square(gradient))

            found = stylegan2.discriminate(params, images, arch=arch)
            of_features = jax.grad(lambda seen: jnp.sum(jnp.sin(features_of(params, seen))))(images)
            return found, of_features, jax.grad(penalty)(params)

        def features_of(params, images):
            found = stylegan2.discriminator_features(params, images, arch=arch, count=2)
            return jnp.concatenate([layer.reshape(-1) for layer in found])

        expected = jax.jit(everything)(params, images)
        with emulated_tpu():
            found = jax.jit(lambda p, x: everything(p, x))(params, images)
        chex.assert_trees_all_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_a_filter_and_the_convolution_after_it_are_one_convolution(size, side):
    x = jax.random.normal(jax.random.key(0), (2, 8, 12, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 5))
    found = blocks.filter_half(blocks.to_blocks(x) if side == 2 else x, kernel, (1.0, 3.0, 3.0, 1.0), side)
    expected = layers.convolve(filters.blur_half(x), kernel) if size == 1 else layers.convolve_half(x, kernel)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("platform", "blocked"), [("cpu", False), ("cuda", False), ("tpu", True)])
def test_only_a_tpu_has_blocks(platform, blocked):
    params = _params(_ARCH)
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    run = jax.jit(lambda p, x: stylegan2.discriminator_features(p, x, arch=_ARCH))
    text = str(jax.export.export(run, platforms=[platform])(params, images).mlir_module())
    assert ("tensor<2x8x8x16xf32>" in text) == blocked
