"""Latents of StyleGAN2: GANSpace and SeFa against plain numpy, moving along them, inverting what the GAN drew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.stylegan2 import Architecture, inversion
from gan2shape_jax.stylegan2 import latents as directions

ARCH = Architecture(size=16, style_dim=12, mapping_layers=2, channels=(6, 5, 4), discriminator_channels=(4, 4))


def test_sefa_gives_eigenvectors_of_the_normalised_style_weights():
    generator = stylegan2.init_params(jax.random.key(0), ARCH)["generator"]
    weights = [np.asarray(generator["layers"][str(i)]["style_weight"], np.float64).T for i in (0, 1, 2)]
    matrix = np.concatenate(weights)  # A, (channels, W)
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    components = directions.sefa(generator, layers=(0, 1, 2), count=12)
    product = matrix.T @ matrix
    values = [v @ product @ v for v in components]
    for vector, value in zip(components, values, strict=True):
        np.testing.assert_allclose(product @ vector, value * vector, atol=1e-4 * values[0])
    np.testing.assert_allclose(values, np.sort(np.linalg.eigvalsh(product))[::-1], atol=1e-4 * values[0])
    np.testing.assert_allclose(components @ components.T, np.eye(12), atol=1e-5)


def test_ganspace_gives_numpys_principal_components():
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((400, 12)) @ np.diag(np.linspace(3, 0.3, 12)) @ rng.standard_normal((12, 12)) + 5
    components = directions.ganspace(latents, count=4)
    _, singular, vectors = np.linalg.svd(latents - latents.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(components * vectors[:4], axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(directions.deviations(latents, components), singular[:4] / np.sqrt(400), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 12), (1, ARCH.latents, 12)])
def test_shift_moves_the_named_styles_only(shape):
    latent = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    direction = np.eye(12, dtype=np.float32)[3]
    steps = np.array([0.0, 2.0, -1.0], np.float32)
    moved = np.asarray(directions.shift(latent, direction, steps, first=1, last=3, arch=ARCH))
    start = np.broadcast_to(latent if len(shape) == 3 else latent[:, None], (1, ARCH.latents, 12))[0]
    assert moved.shape == (3, ARCH.latents, 12)
    np.testing.assert_array_equal(moved[0], start)
    moved_by_hand = np.zeros((ARCH.latents, 12))
    moved_by_hand[1:3] = 2 * direction
    np.testing.assert_allclose(moved[1] - start, moved_by_hand, atol=1e-6)


_ARCH = Architecture(size=8, style_dim=6, mapping_layers=2, channels=(6, 5), discriminator_channels=(4, 4))
_synthesize = jax.jit(stylegan2.synthesize, static_argnames="arch")


@pytest.fixture(scope="module")
def drawn():
    """A small random GAN and two images of it, within [-1, 1]."""
    params = stylegan2.init_params(jax.random.key(0), _ARCH)
    z = jax.random.normal(jax.random.key(1), (2, _ARCH.style_dim))
    w = jax.jit(stylegan2.map_styles, static_argnames="arch")(params["generator"], z, arch=_ARCH)
    image = _synthesize(params["generator"], w, arch=_ARCH)
    for layer in params["generator"]["to_rgb"].values():
        layer["weight"] = layer["weight"] * 0.9 / jnp.abs(image).max()
    return params, w, _synthesize(params["generator"], w, arch=_ARCH)


def _invert(params, image, key=2, **kwargs):
    return inversion.invert(
        jax.random.key(key), params["generator"], image, arch=_ARCH, disc_params=params["discriminator"], **kwargs
    )


def test_what_the_gan_drew_is_found_again(drawn):
    params, _, image = drawn
    latents = [_invert(params, image, steps=steps) for steps in (0, 300)]  # of none the mean latent
    made = [_synthesize(params["generator"], w, arch=_ARCH) for w in latents]
    start, actual = (np.abs(first - image).mean((1, 2, 3)) for first in made)
    assert (actual < 0.15 * start).all()


def test_the_result_is_a_function_of_the_key(drawn):
    params, _, image = drawn
    first, again, other = (_invert(params, image, steps=5, key=k) for k in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-4


def test_an_inversion_that_diverges_is_an_error(drawn):
    params, _, image = drawn
    with pytest.raises(UserError, match="diverged"):
        _invert(params, image, steps=4, learning_rate=1e38)
