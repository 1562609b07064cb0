"""What becomes of a lifted model: in float16, its change of shape carried on, or kept in part after a refinement."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import model_file, refinement
from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.training import loop
from gan2shape_jax.training.loop import Cadence, Watcher

_CADENCE = Cadence(checkpoint=1000, log=1000, per_call=1, keep=1)
_SCHEDULE = (Phase(0, 1, STEPS["step1"], 20, True), Phase(1, 1, STEPS["step3"], 12, True))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An image, the frozen networks, and two sets of networks."""
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("refinement"))
    settings = changed(prepared.settings, learning_rate=1e-3, collect_iters=3)
    start, end = (models.init_params(jax.random.key(seed), settings) for seed in (0, 1))
    return dataclasses.replace(prepared, settings=settings), frozen, start, end


def test_networks_are_shortened_where_no_output_changes_by_more_than_a_thousandth(case):
    prepared, _, params, _ = case
    images, settings = prepared.problem.image, prepared.settings
    names = model_file.shortened(params, images, settings)
    assert names <= set(models.NAMES) and len(names) > 2
    half = {name: jax.tree.map(lambda leaf: jnp.float32(jnp.float16(leaf)), params[name]) for name in names}
    assert max(map(float, model_file._changes(params, params | half, images, settings=settings).values())) <= 1e-3
    huge = params | {"depth": jax.tree.map(lambda leaf: leaf * 1e6, params["depth"])}  # more than float16 can hold
    assert "depth" not in model_file.shortened(huge, images, settings)


@pytest.fixture(scope="module")
def pictures(case):
    rng = np.random.default_rng(0)
    return np.asarray(case[0].problem.image) * rng.uniform(0.5, 1, (11, 1, 1, 1)).astype(np.float32)


def test_the_mean_change_is_that_of_the_depths_and_symmetric_where_asked_for(case, pictures):
    prepared, _, *both = case
    given = *both, pictures, prepared.settings
    depth_of = jax.jit(models.depth)
    depths = [np.asarray(depth_of(params, pictures, prepared.settings)) for params in both]
    change = refinement.mean_change(*given, mirrored=False)
    np.testing.assert_allclose(change, (depths[1] - depths[0]).mean(0), atol=1e-5)
    mirrored = refinement.mean_change(*given, mirrored=True)
    np.testing.assert_allclose(mirrored, (change + change[:, ::-1]) / 2, atol=1e-7)


@pytest.mark.heavy  # 200 iterations
def test_depth_learns_to_be_a_change_further_and_nothing_else_does(case, pictures):
    prepared, _, _, params = case
    settings = prepared.settings
    across = np.linspace(-1, 1, settings.image_size, dtype=np.float32)
    bump = np.exp(-8 * (across[:, None] ** 2 + across**2))
    change = 0.02 * (bump - bump.mean())  # networks' outputs are centred
    moved = refinement.carried_on(params, change, pictures, settings, iterations=200)
    assert all(moved[name] is params[name] for name in params if name != "depth")
    before, after = (refinement.depths(one, pictures, settings) for one in (params, moved))
    wanted = np.clip(before + change, settings.camera.min_depth, settings.camera.max_depth)
    assert np.square(after - wanted).mean() < 0.25 * np.square(wanted - before).mean()
    first, second = (refinement.carried_on(params, change, pictures, settings, iterations=3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def refined(case):
    prepared, frozen, start, _ = case
    return loop.train(prepared, frozen, _SCHEDULE, start, None, _CADENCE, Watcher()).state


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
def test_networks_that_explain_kept_out_samples_better_are_kept(case, refined):
    prepared, frozen, start, _ = case
    kept = [refinement.keep_best(start, refined, prepared, frozen, batches=2, gain=0.8) for _ in range(2)]
    params, share, l1 = kept[0]
    assert len(l1) == len(refinement.SHARES) and np.isfinite(l1).all()
    assert share == refinement.SHARES[refinement.chosen(l1, gain=0.8)] > 0  # training helped
    expected = (1 - share) * _leaves(start) + share * _leaves(refined.params)
    np.testing.assert_allclose(_leaves(params), expected, rtol=1e-5, atol=1e-7)
    assert kept[1][1:] == kept[0][1:]
    problem = dataclasses.replace(prepared.problem, key=jax.random.key(99))
    elsewhere = dataclasses.replace(prepared, problem=problem)
    assert refinement.keep_best(start, refined, elsewhere, frozen, batches=2, gain=0.8)[2] != l1  # other samples


@pytest.mark.heavy
@pytest.mark.parametrize("noise", [0.5, 0.0])
def test_a_refinement_that_does_harm_or_nothing_changes_nothing(case, refined, noise):
    prepared, frozen, *_ = case
    rng = np.random.default_rng(0)
    harmed = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.normal(0, noise, leaf.shape), leaf.dtype), refined.params)
    state = dataclasses.replace(refined, params=harmed)
    params, share, l1 = refinement.keep_best(refined.params, state, prepared, frozen, batches=1, gain=0.8)
    assert share == 0 and (noise or len(set(np.round(l1, 6))) == 1)
    for name in set(models.NAMES) - {"encoder"}:  # which explains nothing
        np.testing.assert_array_equal(_leaves(params[name]), _leaves(refined.params[name]))
