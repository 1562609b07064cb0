"""The axes along which mirror images lie: their algebra on a tiny GAN, what they do on the bundled faces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan2shape_jax
from gan2shape_jax import stylegan2
from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.platforms import in_batches
from gan2shape_jax.stylegan2 import Architecture, flip_subspace
from gan2shape_jax.stylegan2.latents import sample_w

ARCH = Architecture(size=16, style_dim=12, mapping_layers=2, channels=(6, 5, 4), discriminator_channels=(4, 4))


@pytest.fixture(scope="module")
def tiny():
    params = stylegan2.init_params(jax.random.key(0), ARCH)
    return flip_subspace.find(jax.random.key(1), params, arch=ARCH, samples=128)


def _reflected(subspace, latents):
    return subspace.with_coordinates(latents, -subspace.coordinates(latents))


@pytest.mark.parametrize("shape", [(5, 12), (5, ARCH.latents, 12)])
def test_reflecting_twice_gives_the_latents_again(tiny, shape):
    latents = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    once = _reflected(tiny, latents)
    np.testing.assert_allclose(tiny.coordinates(once), -tiny.coordinates(latents), atol=1e-3)
    np.testing.assert_allclose(_reflected(tiny, once), latents, atol=1e-3)
    assert np.abs(once - latents).max() > 0.01


def test_latents_move_to_coordinates_along_an_axis_and_no_other(tiny):
    latents = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)
    values = np.full((4, 2), np.nan)
    values[:, 1] = (-1, 0, 1, 2)
    moved = tiny.coordinates(tiny.with_coordinates(latents, values))
    np.testing.assert_allclose(moved, np.stack([tiny.coordinates(latents)[:, 0], values[:, 1]], axis=1), atol=1e-3)
    mixing = np.array([[1.0, 2.0], [0.0, -1.0]])
    mixed, plain = tiny.turned(mixing, latents), tiny.coordinates(latents) @ mixing
    np.testing.assert_allclose(mixed.coordinates(latents), plain / plain.std(axis=0), atol=1e-4)
    np.testing.assert_allclose(_reflected(mixed, latents), _reflected(tiny, latents), atol=1e-3)


def test_a_generator_alone_is_refused():
    params = stylegan2.init_params(jax.random.key(0), ARCH) | {"discriminator": {}}
    with pytest.raises(UserError, match="no discriminator"):
        flip_subspace.find(jax.random.key(0), params, arch=ARCH, samples=128)


@pytest.mark.heavy
def test_on_the_bundled_faces_mirror_images_are_met_and_heads_turn():
    gan, networks = gan2shape_jax.load_gan("ictface"), gan2shape_jax.load_model("ictface").networks
    actual = flip_subspace.find(jax.random.key(0), gan.weights, arch=gan.architecture, samples=1024)
    latents = sample_w(jax.random.key(1), gan.weights["generator"], arch=gan.architecture, samples=32)
    drawn = gan.synthesize(np.concatenate([latents, _reflected(actual, latents)])).astype(np.float32)
    away, met = (np.abs(some - drawn[:32, :, ::-1]).mean() for some in (drawn[:32], drawn[32:]))
    assert met < away / 2  # 0.40 of it with 4,096 samples

    predict_views = jax.jit(functools.partial(models.views, networks.params))
    frozen, settings = networks.frozen, networks.settings
    yaws = []
    for step in (-1.5, -0.75, 0, 0.75, 1.5):
        values = np.tile([step, np.nan], (32, 1))
        images = jnp.asarray(gan.synthesize(actual.with_coordinates(latents, values)) / np.float32(127.5) - 1)
        views = in_batches(lambda some: predict_views(some, frozen.view_mean, settings), np.asarray(images), size=8)
        yaws.append(np.degrees(views[:, 1]))
    means = np.mean(yaws, axis=1)
    assert (np.diff(means * np.sign(means[-1])) > 4).all() and np.ptp(means) > 40
    assert np.std(yaws[2]) < 6  # 23 before: half-way, heads look straight ahead
