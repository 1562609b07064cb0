"""The stage loop: what each phase changes, and that stopping anywhere changes nothing."""

import dataclasses
from unittest import mock

import jax
import numpy as np
import optax
import pytest
from helpers.killed import Killed, die_at
from helpers.tiny import tiny_config

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models
from gan2shape_jax.method.schedule import STEPS, Phase, make_schedule
from gan2shape_jax.run import prepare, runtime
from gan2shape_jax.run.folder import RunFolder
from gan2shape_jax.training import loop
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.loop import Cadence, Watcher

CADENCE = Cadence(checkpoint=2, log=2, per_call=1, keep=2)
UNWATCHED = Watcher()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Everything that the stage loop is given."""
    config = tiny_config(tmp_path_factory.mktemp("tiny"))
    architecture, frozen = prepare.load_frozen(config)
    prepared = prepare.load_image(config, "001.png", architecture, frozen, RunFolder.at(config).latents)
    initial = models.init_params(jax.random.key(0), prepared.settings)
    return prepared, frozen, runtime.schedule_of(config), initial


def _train(run, folder, watcher=UNWATCHED, cadence=CADENCE, phases=None):
    prepared, frozen, schedule, initial = run
    return loop.train(prepared, frozen, schedule[:phases], initial, folder, cadence, watcher)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """An uninterrupted run."""
    return _train(run, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "stop", [(3, 3), pytest.param((1, 1), marks=pytest.mark.heavy), pytest.param((6, 1), marks=pytest.mark.heavy)]
)
def test_interrupted_anywhere_and_resumed_gives_the_same_bits(run, whole, tmp_path, stop):
    with pytest.raises(Killed):
        _train(run, tmp_path, die_at(*stop))
    state, history = _train(run, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state, whole[0])
    assert history == whole[1]


def _distance(first, second):
    return float(optax.global_norm(jax.tree.map(np.subtract, jax.device_get(first), jax.device_get(second))))


@pytest.mark.heavy
def test_several_iterations_a_call_give_the_same_result(run, tmp_path):
    one, history = _train(run, tmp_path / "one", phases=2)
    several, same = _train(run, tmp_path / "two", cadence=dataclasses.replace(CADENCE, per_call=2), phases=2)
    # Adam's first steps are as long for gradients that are all rounding as for others, so that programs which differ
    # in rounding alone were 0.04 apart; an iteration too few or too many is 0.25.
    for name, start in run[3].items():
        moved = _distance(one.params[name], start)
        assert (moved > 0) == (name in ("depth", "albedo"))
        assert _distance(several.params[name], one.params[name]) <= 0.1 * moved
    for a, b in zip(same, history, strict=True):
        assert a.keys() == b.keys()
        assert a.get("loss", 0.0) == pytest.approx(b.get("loss", 0.0), rel=1e-3)


def test_each_phase_moves_its_own_networks_only(run):
    prepared, frozen, schedule, initial = run
    task = task_lib.independent([prepared], frozen)
    state = task.initial(initial)
    for phase in schedule[:4]:
        before = jax.tree.map(np.array, state.params)
        state = task.begin(state, phase)
        state, _ = task.advance(state, phase, 0, task.phase_constants(state, phase), 1)
        for name in models.NAMES:
            pairs = zip(jax.tree.leaves(before[name]), jax.tree.leaves(state.params[name]), strict=True)
            moved = any(not np.array_equal(a, b) for a, b in pairs)
            assert moved == (name in phase.kind.networks), (phase.label, name)


def test_losses_fall(run, tmp_path):
    prepared, frozen, _, initial = run
    schedule = make_schedule(((40, 0, 0),), flip1=(False,), flip3=(False,), prior_iterations=60)
    cadence = Cadence(checkpoint=1000, log=20, per_call=1, keep=1)
    _, history = loop.train(prepared, frozen, schedule, initial, tmp_path, cadence, Watcher())
    for step in ("prior", "step1"):
        losses = [row["loss"] for row in history if row["step"] == step]
        assert losses[-1] < losses[0]


def test_a_loss_that_is_not_finite_is_reported(run, tmp_path):
    prepared, frozen, schedule, initial = run
    broken = jax.tree.map(lambda x: x * np.nan, initial)
    with pytest.raises(UserError, match="loss became nan in prior, iteration 2"):
        loop.train(prepared, frozen, schedule, broken, tmp_path, CADENCE, Watcher())


@pytest.mark.parametrize(("platform", "waits"), [("cpu", 20), ("gpu", 0)])
def test_calls_wait_for_one_another_on_cpu_only(monkeypatch, platform, waits):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    scalar, task = mock.Mock(spec=["block_until_ready"]), mock.Mock(window=1)
    task.advance = lambda state, *_: (state, {"loss": scalar})
    task.averages.return_value, task.examine.return_value = {"loss": 0.0}, (None, {})
    cadence = dataclasses.replace(CADENCE, log=100, checkpoint=100)
    loop.run_schedule(task, (Phase(0, 1, STEPS["step3"], 20, False),), {}, None, cadence, UNWATCHED)
    assert scalar.block_until_ready.call_count == waits
