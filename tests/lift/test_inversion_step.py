"""The encoder's first lessons in a lift: the way in W from one sample to another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import steps
from gan2shape_jax.method import models, projection
from gan2shape_jax.method.optimizer import fresh_optimizer, optimizer_step
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("inversion"))
    settings = dataclasses.replace(
        prepared.settings, fresh_samples=4, truncation=0.7, relative_enc=True, regularize_offset=False
    )
    frozen = dataclasses.replace(frozen, mean_w=jnp.full(settings.architecture.style_dim, 0.1))
    return prepared.problem, frozen, settings


def _draw(key, iteration, case):
    _, frozen, settings = case
    return steps.INVERSION_STEP.draw(jax.random.key(key), jnp.int32(iteration), None, None, frozen, settings)


def test_samples_are_a_function_of_key_and_iteration_and_their_latents_give_them(case):
    _, frozen, settings = case
    images, latents = _draw(0, 3, case)
    assert images.shape[0] == settings.fresh_samples
    np.testing.assert_array_equal(images, _draw(0, 3, case)[0])
    assert np.abs(np.asarray(images - _draw(0, 4, case)[0])).max() > 0.05
    assert np.abs(np.asarray(images - _draw(1, 3, case)[0])).max() > 0.05
    np.testing.assert_allclose(projection.synthesize(latents, frozen, settings), images, atol=1e-5)


def test_truncation_draws_latents_towards_the_mean(case):
    problem, frozen, settings = case
    _, whole = _draw(0, 0, (problem, frozen, changed(settings, truncation=1.0)))
    _, half = _draw(0, 0, (problem, frozen, changed(settings, truncation=0.5)))
    np.testing.assert_allclose(half - frozen.mean_w, 0.5 * (whole - frozen.mean_w), atol=1e-5)


def test_the_loss_is_how_far_the_way_in_w_is_missed(case):
    problem, frozen, settings = case
    params = models.init_params(jax.random.key(0), settings)
    images, latents = _draw(0, 0, case)
    loss, _ = steps.inversion_loss(params, images, latents, problem, frozen, settings)
    both = models.offsets(params, jnp.concatenate([images, problem.gan_image]), settings)
    missed = both[:-1] - both[-1:] - (latents - problem.latent)
    np.testing.assert_allclose(loss, jnp.mean(missed**2), rtol=1e-5)
    told = problem.latent + both[:-1] - both[-1:]
    at_the_end, _ = steps.inversion_loss(params, images, told, problem, frozen, settings)
    np.testing.assert_allclose(at_the_end, 0, atol=1e-9)


def test_the_encoder_learns(case):
    problem, frozen, settings = case
    settings = changed(settings, learning_rate=1e-3, fresh_samples=8)
    state = fresh_optimizer(
        initial_state(models.init_params(jax.random.key(0), settings), settings), ("encoder",), settings
    )

    @jax.jit
    def iterate(state, iteration):
        images, latents = steps.INVERSION_STEP.draw(jax.random.key(1), iteration, None, None, frozen, settings)
        differentiated = jax.value_and_grad(steps.inversion_loss, has_aux=True)
        encoder = {"encoder": state.params["encoder"]}
        (loss, _), gradient = differentiated(encoder, images, latents, problem, frozen, settings)
        return optimizer_step(state, gradient, settings), loss

    losses = []
    for number in range(30):
        state, loss = iterate(state, jnp.int32(number))
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
