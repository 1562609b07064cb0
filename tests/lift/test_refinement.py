"""What is kept of a refinement: networks between a model's and the refined ones, by samples kept out of training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import refinement
from gan2shape_jax.method import models
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.training import loop
from gan2shape_jax.training.loop import Cadence, Watcher

_CADENCE = Cadence(checkpoint=1000, log=1000, per_call=1, keep=1)
_SCHEDULE = (Phase(0, 1, STEPS["step1"], 20, True), Phase(1, 1, STEPS["step3"], 12, True))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("refinement"))
    settings = changed(prepared.settings, learning_rate=1e-3, collect_iters=3)
    prepared = dataclasses.replace(prepared, settings=settings)
    start = models.init_params(jax.random.key(0), settings)
    state, _ = loop.train(prepared, frozen, _SCHEDULE, start, None, _CADENCE, Watcher())
    return prepared, frozen, start, state


def _leaves(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_the_first_networks_that_explain_kept_out_samples_well_enough_are_kept():
    assert refinement.chosen([1.0, 0.9, 0.79, 0.72, 0.7], gain=1.0) == 4
    assert refinement.chosen([1.0, 0.9, 0.79, 0.72, 0.7], gain=0.9) == 3
    assert refinement.chosen([1.0, 0.9, 0.79, 0.72, 0.7], gain=0.5) == 2
    for gain in (0.5, 1.0):
        assert refinement.chosen([1.0, 0.7, 0.75, 0.8, 0.9], gain=gain) == 1
        assert refinement.chosen([1.0, 1.1, 1.2, 1.3, 1.4], gain=gain) == 0
        assert refinement.chosen([1.0] * 5, gain=gain) == 0
    assert refinement.chosen([1.0, 0.8, 0.7, 0.7, 0.9], gain=1.0) == 2


@pytest.mark.heavy
def test_networks_that_explain_kept_out_samples_better_are_kept(case):
    prepared, frozen, start, state = case
    kept = refinement.keep_best(start, state, prepared, frozen, batches=2, gain=0.8)
    assert len(kept.l1) == len(refinement.SHARES) and np.isfinite(kept.l1).all()
    assert kept.share == refinement.SHARES[refinement.chosen(kept.l1, gain=0.8)] > 0  # training helped
    expected = (1 - kept.share) * _leaves(start) + kept.share * _leaves(state.params)
    np.testing.assert_allclose(_leaves(kept.state.params), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.heavy
def test_a_refinement_that_only_does_harm_changes_nothing(case):
    prepared, frozen, start, state = case
    rng = np.random.default_rng(0)
    harmed = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, 0.5, leaf.shape), leaf.dtype), state.params)
    kept = refinement.keep_best(
        state.params, dataclasses.replace(state, params=harmed), prepared, frozen, batches=1, gain=0.8
    )
    assert kept.share == 0
    for name in set(models.NAMES) - {"encoder"}:  # which explains nothing
        np.testing.assert_array_equal(_leaves(kept.state.params[name]), _leaves(state.params[name]))


@pytest.mark.heavy
def test_where_nothing_changed_the_model_is_kept(case):
    prepared, frozen, start, _ = case
    state = initial_state(start, prepared.settings)
    state = dataclasses.replace(state, factors=Factors(*jax.tree.leaves(state.factors)))
    kept = refinement.keep_best(start, state, prepared, frozen, batches=1, gain=0.8)
    assert kept.share == 0 and len(set(np.round(kept.l1, 6))) == 1


@pytest.mark.heavy
def test_the_choice_is_a_function_of_image_and_networks(case):
    prepared, frozen, start, state = case
    first, second = (refinement.keep_best(start, state, prepared, frozen, batches=1, gain=0.8) for _ in range(2))
    assert first.l1 == second.l1 and first.share == second.share
    problem = dataclasses.replace(prepared.problem, key=jax.random.key(99))
    other = refinement.keep_best(
        start, state, dataclasses.replace(prepared, problem=problem), frozen, batches=1, gain=0.8
    )
    assert other.l1 != first.l1  # other samples
