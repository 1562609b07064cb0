"""Inverting the GAN: what it drew is found again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, inversion

_ARCH = Architecture(size=8, style_dim=6, mapping_layers=2, channels=(6, 5), discriminator_channels=(4, 4))


@pytest.fixture(scope="module")
def drawn():
    """A small random GAN and two images of it, within [-1, 1]."""
    params = stylegan2.init_params(jax.random.key(0), _ARCH)
    z = jax.random.normal(jax.random.key(1), (2, _ARCH.style_dim))
    w = jax.jit(stylegan2.map_styles, static_argnames="arch")(params["generator"], z, arch=_ARCH)
    image = inversion._draw(params["generator"], w, arch=_ARCH)
    for layer in params["generator"]["to_rgb"].values():
        layer["weight"] = layer["weight"] * 0.9 / jnp.abs(image).max()
    return params, w, inversion._draw(params["generator"], w, arch=_ARCH)


def _invert(params, image, key=2, **kwargs):
    return inversion.invert(
        jax.random.key(key), params["generator"], image, arch=_ARCH, disc_params=params["discriminator"], **kwargs
    )


def test_what_the_gan_drew_is_found_again(drawn):
    params, _, image = drawn
    start, found = (
        np.abs(inversion._draw(params["generator"], _invert(params, image, steps=steps), arch=_ARCH) - image).mean(
            (1, 2, 3)
        )
        for steps in (0, 300)  # of none the mean latent
    )
    assert (found < 0.15 * start).all()


def test_the_result_is_a_function_of_the_key(drawn):
    params, _, image = drawn
    first, again, other = (_invert(params, image, steps=5, key=k) for k in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-4


def test_an_inversion_that_diverges_is_an_error(drawn):
    params, _, image = drawn
    with pytest.raises(UserError, match="diverged"):
        _invert(params, image, steps=4, learning_rate=1e38)
