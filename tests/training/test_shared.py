"""Joint training: order of images, what each image keeps, resuming, replicas on several devices, whole runs."""

import dataclasses
import json
import pathlib
import shutil
import types
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.killed import Killed, die_at
from helpers.simulated import records_of
from helpers.tiny import asset, images_of, tiny_config
from jax.flatten_util import ravel_pytree

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.state import Context, initial_state
from gan2shape_jax.plan.recipe import RECIPES
from gan2shape_jax.results import load
from gan2shape_jax.run import experiment, joint
from gan2shape_jax.training import devices, loop
from gan2shape_jax.training import shared as shared_lib
from gan2shape_jax.training.loop import Cadence, Watcher
from gan2shape_jax.training.task import OneImage

NAMES = ("001.png", "005.png", "006.png")
CADENCE = Cadence(checkpoint=2, log=2, per_call=1, keep=2)


def _config(folder, **fields):
    fields = {"recipe": "joint", "schedule__use_mask": True, "sampling__collect_iters": 7} | fields
    return tiny_config(folder, names=NAMES, **fields)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The prepared images, the frozen networks and the schedule."""
    config = _config(tmp_path_factory.mktemp("joint"))
    return *images_of(config), RECIPES[config.recipe].schedule(config)


def _gather(parts, group=None, *, collect_iters=7, **fields):
    return shared_lib.shared(group or parts[0], parts[1], key=jax.random.key(0), collect_iters=collect_iters, **fields)


@pytest.fixture(scope="module")
def task(parts):
    return _gather(parts)


@pytest.fixture(scope="module")
def initial(task):
    return models.init_params(jax.random.key(0), task.settings)


@pytest.mark.parametrize(("iterations", "count"), [(12, 3), (10, 4), (2, 5), (240, 24)])
def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(iterations, count):
    order = shared_lib.image_order(jax.random.key(3), iterations, count)
    assert order.shape == (iterations,)
    epochs = [tuple(order[start : start + count].tolist()) for start in range(0, iterations, count)]
    assert all(len(set(epoch)) == len(epoch) and set(epoch) <= set(range(count)) for epoch in epochs)
    assert count < 24 or len(set(epochs)) == len(epochs)
    longer = shared_lib.image_order(jax.random.key(3), 2 * iterations, count)
    np.testing.assert_array_equal(longer[:iterations], order)  # a function of key and iteration, not of the length


def test_chosen_samples_are_distinct_and_all_come_up():
    keys = jnp.stack([jax.random.key(1)] * 60)
    chosen = np.asarray(shared_lib.sample_choices(keys, jnp.arange(60), count=10, batch_size=4))
    assert chosen.shape == (60, 4) and all(len(set(row)) == 4 for row in chosen.tolist())
    assert set(chosen.ravel().tolist()) == set(range(10))
    again = np.asarray(shared_lib.sample_choices(keys[:5], jnp.arange(5), count=10, batch_size=4))
    np.testing.assert_array_equal(again, chosen[:5])


def _phase(parts, step):
    return next(phase for phase in parts[2] if phase.step == step)


def test_step_2_starts_from_every_images_own_factors(parts, task, initial):
    phase = _phase(parts, "step2")
    own = dataclasses.replace(phase, kind=dataclasses.replace(phase.kind, cost=2.0))  # a step of one's own, too
    state = task.begin(task.initial(initial), own)
    for index, example in enumerate(task.examples):
        view = reconstruction.predict(state.params, example, task.frozen, task.settings)
        kept = jax.tree.map(lambda x, i=index: x[i], state.factors)
        for name in ("depth", "albedo", "view", "light"):
            np.testing.assert_allclose(getattr(kept, name), getattr(view, name), atol=2e-5)
        assert 0 < float(kept.mask.mean()) < 1
    assert not np.allclose(state.factors.depth[0], state.factors.depth[1])


def test_reference_lights_every_image_with_the_last_ones_strengths(parts, task, initial):
    phase = _phase(parts, "step2")
    mended = task.begin(task.initial(initial), phase).factors
    fault = _gather(parts, reference=True).begin(task.initial(initial), phase).factors
    assert np.ptp(mended.light[:, :2], axis=0).min() > 0
    np.testing.assert_array_equal(fault.light[:, :2], np.repeat(mended.light[-1:, :2], 3, axis=0))
    np.testing.assert_array_equal(fault.light[:, 2:], mended.light[:, 2:])
    np.testing.assert_array_equal(fault.depth, mended.depth)


def test_the_prior_is_fitted_to_every_image_but_as_published_to_the_first_alone(parts, task):
    first, second = (dataclasses.replace(_phase(parts, "prior"), number=number, iterations=60) for number in (0, 1))
    assert _gather(parts, reference=True).order(first).tolist() == [0] * 60
    assert np.bincount(task.order(first)).tolist() == [20] * 3
    assert task.order(first).tolist() != task.order(second).tolist()


def test_samples_are_each_images_own_and_stay_on_the_host(parts, task, initial):
    phase = _phase(parts, "step3")
    state = task.begin(task.begin(task.initial(initial), _phase(parts, "step2")), phase)
    plan = task.phase_constants(state, phase)
    size = task.settings.image_size
    assert len(plan.kept) == 3
    for samples in plan.kept.values():  # 7 batches for three images: two batches of two for each
        assert isinstance(samples.images, np.ndarray) and samples.images.shape == (4, size, size, 3)
        assert samples.masks.shape == (4, size, size)
    assert not np.allclose(plan.kept[0].images, plan.kept[1].images)
    batch = plan.constants(1)
    own = plan.kept[plan.order[1]]
    np.testing.assert_array_equal(batch.images, own.images[plan.choices[1]])
    np.testing.assert_array_equal(batch.masks, own.masks[plan.choices[1]])


@pytest.fixture(scope="module")
def whole(parts, task, initial, tmp_path_factory):
    """An uninterrupted run."""
    return loop.run_schedule(task, parts[2], initial, tmp_path_factory.mktemp("whole"), CADENCE, Watcher())


@pytest.mark.heavy  # trains all steps to their ends
@pytest.mark.parametrize("stop", [(3, 3), (1, 2), (5, 1)])
def test_interrupted_anywhere_and_resumed_gives_the_same_bits(parts, task, initial, whole, tmp_path, stop):
    with pytest.raises(Killed):
        loop.run_schedule(task, parts[2], initial, tmp_path, CADENCE, die_at(*stop))
    state, history = loop.run_schedule(task, parts[2], initial, tmp_path, CADENCE, Watcher())
    chex.assert_trees_all_equal(state, whole[0])
    assert history == whole[1]


@pytest.mark.heavy  # trains all steps to their ends
def test_history_has_means_over_images_and_each_images_errors(whole, task):
    _, history = whole
    assert history[0]["step"] == loop.START and history[0]["iteration"] == 0 and "loss" not in history[0]
    measured = [row for row in history if "images" in row]
    for row in measured:
        assert tuple(row["images"]) == task.names
        for key in ("side", "mad", "mad_unit"):
            assert row[key] == pytest.approx(np.mean([own[key] for own in row["images"].values()]))
    ends = {row["phase"] for row in measured}
    assert ends == set(range(7))  # at least at the end of every phase


def test_losses_are_means_over_the_last_images(parts, task, initial, tmp_path):
    phase = dataclasses.replace(parts[2][0], iterations=5)
    state = task.begin(task.initial(initial), phase)
    plan, observed = task.phase_constants(state, phase), []
    for i in range(5):
        state, scalars = task.advance(state, phase, i, plan, 1)
        observed.append(float(scalars["loss"]))
    _, history = loop.run_schedule(task, (phase,), initial, tmp_path, CADENCE, Watcher())
    logged = {row["iteration"]: row["loss"] for row in history[1:]}
    assert logged[2] == pytest.approx(np.mean(observed[:2])) and logged[5] == pytest.approx(np.mean(observed[2:]))


@pytest.mark.heavy  # trains all steps
def test_two_copies_of_one_image_are_trained_as_that_image_alone(parts, initial):
    """Every iteration starts from the same state: Adam makes a whole step of what rounds a gradient near zero."""
    item = parts[0][0]
    double = _gather(parts, [item, item], collect_iters=2)
    # The joint task's settings differ in the number of samples only.
    single = OneImage(Context(item.example, parts[1], double.settings))
    first, second = initial_state(jax.tree.map(jnp.array, initial), double.settings), double.initial(initial)
    for phase in parts[2][:3]:
        first, second = single.begin(first, phase), double.begin(second, phase)
        if phase.step == "step2":
            first = dataclasses.replace(first, factors=jax.tree.map(lambda x: x[0], second.factors))
        mine, theirs = single.phase_constants(first, phase), double.phase_constants(second, phase)
        for i in range(phase.iterations):
            before = jax.tree.map(jnp.array, (second.params, second.opt_state))
            first = dataclasses.replace(first, params=before[0], opt_state=before[1])
            start = ravel_pytree(before[0])[0]
            first, scalars = single.advance(first, phase, i, mine, 1)
            second, others = double.advance(second, phase, i, theirs, 1)
            assert scalars.keys() == others.keys()
            for name, value in scalars.items():
                assert float(others[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-7), (phase.label, name)
            moved, also_moved = (ravel_pytree(state.params)[0] - start for state in (first, second))
            assert jnp.linalg.norm(moved - also_moved) < 2e-2 * jnp.linalg.norm(moved), phase.label


def test_latents_in_w_and_w_plus_are_trained_together_as_the_same_points(parts):
    examples = [first.example for first in parts[0]]
    layers = parts[0][0].settings.architecture.latents
    wide = dataclasses.replace(examples[1], latent=jnp.repeat(examples[1].latent[:, None], layers, axis=1))
    latents = shared_lib.stacked([examples[0], wide, examples[2]]).latent
    assert latents.shape == (3, 1, layers, examples[0].latent.shape[-1])
    for index, example in enumerate(examples):
        for layer in range(layers):
            np.testing.assert_array_equal(latents[index, :, layer], example.latent)
    assert shared_lib.stacked(examples).latent.ndim == 3  # as they are


def test_images_that_cannot_be_trained_together_are_refused(parts, tmp_path):
    group, few = parts[0], _config(tmp_path, sampling__collect_iters=2)
    with pytest.raises(UserError, match="at least two images, but the list has 1"):
        joint.require_enough_for(few, ["001.png"])
    with pytest.raises(UserError, match=r"collect_iters is 2, but each of the 3 images .* at least 3"):
        joint.require_enough_for(few, ["001.png", "005.png", "006.png"])
    larger = dataclasses.replace(group[1], settings=dataclasses.replace(group[1].settings, original_size=256))
    with pytest.raises(UserError, match="images of one size: 001 has 32 pixels, and 005 another number"):
        _gather(parts, [group[0], larger])


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(["prior"], marks=pytest.mark.heavy),
        pytest.param(["prior", "step1", "step2", "step3"], marks=pytest.mark.slow),
    ],
)
def test_eight_devices_train_as_one_device_does(tmp_path, monkeypatch, steps):
    if len(steps) > 1:  # compiled as for users: as `conftest.py` has it, rounding alone moves step 2 by 1.5%
        monkeypatch.setenv("XLA_FLAGS", "")
    records = records_of("replicas_program.py", tmp_path, 8, 8, *steps)
    assert [record["step"] for record in records] == steps
    for record in records:
        assert record["devices"] == 8 and record["moved"] > 1e-6
        for way in {"all devices", "one program"} & record.keys():
            assert max(record[way].values()) < 1e-2, (record["step"], way)


@pytest.mark.heavy
def test_batches_that_do_not_divide_are_padded_without_weight(tmp_path):
    """Seven on four devices, one of which has a place to spare, are trained as seven on one."""
    for record in records_of("replicas_program.py", tmp_path, 4, 7, "prior", "step2"):
        assert record["devices"] == 4 and record["moved"] > 1e-6
        assert max(record["scalars"].values()) < 1e-5 and record["params"] < 1e-5, record
        assert max(record["all devices"].values()) < 1e-2, record


def _used(replicas, *hosts):
    return devices.devices_used(replicas, [types.SimpleNamespace(process_index=host) for host in hosts])


@pytest.mark.parametrize(
    ("replicas", "count", "expected"), [(8, 8, 8), (8, 3, 3), (6, 4, 3), (3, 8, 3), (1, 8, 1), (7, 4, 4), (9, 8, 5)]
)
def test_no_more_devices_are_used_than_shorten_an_iteration(replicas, count, expected):
    assert _used(replicas, *[0] * count) == expected


def test_all_devices_of_several_hosts_are_used():
    assert _used(4, 0, 0, 1, 1) == 4
    assert _used(3, 0, 0, 1, 1) == 4


@pytest.mark.parametrize(("count", "size", "padded"), [(7, 4, 8), (8, 4, 8), (3, 4, 4), (9, 5, 10)])
def test_padding_is_told(count, size, padded):
    mesh = mock.Mock(spec=jax.sharding.Mesh, size=size)
    assert devices.padded(count, mesh) == padded
    note = devices.padding_note(count, mesh, "batches")
    assert (f"{count} batches do not divide among {size} devices: {padded - count} more" in note) == (padded > count)


@pytest.mark.parametrize("different", [True, False])
def test_replicas_see_the_next_images_or_all_the_same(parts, different):
    phase = dataclasses.replace(_phase(parts, "prior"), iterations=3)
    order = _gather(parts, replicas=2, different=different).order(phase)
    assert sorted(order.tolist()) == [0, 0, 1, 1, 2, 2]
    assert sorted((order[:3] if different else order[::2]).tolist()) == [0, 1, 2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = _config(tmp_path_factory.mktemp("finished"))
    return experiment.run_experiment(config), pathlib.Path(config.workdir), config


@pytest.mark.heavy
def test_a_run_leaves_shared_networks_and_each_images_results(finished):
    code, root, _ = finished
    assert code == 0
    files = ("networks.safetensors", "history.csv", "history.json", "images.txt", "results.csv", "index.html")
    assert [file for file in files if not (root / file).stat().st_size] == []
    assert not (root / "checkpoints" / ".all").exists()
    for name in ("001", "005", "006"):
        result = load(root / "results" / name)
        assert result.metrics["side"] > 0 and set(result.metrics["prior"]) == {"side", "mad", "mad_unit", "mae", "mse"}
        assert (root / "results" / name / "mesh.glb").is_file()
        assert not (root / "results" / name / "networks.safetensors").exists()
    history = json.loads((root / "history.json").read_text())
    last = (root / "results" / "005" / "history.csv").read_text().splitlines()[-1].split(",")
    assert [float(x) for x in last[4:]] == list(history[-1]["images"]["005"].values())


@pytest.mark.heavy
def test_lost_results_are_written_again_from_the_networks(finished, capsys):
    _, root, config = finished
    files = [root / "results" / "005" / file for file in ("depth.npy", "albedo.npy", "metrics.json")]
    before, networks = [file.read_bytes() for file in files], (root / "networks.safetensors").stat().st_mtime_ns
    shutil.rmtree(root / "results" / "005")
    assert experiment.run_experiment(config) == 0
    assert [file.read_bytes() for file in files] == before
    assert (root / "networks.safetensors").stat().st_mtime_ns == networks
    assert "001: finished before, skipped" in capsys.readouterr().err


def test_all_unusable_images_are_named(tmp_path):
    images = tmp_path / "images"
    shutil.copytree(asset("ictface/image"), images)
    (images / "005.png").write_bytes((images / "005.png").read_bytes()[:500])
    (images / "006.png").write_bytes(b"")
    config = _config(tmp_path, data__image_root=str(images))
    with pytest.raises(UserError, match=r"(?s)all images of the list.*005\.png.*damaged.*006\.png"):
        experiment.run_experiment(config)
    assert not (pathlib.Path(config.workdir) / "networks.safetensors").exists()
