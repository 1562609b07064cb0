"""Samples projected by an encoder that was trained on their image alone."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.lift import steps
from gan2shape_jax.method import iteration, models
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import initial_state
from gan2shape_jax.method.step3 import STEP3

_STEP3 = Phase(4, 1, STEP3, 10, flip=False)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    prepared, frozen = tiny_image(tmp_path_factory.mktemp("own"))
    settings = dataclasses.replace(
        prepared.settings,
        regularize_offset=False,
        collect_iters=2,
        batch_size=2,
        own_encoder_iterations=3,
        encoder_learning_rate=1e-3,
    )
    state = initial_state(models.init_params(jax.random.key(1), settings), settings)
    return state, prepared.problem, frozen, settings


def _images(case, phase=_STEP3, **fields):
    state, problem, frozen, settings = case
    chosen = changed(settings, **fields)
    return np.asarray(steps.projected_by_own_encoder(state, phase, problem, frozen, chosen).images)


@pytest.mark.heavy
def test_the_shared_encoder_has_no_part_in_them_and_the_same_phase_gives_the_same(case):
    state, problem, frozen, settings = case
    other = models.init_params(jax.random.key(2), settings)["encoder"]
    elsewhere = dataclasses.replace(state, params=state.params | {"encoder": other}), problem, frozen, settings
    images = _images(case)
    assert images.shape[0] == settings.sample_count
    np.testing.assert_array_equal(images, _images(elsewhere))
    assert np.abs(images - _images(case, dataclasses.replace(_STEP3, number=5))).max() > 1e-4


def test_its_offsets_pass_through_the_mapping_network_and_it_is_trained(case):
    state, problem, frozen, settings = case
    np.testing.assert_array_equal(_images(case), _images(case, regularize_offset=True))
    assert np.abs(_images(case) - _images(case, own_encoder_iterations=1)).max() > 1e-4
    assert np.abs(_images(case) - _images(case, encoder_learning_rate=1e-5)).max() > 1e-4
    by_shared = iteration.phase_constants(state, _STEP3, problem, frozen, settings).images
    assert np.abs(_images(case) - np.asarray(by_shared)).max() > 1e-4


def test_it_is_wanted_in_step_3_without_an_anchor_alone(case):
    settings = case[-1]
    assert steps.has_own_encoder(_STEP3, settings)
    assert not steps.has_own_encoder(dataclasses.replace(_STEP3, kind=steps.ANCHORED_STEP), settings)
    assert not steps.has_own_encoder(_STEP3, changed(settings, own_encoder_iterations=0))
