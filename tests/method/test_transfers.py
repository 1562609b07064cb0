"""An iteration's arrays stay on the device: nothing goes to the host and back inside a step."""

import jax
import jax.numpy as jnp
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models
from gan2shape_jax.method.sampling import TRAIN, phase_key
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.state import ProjectedSamples, initial_state


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Problem, frozen networks, settings and initial parameters."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("transfers"))
    return prepared.problem, frozen, prepared.settings, models.init_params(jax.random.key(0), prepared.settings)


@pytest.mark.parametrize("step", ["prior", "step1", "step2", pytest.param("step3", marks=pytest.mark.heavy)])
def test_a_step_transfers_nothing(case, step):
    problem, frozen, settings, params = case
    phase = Phase(number=1, stage=1, kind=STEPS[step], iterations=2, flip=False)
    state = iteration_lib.begin(
        initial_state(jax.tree.map(jnp.array, params), settings), phase, problem, frozen, settings
    )
    constants = iteration_lib.phase_constants(state, phase, problem, frozen, settings) if step == "step1" else None
    if step == "step3":
        count = settings.sample_count
        constants = ProjectedSamples(images=jnp.tile(problem.image, (count, 1, 1, 1)), masks=jnp.ones((count, 64, 64)))
    # Compiling puts constants on the device; later iterations must not. Their number is all that comes from the host.
    state, _ = iteration_lib.advance(state, phase, 0, constants, problem, frozen, settings)
    with jax.transfer_guard_host_to_device("disallow_explicit"), pytest.raises(Exception, match="[Dd]isallowed"):
        jax.device_put(1.0).block_until_ready()  # the guard is one that sees something
    iteration = jnp.int32(1)
    static = {"step": STEPS[step], "flip": False}
    run = iteration_lib.compiled_with(iteration_lib.iterate, tuple(static), jax.default_backend())
    key = phase_key(problem.key, phase.number, TRAIN)
    with jax.transfer_guard("disallow_explicit"):
        state, metrics = run(state, constants, problem, key, iteration, frozen, settings, **static)
        jax.block_until_ready(state)
    assert all(jnp.isfinite(value) for value in jax.tree.leaves(metrics))
