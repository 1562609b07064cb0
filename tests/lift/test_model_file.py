"""What of a lifted model's networks is kept: no more digits than their outputs need."""

import jax
import numpy as np
import pytest
from helpers.tiny import tiny_image
from hypothesis import given
from hypothesis import strategies as st

from gan2shape_jax.lift import model_file
from gan2shape_jax.method import models


@given(st.floats(-60000, 60000, width=16), st.integers(0, 10))
def test_rounded_numbers_are_the_nearest_ones_with_so_many_zeros(value, dropped):
    rounded = model_file.rounded(np.asarray([value], np.float32), dropped)
    assert rounded.dtype == np.float16
    assert rounded.view(np.uint16)[0] & ((1 << dropped) - 1) == 0
    scale = max(abs(value), float(np.finfo(np.float16).tiny))
    if np.isfinite(rounded[0]):
        assert abs(float(rounded[0]) - value) <= scale * 2.0 ** (dropped - 11)
    else:
        assert abs(value) > 2.0**15  # no such number is left below the greatest one


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, _ = tiny_image(tmp_path_factory.mktemp("model"))
    params = models.init_params(jax.random.key(0), prepared.settings)
    return params, prepared.problem.image, prepared.settings


def test_outputs_move_by_a_thousandth_at_most(case):
    params, images, settings = case
    bits = model_file.shortened(params, images, settings)
    assert set(bits) <= set(models.NAMES) and len(bits) > 2

    def off(more):
        kept = {name: model_file._params_rounded(params[name], bits[name] + more) for name in bits}
        return model_file._changes(params, params | kept, images, settings=settings)

    assert max(map(float, off(0).values())) <= 1e-3
    assert all(float(off(1)[name]) > 1e-3 for name in bits if bits[name] < 6)


def test_what_float16_cannot_hold_stays_as_it_is(case):
    params, images, settings = case
    huge = params | {"depth": jax.tree.map(lambda leaf: leaf * 1e6, params["depth"])}
    assert "depth" not in model_file.shortened(huge, images, settings)
