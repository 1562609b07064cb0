"""Samples that a GAN turns by itself: where the axes lead, what is masked, when there are none."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

import gan2shape_jax
from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models, projection, sampling, step3, turning
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.stylegan2.latents import sample_w
from gan2shape_jax.stylegan2.mirror import Mirror


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An image of a tiny GAN, its state and a turning of random, independent axes that reaches 30 degrees and 0.4."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("turning"))
    settings = changed(prepared.settings, batch_size=6, view_scale=4.0)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(settings.architecture.style_dim, 2)))[0].T
    found = Mirror(*(jnp.asarray(one, jnp.float32) for one in (axes, axes, np.zeros(axes.shape[1]))))
    ends = jnp.array([[jnp.deg2rad(30)], [0.4]])
    turns = turning.Turning(found, ends * jnp.linspace(-1, 1, 9))
    params = models.init_params(jax.random.key(0), settings)
    return prepared.problem, dataclasses.replace(frozen, turning=turns), initial_state(params, settings), settings


def test_samples_are_the_latent_at_the_drawn_yaw_and_light(case):
    problem, frozen, state, settings = case
    key = jax.random.key(3)
    views, direction, _ = sampling.draw_conditions(key, 0, frozen, settings)
    drawn = np.asarray(views[:, 1] * settings.view_range.units()[1])
    assert np.abs(drawn).max() > np.deg2rad(30) > np.abs(drawn).min()  # some are drawn beyond the axis' end
    yaws, sides = np.clip(drawn, -np.deg2rad(30), np.deg2rad(30)), np.clip(direction[:, 0], -0.4, 0.4)
    collect = jax.jit(functools.partial(step3.collect_batch, settings=settings))
    samples = collect(state.params, state.factors, None, problem, key, 0, frozen)

    places = np.stack([yaws / np.deg2rad(30) * 2, sides / 0.4], axis=1)  # the axes are walked by 2 and by 1
    own = problem.latent.reshape(1, -1, problem.latent.shape[-1]).mean(axis=1) @ frozen.turning.mirror.axes.T
    latents = problem.latent + (places - own) @ frozen.turning.mirror.axes
    images = projection.synthesize(latents, frozen, settings)
    np.testing.assert_allclose(samples.images, images, atol=1e-4)
    turned = jnp.tile(state.factors.view, (6, 1)).at[:, 1].set(yaws)
    unlit = jnp.ones((6, *state.factors.depth.shape))
    np.testing.assert_allclose(samples.masks, sampling.render_factors(state.factors, unlit, turned, settings)[1])


def test_a_gan_that_does_not_turn_has_none(case):
    _, frozen, state, settings = case
    assert turning.find(state.params, frozen, settings, samples=64) is None  # random networks see hardly any yaw
    assert model_file.turning_statistics(None) == {}


@pytest.mark.heavy
def test_the_bundled_faces_turn_as_far_as_their_model_says():
    gan, networks = gan2shape_jax.load_gan("ictface"), gan2shape_jax.load_model("ictface").networks
    config = gan2shape_jax.load_config("ictface")
    turns = model_file.turning_of(config)
    frozen = dataclasses.replace(networks.frozen, **gan.weights)
    settings = dataclasses.replace(networks.settings, architecture=gan.architecture)
    latents = sample_w(jax.random.key(5), gan.weights["generator"], arch=gan.architecture, samples=8)
    asked = np.deg2rad([-50, -20, 0, 20, 50])
    reached = np.clip(asked, *turns.values[0, [0, -1]])
    assert np.rad2deg(reached[[0, -1]]) == pytest.approx([-33, 33], abs=3)
    yaws = []
    for latent in latents:
        moved, told = turns.moved(jnp.asarray(latent)[None], jnp.asarray(asked), jnp.zeros(5))
        np.testing.assert_allclose(told, reached, atol=1e-5)
        yaws.append(turning.seen(networks.params, np.asarray(moved), frozen, settings)[:, 0])
    assert np.abs(np.rad2deg(np.mean(yaws, axis=0) - reached)).max() < 4
