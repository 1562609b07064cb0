"""Weights, rates and ranges are traced: another value compiles nothing."""

import jax
import jax.numpy as jnp
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import iteration, models
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import ProjectedSamples, initial_state


@pytest.mark.parametrize("step", ["step2", "step3"])
def test_another_weight_rate_or_range_compiles_nothing(step, tmp_path):
    prepared, frozen = tiny_image(tmp_path)
    settings, problem = prepared.settings, prepared.problem
    phase = Phase(number=1, stage=1, kind=STEPS[step], iterations=2, flip=True)
    count = settings.sample_count
    samples = ProjectedSamples(images=jnp.tile(problem.image, (count, 1, 1, 1)), masks=jnp.ones((count, 64, 64)))
    constants = samples if STEPS[step].collect else None
    state = initial_state(models.init_params(jax.random.key(0), settings), settings)
    state = iteration.begin(state, phase, problem, frozen, settings)
    compiled = []

    def losses(settings):
        _, scalars = iteration.advance(jax.tree.map(jnp.array, state), phase, 0, constants, problem, frozen, settings)
        return float(scalars["loss"])

    first = losses(settings)
    every = jax.tree.map(lambda leaf: leaf * 1.01, settings)
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    try:
        other = losses(every)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not [name for name in compiled if "backend_compile" in name] and other != first
    quicker = changed(settings, learning_rate=0.5)
    assert jax.tree.structure(quicker) == jax.tree.structure(settings)
    assert [leaf.aval for leaf in jax.tree.leaves(quicker)] == [leaf.aval for leaf in jax.tree.leaves(settings)]
