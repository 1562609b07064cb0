"""Each step has the forms of the platform that it is lowered for, whatever platform lowers it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models
from gan2shape_jax.method.sampling import TRAIN, phase_key
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.state import ProjectedSamples, initial_state
from gan2shape_jax.method.step3 import next_samples
from gan2shape_jax.platforms import tracing_for


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Problem, frozen networks, settings and initial parameters."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("platforms"))
    return prepared.problem, frozen, prepared.settings, models.init_params(jax.random.key(0), prepared.settings)


def _constants(step, problem, settings):
    if step == "step3":
        count = settings.sample_count
        return ProjectedSamples(images=jnp.tile(problem.image, (count, 1, 1, 1)), masks=jnp.ones((count, 64, 64)))
    return None


@pytest.mark.parametrize("step", ["prior", "step2", "step3"])
def test_a_step_is_lowered_for_any_platform(case, step):
    """A gradient through a strided convolution dilates on GPU and TPU, and is a product over patches on a CPU."""
    problem, frozen, settings, params = case
    phase = Phase(number=1, stage=1, kind=STEPS[step], iterations=2, flip=False)
    state = iteration_lib.begin(initial_state(params, settings), phase, problem, frozen, settings)
    static = {"step": STEPS[step], "flip": False}
    key = phase_key(problem.key, phase.number, TRAIN)
    arguments = (state, _constants(step, problem, settings), problem, key, jnp.int32(0), frozen, settings)
    count = {}
    for platform in ("cpu", "gpu", "tpu"):
        with tracing_for(platform):
            traced = jax.jit(iteration_lib.iterate, static_argnames=tuple(static)).trace(*arguments, **static)
            text = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,)).as_text()
        count[platform] = text.count("lhs_dilate = [2, 2]")
    # Transposed convolutions of StyleGAN2's generator dilate everywhere, on a CPU too.
    assert count["gpu"] == count["tpu"] > count["cpu"]
    assert step != "prior" or count["cpu"] == 0


def test_the_next_samples_are_the_same_to_the_last_bit_in_a_tpus_form(case):
    _, _, settings, _ = case
    rng = np.random.default_rng(0)
    shape = (settings.sample_count, settings.image_size, settings.image_size)
    kept = ProjectedSamples(
        images=jnp.asarray(rng.normal(size=(*shape, 3)), jnp.float32), masks=jnp.asarray(rng.random(shape) > 0.5, float)
    )
    expected = next_samples(jax.random.key(0), jnp.int32(3), kept, settings)
    with tracing_for("tpu"):
        found = next_samples(jax.random.key(0), jnp.int32(3), kept, settings)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert expected.images.shape[0] == settings.batch_size
