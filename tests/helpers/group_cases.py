"""Groups of images: each gets what it gets alone, whoever its neighbours are.

Collected by test_groups.py, in a process of two simulated devices: one image a device compiles as fast as one image.
"""

import dataclasses
import json
import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gan2shape_jax.errors import Terminated
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.run import experiment, prepare
from gan2shape_jax.run.recipes import recipe_of
from gan2shape_jax.run.runner import Trainer
from gan2shape_jax.training import devices, groups, loop
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.loop import Cadence, Watcher
from helpers.killed import Killed, die_at
from helpers.tiny import images_of, tiny_config

NAMES = ("001.png", "006.png")
_COLLECTIVE = re.compile(r"all_reduce|all_gather|all_to_all|reduce_scatter|collective_permute")
CADENCE = Cadence(checkpoint=2, log=2, per_call=1, keep=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two images, and all else that the stage loop is given: 10 iterations in the four phases of one stage.

    The depth network starts nearly flat, as after the prior's fit: as drawn its surface is all folds, on which
    what is seen of it hangs on the last bit.
    """
    config = tiny_config(
        tmp_path_factory.mktemp("group"), names=NAMES, schedule__use_mask=True, schedule__stages=((2, 2, 2),)
    )
    images, frozen = images_of(config)
    initial = models.init_params(jax.random.key(0), images[0].settings)
    last = initial["depth"]["output"]
    initial["depth"] = initial["depth"] | {"output": {"kernel": 0.01 * last["kernel"]}}
    return images, frozen, recipe_of(config).schedule(config), initial


def _train(run, folder, *, images=None, watcher=None):
    ready, frozen, schedule, initial = run
    task = task_lib.independent(images or ready, frozen)
    state, history = loop.run_schedule(task, schedule, initial, folder, CADENCE, watcher or Watcher())
    return task, state, history


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """Each image by itself: state and history."""
    ready, frozen, schedule, initial = run
    return [
        loop.train(first, frozen, schedule, initial, tmp_path_factory.mktemp("alone"), CADENCE, Watcher())
        for first in ready
    ]


@pytest.fixture(scope="module")
def together(run, tmp_path_factory):
    return _train(run, tmp_path_factory.mktemp("together"))


def _depth(run, state, index):
    first = run[0][index]
    return np.asarray(reconstruction.predict(state.params, first.example, run[1], first.settings).depth)


def test_each_image_gets_what_it_gets_alone(run, alone, together):
    _, state, history = together
    for index, first in enumerate(run[0]):
        depth = _depth(run, alone[index][0], index)
        near = 1e-4 * np.ptp(depth)
        np.testing.assert_allclose(_depth(run, task_lib.one_of(state, index), index), depth, atol=near, rtol=0)
        own = loop.own_history(history, first.name)
        assert [row["iteration"] for row in own] == [row["iteration"] for row in alone[index][1]]
        for row, by_itself in zip(own, alone[index][1], strict=True):
            assert row.keys() == by_itself.keys()
            assert row["side"] == pytest.approx(by_itself["side"], rel=1e-3)
    for row in history:
        assert row["side"] == pytest.approx(np.mean([row["images"][first.name]["side"] for first in run[0]]))


def test_devices_exchange_nothing(run):
    ready, frozen, schedule, initial = run
    task = task_lib.independent(ready, frozen)
    for phase in schedule:
        state = task.begin(task.initial(initial), phase)
        keys = task_lib.phase_keys(task.example.key, phase.number, stream=Stream.TRAIN)
        program = task_lib.program(phase.kind, flip=phase.flip, count=1, mesh=task.mesh)
        arguments = (
            state,
            task.phase_constants(state, phase),
            task.example,
            keys,
            jnp.int32(0),
            task.frozen,
            task.settings,
        )
        assert not _COLLECTIVE.search(program.lower(*arguments).as_text()), phase.label


def test_a_collective_would_be_seen():
    mesh, axis = devices.mesh_for(2), PartitionSpec(devices.AXIS)
    summed = jax.shard_map(lambda x: jax.lax.psum(x, devices.AXIS), mesh=mesh, in_specs=axis, out_specs=axis)
    assert _COLLECTIVE.search(jax.jit(summed).lower(jnp.ones(2)).as_text())


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_two_images_on_one_device_get_the_same(run, platform, monkeypatch, request):
    """Sharing each operation, as on GPU and TPU, or one after another in a program."""
    ready, frozen, schedule, initial = run
    monkeypatch.setattr(devices, "platform_of", lambda mesh: platform)
    task_lib.program.cache_clear()
    request.addfinalizer(task_lib.program.cache_clear)  # the others' programs are of this machine's platform
    outcomes = []
    for mesh in (devices.mesh_for(2), devices.mesh_for(1)):
        task = task_lib.independent(ready, frozen, mesh)
        state = task.begin(task.initial(initial), schedule[0])
        for iteration in range(2):
            state, scalars = task.advance(state, schedule[0], iteration, None, 1)
        outcomes.append((state.params, scalars))
    for a, b in zip(*map(jax.tree.leaves, outcomes), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-4)


def _with(prepared, **fields):
    return dataclasses.replace(prepared, example=dataclasses.replace(prepared.example, **fields))


def _broken(prepared):
    return _with(prepared, image=prepared.example.image * np.nan)


def test_an_image_that_breaks_changes_no_bit_of_its_neighbour(run, together, tmp_path):
    ready = run[0]
    task, state, history = _train(run, tmp_path, images=[ready[0], _broken(ready[1])])
    chex.assert_trees_all_equal(task_lib.one_of(state, 0), task_lib.one_of(together[1], 0))
    labels = {phase.number: phase.label for phase in run[2]}
    failures = loop.failures_of(history, task.names, labels)
    assert list(failures) == ["006"]
    assert "the loss became nan in prior, iteration 2" in failures["006"]
    assert all(np.isfinite(row["side"]) for row in history)


@pytest.mark.parametrize(("stop", "error"), [((1, 1), Killed), ((3, 1), Terminated)])
def test_interrupted_anywhere_and_resumed_gives_the_same_bits(run, together, tmp_path, stop, error):
    with pytest.raises(error):
        _train(run, tmp_path, watcher=die_at(*stop, error))
    _, state, history = _train(run, tmp_path)
    chex.assert_trees_all_equal(state, together[1])
    assert history == together[2]


def test_memory_of_one_image_is_more_than_its_state(run):
    ready, frozen, _, initial = run
    state = 3 * sum(leaf.nbytes for leaf in jax.tree.leaves(initial))
    assert state < groups.bytes_of_one(ready[0], frozen) < 2**31


def _config(tmp_path, **fields):
    fields |= {"schedule__use_mask": True, "schedule__stages": ((2, 2, 2),), "prior__iterations": 2}
    return tiny_config(tmp_path, outputs__turntable_frames=2, **fields)


def test_a_run_isolates_the_image_that_breaks_and_finishes_the_others(tmp_path, monkeypatch):
    load = prepare.load_image

    def breaking(config, name, *rest):
        prepared = load(config, name, *rest)
        return _broken(prepared) if name == "006.png" else prepared

    monkeypatch.setattr(prepare, "load_image", breaking)
    config = _config(tmp_path, names=NAMES, runtime__images_at_once=3)  # of two, on two devices
    assert experiment.run_experiment(config) == 1
    root = pathlib.Path(config.workdir)
    failures = json.loads((root / "failures.json").read_text())
    assert list(failures) == ["006"] and "the loss became nan in prior" in failures["006"]
    assert (root / "results" / "001" / "mesh.glb").is_file() and not (root / "results" / "006").exists()
    assert not list((root / ".groups").glob("*")) and not list((root / "checkpoints").glob(".group*"))


def test_a_restart_goes_on_with_the_groups_that_were_under_way(tmp_path, monkeypatch):
    every = [*NAMES, "008.png"]
    config = _config(tmp_path, names=every, runtime__images_at_once=2)
    root = pathlib.Path(config.workdir)
    write = Trainer.write

    def dying(this, prepared, *rest, **more):
        if prepared.name == "006":
            raise Killed
        write(this, prepared, *rest, **more)

    monkeypatch.setattr(Trainer, "write", dying)
    with pytest.raises(Killed):
        experiment.run_experiment(config)
    monkeypatch.undo()
    assert groups.unfinished(root, every) == [list(NAMES)]
    first = (root / "results" / "001" / "depth.npy").read_bytes()
    trained = []
    original = loop.run_schedule
    monkeypatch.setattr(loop, "run_schedule", lambda task, *rest: trained.append(task) or original(task, *rest))
    assert experiment.run_experiment(_config(tmp_path, names=every, runtime__images_at_once=1)) == 0
    assert trained[0].names == ("001", "006")
    assert (root / "results" / "001" / "depth.npy").read_bytes() == first
    assert (root / "results" / "006" / "result.json").is_file() and (root / "results" / "008" / "result.json").is_file()
    assert not groups.unfinished(root, every)


def test_images_that_differ_in_kind_are_not_put_into_one_group(run):
    first, second = run[0]
    assert task_lib.compatible(first, second)
    wide = jax.numpy.broadcast_to(second.example.latent[:, None], (1, 10, second.example.latent.shape[-1]))
    assert not task_lib.compatible(first, _with(second, latent=wide))
    assert not task_lib.compatible(first, _with(second, true_depth=None))
    assert not task_lib.compatible(first, dataclasses.replace(second, settings=changed(second.settings, batch_size=3)))
