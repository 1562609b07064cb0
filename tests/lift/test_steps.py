"""The steps that only a lift takes: inversion, the anchor, searched latents, an encoder for each image."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import steps
from gan2shape_jax.lift.task import _project
from gan2shape_jax.method import losses, models, projection, sampling, step3
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import Context, Iteration, ProjectedSamples, SampledConditions, initial_state
from gan2shape_jax.method.step3 import STEP3

_STEP3 = Phase(4, 1, STEP3, 10, flip=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The example, the frozen networks and the settings."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("steps"))
    return prepared.example, frozen, changed(prepared.settings, batch_size=4)


_pseudo_images = jax.jit(sampling.draw_pseudo_images)


def _factors(example):
    square = example.mask.shape
    return Factors(
        depth=jnp.asarray(np.random.default_rng(0).uniform(0.99, 1.01, square), jnp.float32),
        albedo=example.image[0],
        view=jnp.zeros(6),
        light=jnp.asarray([0.4, 0.5, 0.1, 0.2]),
        mask=jnp.ones(square),
    )


@pytest.fixture(scope="module")
def inverting(image):
    example, frozen, settings = image
    settings = dataclasses.replace(
        settings, fresh_samples=4, truncation=0.7, relative_enc=True, regularize_offset=False
    )
    return example, dataclasses.replace(frozen, mean_w=jnp.full(settings.architecture.style_dim, 0.1)), settings


def _draw(key, number, case):
    return _drawn(Iteration(jax.random.key(key), number, None), Context(*case))


_drawn = jax.jit(steps.INVERSION_STEP.draw)


def test_fresh_samples_are_a_function_of_key_and_iteration_truncated_towards_the_mean(inverting):
    example, frozen, settings = inverting
    images, latents = _draw(0, 3, inverting)
    assert images.shape[0] == settings.fresh_samples
    np.testing.assert_array_equal(images, _draw(0, 3, inverting)[0])
    for other in ((0, 4), (1, 3)):
        assert np.abs(np.asarray(images - _draw(*other, inverting)[0])).max() > 0.05
    np.testing.assert_allclose(jax.jit(projection.synthesize)(latents, frozen, settings), images, atol=1e-4)
    whole, half = (_draw(0, 0, (example, frozen, changed(settings, truncation=psi)))[1] for psi in (1.0, 0.5))
    np.testing.assert_allclose(half - frozen.mean_w, 0.5 * (whole - frozen.mean_w), atol=1e-5)


def test_the_inversions_loss_is_the_error_of_the_offset_in_w(inverting):
    example, frozen, settings = inverting
    params = models.init_params(jax.random.key(0), settings)
    images, latents = _draw(0, 0, inverting)
    loss_of, offsets = jax.jit(steps.inversion_loss), jax.jit(models.offsets)
    loss, _ = loss_of(params, steps.FreshSamples(images, latents), Context(*inverting))
    both = offsets(params, jnp.concatenate([images, example.gan_image]), settings)
    actual = both[:-1] - both[-1:]
    np.testing.assert_allclose(loss, jnp.mean((actual - (latents - example.latent)) ** 2), rtol=1e-5)
    right, _ = loss_of(params, steps.FreshSamples(images, example.latent + actual), Context(*inverting))
    np.testing.assert_allclose(right, 0, atol=1e-9)


@pytest.fixture(scope="module")
def anchored(image):
    example, frozen, settings = image
    waves = np.sin(np.arange(settings.image_size) / 3)
    smooth = jnp.asarray(1 + 0.02 * waves[:, None] * waves, jnp.float32)
    factors = dataclasses.replace(_factors(example), depth=smooth)
    return example, frozen, changed(settings, anchor_view=2.0), factors


def _known(rng, count):
    views, lights = (jnp.asarray(rng.normal(size=(count, width)), jnp.float32) for width in (6, 4))
    return SampledConditions(views=views, lights=lights)


def test_known_conditions_are_those_that_pseudo_images_are_drawn_with(anchored):
    example, frozen, settings, factors = anchored
    iteration, context = Iteration(jax.random.key(3), 5, factors), Context(example, frozen, settings)
    drawn = _pseudo_images(iteration, context).images
    known_of = jax.jit(sampling.sampled_conditions)
    conditions = known_of(iteration, context)
    # Their lights are the input's with strengths added: undo that, and render by what is known.
    strength = conditions.lights[:, 1] - factors.light[1]
    np.testing.assert_allclose(conditions.lights[:, 0], factors.light[0] + settings.rand_light[6] * strength, rtol=1e-6)
    arguments = factors, conditions.views, conditions.lights[:, 2:], strength
    again, _ = jax.jit(sampling.pseudo_images)(*arguments, settings=settings)
    np.testing.assert_allclose(again, drawn, atol=1e-5)
    many = changed(settings, batch_size=20_000)
    conditions = known_of(Iteration(jax.random.key(0), 0, factors), Context(example, frozen, many))
    expected = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    np.testing.assert_allclose(conditions.views.std(0), expected, rtol=0.02, atol=1e-6)


def test_distances_are_squares_in_deviations_and_nothing_for_what_is_not_drawn(anchored):
    _, frozen, settings, _ = anchored
    conditions = _known(np.random.default_rng(1), 3)
    conditions = conditions.replace(views=conditions.views.at[:, 5].set(0))
    views = view_from_raw(conditions.views, settings.view_range)
    np.testing.assert_allclose(steps.view_distance(views, conditions, frozen, settings), 0, atol=1e-10)
    deviations = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    for axis in range(3):  # a roll, which varies least, counts as much as a yaw
        turned = view_from_raw(conditions.views.at[:, axis].add(0.5 * deviations[axis]), settings.view_range)
        view = steps.view_distance(turned, conditions, frozen, settings)
        np.testing.assert_allclose(view, 0.5**2 / 5, rtol=1e-3)  # z does not move here
    origin = SampledConditions(views=jnp.zeros((2, 6)), lights=jnp.zeros((2, 4)))
    still = dataclasses.replace(frozen, view_factor=jnp.zeros((6, 6)))
    assert steps.view_distance(jnp.ones((2, 6)), origin, still, settings) == 0


def test_the_anchored_loss_is_step_3s_and_the_weighted_distances(anchored):
    example, frozen, settings, _ = anchored
    params = models.init_params(jax.random.key(0), settings)
    count, side = settings.batch_size, settings.image_size
    rng = np.random.default_rng(2)
    images, pseudo = jnp.asarray(rng.uniform(-1, 1, (2, count, side, side, 3)), jnp.float32)
    masks, conditions = jnp.ones((count, side, side)), _known(rng, count)

    @jax.jit
    def both(params, example, frozen, settings):
        context, samples = Context(example, frozen, settings), ProjectedSamples(images, masks, conditions, pseudo)
        plain, _ = step3.step3_loss(params, samples, context, flip=False)
        loss, (metrics, _) = steps.anchored_loss(params, samples, context, flip=False)
        own = models.views(params, pseudo, frozen.view_mean, settings)
        return plain, loss, metrics, steps.view_distance(own, conditions, frozen, settings)

    plain, loss, metrics, expected = both(params, example, frozen, settings)
    assert metrics["drawn_view_distance"] > 0.1 and metrics["view_distance"] > 0.1
    views = metrics["view_distance"] + metrics["drawn_view_distance"]
    np.testing.assert_allclose(loss, plain + 2.0 * views, rtol=1e-5)
    np.testing.assert_allclose(metrics["drawn_view_distance"], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def searching(image):
    """Example, frozen networks, settings, networks, and nine samples: more than are searched for at once."""
    example, frozen, settings = image
    settings = dataclasses.replace(
        settings, batch_size=3, collect_iters=3, latent_iterations=12, latent_learning_rate=0.05
    )
    params = models.init_params(jax.random.key(0), settings)
    wide = changed(settings, batch_size=9)
    drawn = _pseudo_images(Iteration(jax.random.key(1), 0, _factors(example)), Context(example, frozen, wide))
    pseudo, reference = drawn.images, example.gan_image
    images, _ = jax.jit(projection.project)(params, pseudo, example.latent, reference, frozen, settings)
    return example, frozen, settings, params, ProjectedSamples(images=images, masks=drawn.masks, pseudo=pseudo)


@pytest.fixture(scope="module")
def searched(searching):
    """After all iterations."""
    return _improved(searching)


def _improved(searching, samples=None, example=None, **fields):
    image, frozen, settings, params, all_samples = searching
    context = Context(example or image, frozen, changed(settings, **fields))
    return steps.improved(params, all_samples if samples is None else samples, context)


def test_versions_come_closer_to_their_pseudo_images_the_more_iterations_there_are(searching, searched):
    samples = searching[-1]
    assert _improved(searching, latent_iterations=0) is samples
    distances = []
    for actual in (samples, _improved(searching, latent_iterations=3), searched):
        assert actual.images.shape == samples.images.shape
        distances.append(float(losses.photometric(actual.images, samples.pseudo, samples.masks)))
    assert distances[0] > 1.02 * distances[1] > 1.02 * distances[2]
    standing = _improved(searching, latent_iterations=1, latent_learning_rate=1e-12)
    # The generator is another program in each of the two; on an AMD EPYC their sums differ by up to 2e-4.
    np.testing.assert_allclose(standing.images, samples.images, atol=1e-3)


def test_each_latent_is_searched_for_by_itself(searching, searched):
    # Adam moves by the gradient's sign at first, so that neighbours matter only through the mean of a batch.
    alone = _improved(searching, jax.tree.map(lambda leaf: leaf[8:], searching[-1]))
    np.testing.assert_allclose(searched.images[8:], alone.images, atol=1e-4)


@pytest.mark.heavy
def test_a_latent_in_w_plus_is_moved_alike_in_all_layers(searching, searched):
    example, _, settings, *_ = searching
    wide = jnp.broadcast_to(example.latent[:, None], (1, settings.architecture.latents, example.latent.shape[-1]))
    same = _improved(searching, example=dataclasses.replace(example, latent=wide))
    np.testing.assert_allclose(same.images, searched.images, atol=1e-4)


@pytest.mark.heavy
def test_the_anchored_step_searches(searching):
    example, frozen, settings, params, samples = searching
    state, phase = initial_state(params, settings), Phase(3, 1, steps.ANCHORED_STEP, 4, False)
    images = [
        np.asarray(
            _project(None, state, phase, Context(example, frozen, changed(settings, latent_iterations=count))).images
        )
        for count in (0, 4)
    ]
    assert np.abs(images[1] - images[0]).max() > 0.01


@pytest.fixture(scope="module")
def own(image):
    example, frozen, settings = image
    counts = {"collect_iters": 2, "batch_size": 2, "own_encoder_iterations": 3}
    settings = dataclasses.replace(settings, regularize_offset=False, encoder_learning_rate=1e-3, **counts)
    return initial_state(models.init_params(jax.random.key(1), settings), settings), example, frozen, settings


@pytest.fixture(scope="module")
def by_own_encoder(own):
    return _by_own_encoder(own)


def _by_own_encoder(own, phase=_STEP3, **fields):
    state, example, frozen, settings = own
    context = Context(example, frozen, changed(settings, **fields))
    return np.asarray(steps.projected_by_own_encoder(state, phase, context).images)


def test_an_own_encoder_is_trained_through_the_mapping_network(own, by_own_encoder):
    images = by_own_encoder
    assert images.shape[0] == own[-1].sample_count
    np.testing.assert_array_equal(images, _by_own_encoder(own, regularize_offset=True))
    for other in ({"own_encoder_iterations": 1}, {"encoder_learning_rate": 1e-5}):
        assert np.abs(images - _by_own_encoder(own, **other)).max() > 1e-4


@pytest.mark.heavy
def test_training_an_own_encoder_leaves_the_state_as_it_was_where_states_are_donated(own, donating):
    first = _by_own_encoder(own)
    np.testing.assert_array_equal(_by_own_encoder(own), first)


@pytest.mark.heavy
def test_the_shared_encoder_has_no_part_in_them_and_the_same_phase_gives_the_same(own):
    state, *rest = own
    other = models.init_params(jax.random.key(2), rest[-1])["encoder"]
    elsewhere = dataclasses.replace(state, params=state.params | {"encoder": other}), *rest
    images = _by_own_encoder(own)
    np.testing.assert_array_equal(images, _by_own_encoder(elsewhere))
    assert np.abs(images - _by_own_encoder(own, dataclasses.replace(_STEP3, number=5))).max() > 1e-4
