"""What does not change between iterations is computed once, and gives what computing it every time gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import iteration, models, step3
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.method.step1 import Step1Cache, step1_cache, step1_loss


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Problem, frozen networks, parameters and settings."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("kept"))
    return prepared.problem, frozen, models.init_params(jax.random.key(1), prepared.settings), prepared.settings


def _convolutions(function, *inputs):
    return str(jax.make_jaxpr(function)(*inputs)).count("conv_general_dilated[")


@pytest.mark.heavy
def test_step_1_with_kept_features_is_step_1(case):
    problem, frozen, params, settings = case
    kept = jax.jit(functools.partial(step1_cache, settings=settings, flip=True))(params, problem, frozen)

    def loss(p, kept):
        return step1_loss(p, kept, problem, frozen, settings, flip=True)[0]

    anew = Step1Cache(kept.scene)
    assert _convolutions(loss, params, kept) < _convolutions(loss, params, anew)
    from_kept, computed_anew = (jax.jit(jax.value_and_grad(loss))(params, given) for given in (kept, anew))
    np.testing.assert_allclose(from_kept[0], computed_anew[0], rtol=1e-6)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(computed_anew[1]))
    for a, b in zip(jax.tree.leaves(from_kept[1]), jax.tree.leaves(computed_anew[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_phase_keeps_the_features_of_its_input(case):
    problem, frozen, params, settings = case
    phase = Phase(number=1, stage=1, kind=STEPS["step1"], iterations=1, flip=False)
    constants = iteration.phase_constants(initial_state(params, settings), phase, problem, frozen, settings)
    assert isinstance(constants, Step1Cache)
    assert constants.features


@pytest.mark.heavy
def test_samples_with_the_kept_code_are_the_samples(case):
    problem, frozen, params, settings = case
    state = initial_state(params, settings)
    collect = jax.jit(functools.partial(step3.collect_batch, iteration=0, settings=settings))
    code = jax.jit(functools.partial(step3.reference_code, settings=settings))(params, problem, frozen)
    from_kept, computed_anew, without = (
        np.asarray(collect(params, state.factors, given, problem, jax.random.key(2), frozen=frozen).images)
        for given in (code, None, jnp.zeros_like(code))
    )
    assert np.abs(from_kept - computed_anew).mean() < 1e-4 < 1e-3 < np.abs(without - computed_anew).mean()


def test_no_code_is_kept_where_encoding_is_absolute(case):
    problem, frozen, params, settings = case
    absolute = changed(settings, relative_enc=False)
    assert step3.reference_code(params, problem, frozen, absolute) is None
