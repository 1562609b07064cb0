"""A change of shape that is carried on: how much of it, on which images, and what else stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import refinement
from gan2shape_jax.method import models


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Two sets of networks that differ in depth, pictures, and settings."""
    prepared, _ = tiny_image(tmp_path_factory.mktemp("overshoot"))
    start, end = (models.init_params(jax.random.key(seed), prepared.settings) for seed in (0, 1))
    rng = np.random.default_rng(0)
    images = np.asarray(prepared.problem.image) * rng.uniform(0.5, 1, (11, 1, 1, 1)).astype(np.float32)
    return start, start | {"depth": end["depth"]}, images, prepared.settings


def test_the_mean_change_is_that_of_the_depths_and_symmetric_where_asked_for(case):
    start, end, images, settings = case
    both = [np.asarray(models.depth(params, jnp.asarray(images), settings)) for params in (start, end)]
    change = refinement.mean_change(start, end, images, settings, mirrored=False)
    np.testing.assert_allclose(change, (both[1] - both[0]).mean(0), atol=1e-5)
    mirrored = refinement.mean_change(start, end, images, settings, mirrored=True)
    np.testing.assert_allclose(mirrored, (change + change[:, ::-1]) / 2, atol=1e-7)


@pytest.mark.heavy  # 200 iterations
def test_depth_learns_to_be_a_change_further_and_nothing_else_does(case):
    _, params, images, settings = case
    across = np.linspace(-1, 1, settings.image_size, dtype=np.float32)
    bump = np.exp(-8 * (across[:, None] ** 2 + across**2))
    change = 0.02 * (bump - bump.mean())  # networks' outputs are centred
    moved = refinement.carried_on(params, change, images, settings, iterations=200)
    assert all(moved[name] is params[name] for name in params if name != "depth")
    before, after = (refinement.depths(one, images, settings) for one in (params, moved))
    wanted = np.clip(before + change, settings.camera.min_depth, settings.camera.max_depth)
    assert np.square(after - wanted).mean() < 0.25 * np.square(wanted - before).mean()


@pytest.mark.heavy
def test_the_same_images_give_the_same_bits(case):
    _, params, images, settings = case
    change = np.full((settings.image_size,) * 2, 0.01, np.float32)
    first, second = (refinement.carried_on(params, change, images, settings, iterations=3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
