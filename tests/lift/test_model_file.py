"""A lifted model's networks are stored in float16 where their outputs allow it."""

import jax
import jax.numpy as jnp
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, _ = tiny_image(tmp_path_factory.mktemp("model"))
    params = models.init_params(jax.random.key(0), prepared.settings)
    return params, prepared.problem.image, prepared.settings


def test_outputs_of_networks_in_float16_change_by_a_thousandth_at_most(case):
    params, images, settings = case
    names = model_file.shortened(params, images, settings)
    assert names <= set(models.NAMES) and len(names) > 2
    half = {name: jax.tree.map(lambda leaf: jnp.float32(jnp.float16(leaf)), params[name]) for name in names}
    assert max(map(float, model_file._changes(params, params | half, images, settings=settings).values())) <= 1e-3


def test_what_float16_cannot_hold_stays_as_it_is(case):
    params, images, settings = case
    huge = params | {"depth": jax.tree.map(lambda leaf: leaf * 1e6, params["depth"])}
    assert "depth" not in model_file.shortened(huge, images, settings)
