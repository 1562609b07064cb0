"""The search for projected samples' latents: closer versions, the encoder's where there are no steps, W+ as W."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import steps as lift_steps
from gan2shape_jax.lift.samples import NOWHERE
from gan2shape_jax.lift.task import _project
from gan2shape_jax.method import losses, models, projection, pseudo_images
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import ProjectedSamples, initial_state
from gan2shape_jax.method.step3 import STEP3


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("search"))
    settings = dataclasses.replace(
        prepared.settings, batch_size=3, collect_iters=3, latent_iterations=12, latent_learning_rate=0.05
    )
    return prepared.problem, frozen, settings, models.init_params(jax.random.key(0), settings)


def _samples(case):
    problem, frozen, settings, params = case
    square = problem.mask.shape
    factors = Factors(
        depth=jnp.ones(square),
        albedo=problem.image[0],
        view=jnp.zeros(6),
        light=jnp.asarray([0.5, 0.5, 0.0, 0.0]),
        mask=jnp.ones(square),
    )
    wide = changed(settings, batch_size=9)
    pseudo, masks = pseudo_images.draw_pseudo_images(jax.random.key(1), 0, factors, frozen, wide)
    images, _ = projection.project(params, pseudo, problem.latent, problem.gan_image, frozen, settings)
    return ProjectedSamples(images=images, masks=masks, pseudo=pseudo)


def test_versions_come_closer_to_their_pseudo_images_the_more_steps_there_are(case):
    problem, frozen, settings, params = case
    samples = _samples(case)
    distances = []
    for steps in (0, 4, 12):
        some = changed(settings, latent_iterations=steps)
        found = lift_steps.improved(params, samples, problem, frozen, some)
        assert found.images.shape == samples.images.shape  # nine: more than are searched for at once
        distances.append(float(losses.photometric(found.images, samples.pseudo, samples.masks)))
    assert distances[0] > 1.02 * distances[1] > 1.02 * distances[2]


def test_without_steps_the_encoder_decides(case):
    problem, frozen, settings, params = case
    samples = _samples(case)
    none = changed(settings, latent_iterations=0)
    assert lift_steps.improved(params, samples, problem, frozen, none) is samples
    standing = changed(settings, latent_iterations=1, latent_learning_rate=1e-12)
    same = lift_steps.improved(params, samples, problem, frozen, standing)
    # The generator is another program in each of the two; on an AMD EPYC their sums differ by up to 2e-4.
    np.testing.assert_allclose(same.images, samples.images, atol=1e-3)


def test_each_latent_is_searched_for_by_itself(case):
    # Adam moves by the gradient's sign at first, so that neighbours matter only through the mean of a batch.
    problem, frozen, settings, params = case
    samples = _samples(case)
    found = lift_steps.improved(params, samples, problem, frozen, settings)
    last = jax.tree.map(lambda leaf: leaf[8:], samples)
    alone = lift_steps.improved(params, last, problem, frozen, settings)
    np.testing.assert_allclose(found.images[8:], alone.images, atol=1e-4)


@pytest.mark.heavy
def test_a_latent_in_w_plus_is_moved_alike_in_all_layers(case):
    problem, frozen, settings, params = case
    samples = _samples(case)
    wide = jnp.broadcast_to(problem.latent[:, None], (1, settings.architecture.latents, problem.latent.shape[-1]))
    plus = dataclasses.replace(problem, latent=wide)
    found = lift_steps.improved(params, samples, problem, frozen, settings)
    same = lift_steps.improved(params, samples, plus, frozen, settings)
    np.testing.assert_allclose(same.images, found.images, atol=1e-4)


@pytest.mark.heavy
def test_the_anchored_step_searches_and_step_3_does_not(case):
    problem, frozen, settings, params = case
    state = initial_state(params, settings)
    images = {}
    for step in (lift_steps.ANCHORED_STEP, STEP3):
        for steps in (0, 4):
            some = changed(settings, latent_iterations=steps)
            samples = _project(NOWHERE, "a", state, Phase(3, 1, step, 4, False), problem, frozen, some)
            images[step.name, steps] = np.asarray(samples.images)
    np.testing.assert_array_equal(images["step3", 0], images["step3", 4])
    np.testing.assert_array_equal(images["step3", 0], images["anchored", 0])
    assert np.abs(images["anchored", 4] - images["anchored", 0]).max() > 0.01
