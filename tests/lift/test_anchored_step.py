"""The anchored step: step 3's loss, and the distance from the views and lights that samples were drawn with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import steps
from gan2shape_jax.method import models, pseudo_images, sampling, step3
from gan2shape_jax.method.factors import Factors, view_from_raw
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import KnownConditions


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("anchored"))
    settings = changed(prepared.settings, anchor_view=2.0, anchor_light=0.5)
    side = settings.image_size
    factors = Factors(
        depth=jnp.asarray(np.random.default_rng(0).uniform(0.99, 1.01, (side, side)), jnp.float32),
        albedo=prepared.problem.image[0],
        view=jnp.zeros(6),
        light=jnp.asarray([0.4, 0.5, 0.1, 0.2]),
        mask=jnp.ones((side, side)),
    )
    return prepared.problem, frozen, settings, factors


def test_known_conditions_are_those_that_pseudo_images_are_drawn_with(case):
    _, frozen, settings, factors = case
    key = jax.random.key(3)
    drawn, _ = jax.jit(pseudo_images.draw_pseudo_images)(key, 5, factors, frozen, settings=settings)
    known = pseudo_images.known_conditions(key, 5, factors, frozen, settings)
    # Their lights are the input's with strengths added: undo that, and render by what is known.
    strength = known.lights[:, 1] - factors.light[1]
    np.testing.assert_allclose(known.lights[:, 0], factors.light[0] + settings.rand_light[6] * strength, rtol=1e-6)
    again, _ = jax.jit(pseudo_images.pseudo_images)(
        factors, known.views, known.lights[:, 2:], strength, settings=settings
    )
    np.testing.assert_allclose(again, drawn, atol=1e-5)


def test_distances_are_zero_where_all_is_right_and_grow_by_squares_of_deviations(case):
    _, frozen, settings, _ = case
    rng = np.random.default_rng(1)
    known = KnownConditions(
        views=jnp.asarray(rng.normal(size=(3, 6)), jnp.float32).at[:, 5].set(0),
        lights=jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
    )
    views = view_from_raw(known.views, settings.view_range)
    np.testing.assert_allclose(steps.view_distance(views, known, frozen, settings), 0, atol=1e-10)
    assert steps.light_distance(known.lights, known, settings) == 0
    deviations = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    light_deviations = np.asarray(sampling.light_deviations(settings.rand_light))
    for axis in range(3):  # a roll, which varies least, counts as much as a yaw
        turned = view_from_raw(known.views.at[:, axis].add(0.5 * deviations[axis]), settings.view_range)
        view = steps.view_distance(turned, known, frozen, settings)
        light = steps.light_distance(known.lights + 2 * light_deviations, known, settings)
        np.testing.assert_allclose([view, light], [0.5**2 / 5, 2**2], rtol=1e-3)  # z does not move here


def test_what_is_not_drawn_at_random_misses_nothing(case):
    _, frozen, settings, _ = case
    known = KnownConditions(views=jnp.zeros((2, 6)), lights=jnp.zeros((2, 4)))
    still = dataclasses.replace(frozen, view_factor=jnp.zeros((6, 6)))
    fixed = changed(settings, rand_light=(0.2, 0.2, -0.1, -0.1, 0.3, 0.3, -0.4))
    assert steps.view_distance(jnp.ones((2, 6)), known, still, fixed) == 0
    assert steps.light_distance(jnp.ones((2, 4)), known, fixed) == 0


def test_deviations_are_those_of_what_is_drawn(case):
    _, frozen, settings, factors = case
    many = changed(settings, batch_size=20_000)
    known = pseudo_images.known_conditions(jax.random.key(0), 0, factors, frozen, many)
    expected = sampling.view_deviations(frozen.view_factor, settings.view_scale)
    np.testing.assert_allclose(known.views.std(0), expected, rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(known.lights.std(0), sampling.light_deviations(settings.rand_light), rtol=0.02)


def test_the_loss_is_step_3s_and_the_weighted_distances(case):
    problem, frozen, settings, _ = case
    params = models.init_params(jax.random.key(0), settings)
    count, side = settings.batch_size, settings.image_size
    rng = np.random.default_rng(2)
    images, pseudo = jnp.asarray(rng.uniform(-1, 1, (2, count, side, side, 3)), jnp.float32)
    masks = jnp.ones((count, side, side))
    known = KnownConditions(
        views=jnp.asarray(rng.normal(size=(count, 6)), jnp.float32),
        lights=jnp.asarray(rng.normal(size=(count, 4)), jnp.float32),
    )

    @jax.jit
    def losses():
        plain, _ = step3.step3_loss(params, images, masks, problem, frozen, settings, flip=False)
        loss, (metrics, _) = steps.anchored_loss(
            params, images, masks, pseudo, known, problem, frozen, settings, flip=False
        )
        return plain, loss, metrics

    plain, loss, metrics = losses()
    assert metrics["drawn_view_distance"] > 0.1 and metrics["view_distance"] > 0.1
    views = metrics["view_distance"] + metrics["drawn_view_distance"]
    lights = metrics["light_distance"] + metrics["drawn_light_distance"]
    expected = plain + 2.0 * views + 0.5 * lights
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    own = models.views(params, pseudo, frozen.view_mean, settings)
    expected = steps.view_distance(own, known, frozen, settings)
    np.testing.assert_allclose(metrics["drawn_view_distance"], expected, rtol=1e-4)


@pytest.mark.parametrize("absent", ["view", "light"])
def test_what_weighs_nothing_is_not_computed(case, absent):
    problem, frozen, settings, factors = case
    without = changed(settings, **{f"anchor_{absent}": 0.0})
    count, side = settings.batch_size, settings.image_size
    blank = jnp.zeros((count, side, side, 3))
    known = KnownConditions(views=jnp.zeros((count, 6)), lights=jnp.zeros((count, 4)))
    params = models.init_params(jax.random.key(0), settings)

    def metrics_of(chosen):
        loss = functools.partial(steps.anchored_loss, settings=chosen, flip=False)
        return set(jax.eval_shape(loss, params, blank, blank[..., 0], blank, known, problem, frozen)[1][0])

    assert metrics_of(settings) - metrics_of(without) == {f"{absent}_distance", f"drawn_{absent}_distance"}
