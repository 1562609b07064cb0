"""Adam as the published code has it, and the step size that a lift lets rise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import models
from gan2shape_jax.method.iteration import fresh_optimizer, optimizer
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    prepared, _ = tiny_image(tmp_path_factory.mktemp("optimizer"))
    return changed(prepared.settings, learning_rate=1e-2, weight_decay=0.0)


def _sizes(settings, count):
    """Returns how far each step moves under a gradient that stays the same, where Adam moves by its step size."""
    adam, value, sizes = optimizer(settings), jnp.zeros(1), []
    state = adam.init(value)
    for _ in range(count):
        update, state = adam.update(jnp.ones(1), state, value)
        value = optax.apply_updates(value, update)
        sizes.append(float(-update[0]))
    return np.array(sizes)


def test_every_step_has_the_same_size_as_published(settings):
    np.testing.assert_allclose(_sizes(settings, 6), 1e-2, rtol=1e-4)


def test_the_step_size_rises_to_its_value_and_stays(settings):
    warm = changed(settings, warmup_iterations=4)
    np.testing.assert_allclose(_sizes(warm, 7), np.array([1, 2, 3, 4, 4, 4, 4]) * 2.5e-3, rtol=1e-4)
    one = changed(settings, warmup_iterations=1)
    np.testing.assert_allclose(_sizes(one, 3), 1e-2, rtol=1e-4)


def test_a_fresh_state_is_the_optimisers_own_and_of_one_program(settings):
    state = initial_state(models.init_params(jax.random.key(0), settings), settings)
    networks = ("depth", "view")
    expected = optimizer(settings).init({name: state.params[name] for name in networks})
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    try:
        found = fresh_optimizer(state, networks, settings).opt_state
    finally:
        jax.monitoring.clear_event_listeners()
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert sum("backend_compile" in name for name in compiled) == 1
