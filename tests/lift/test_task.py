"""Lifting a GAN: its samples, other ones in every stage, and the same bits after an interruption."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.killed import Killed, die_at
from helpers.tiny import tiny_lift

from gan2shape_jax.errors import Terminated
from gan2shape_jax.lift import samples, steps
from gan2shape_jax.lift import task as task_module
from gan2shape_jax.lift.task import collapse, signs_of
from gan2shape_jax.method import models, prior, projection
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.reconstruction import Prediction
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.run import lift as lift_run
from gan2shape_jax.stylegan2.flip_subspace import FlipSubspace
from gan2shape_jax.training import loop
from gan2shape_jax.training.loop import Cadence, Watcher

CADENCE = Cadence(checkpoint=2, log=2, per_call=1, keep=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lift")
    return tiny_lift(folder, schedule__stages=((2, 2, 3), (2, 2, 3)))


@pytest.fixture(scope="module")
def task(config):
    architecture, frozen = inputs.load_frozen(resolve(config))
    return lift_run.task_of(config, architecture, frozen)


@pytest.fixture(scope="module")
def initial(task):
    return models.init_params(jax.random.key(0), task.settings)


def test_a_sample_is_a_function_of_its_number_and_its_latent_gives_it(config, task):
    architecture, frozen = inputs.load_frozen(resolve(config))
    maker = samples.maker_of(config, architecture, frozen)
    images, latents = maker.images(Stream.TRAINED_SAMPLE, range(11))
    again, latent = maker.images(Stream.TRAINED_SAMPLE, [9])
    np.testing.assert_array_equal(again[0], images[9])
    np.testing.assert_array_equal(latent[0], latents[9])
    drawn = jax.jit(projection.synthesize)(jnp.asarray(latents[:2]), maker.frozen, settings=maker.settings)
    np.testing.assert_allclose(drawn, images[:2], atol=1e-4)
    assert np.abs(images[0] - images[1]).mean() > 0.05


def test_every_stage_has_samples_of_its_own_and_none_that_is_held_out(task):
    names = [set(task.stage(number).names) for number in (1, 2)]
    kept = {sample.name for sample in task.held_out}
    assert [len(some) for some in names] == [3, 3] and len(kept) == 2
    assert not names[0] & names[1] and not (names[0] | names[1]) & kept
    latents = [prepared.example.latent for prepared in task.held_out]
    latents += [example.latent for number in (1, 2) for example in task.stage(number).examples]
    assert len({np.asarray(latent).tobytes() for latent in latents}) == len(latents) == 8
    example = task.stage(1).examples[0]
    np.testing.assert_array_equal(example.image, example.gan_image)


@pytest.fixture(scope="module")
def whole(config, task, initial, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return loop.run_schedule(task, RECIPES[config.recipe].schedule(config), initial, folder, CADENCE, Watcher())


@pytest.mark.heavy  # trains two stages to their ends
def test_interrupted_in_the_second_stage_and_resumed_gives_the_same_bits(config, task, initial, whole, tmp_path):
    schedule = RECIPES[config.recipe].schedule(config)
    assert (schedule[-1].stage, schedule[-1].step) == (2, "anchored")
    with pytest.raises(Killed):
        loop.run_schedule(task, schedule, initial, tmp_path, CADENCE, die_at(schedule[-1].number, 2))
    again = dataclasses.replace(task)  # as a new process: nothing is kept from before
    state, history = loop.run_schedule(again, schedule, initial, tmp_path, CADENCE, Watcher())
    chex.assert_trees_all_equal(state, whole.state)
    assert history == whole.history


@pytest.mark.heavy  # trains two stages to their ends
def test_the_history_tells_of_the_samples_held_out_and_a_stage_ends_with_the_average_of_its_networks(whole):
    chex.assert_trees_all_equal(whole.state.average, whole.state.params)
    assert [row["step"] for row in whole.history if row["stage"] == 1][-1] == "anchored"
    ends = [row for row in whole.history if row["step"] in ("anchored", "step3")]
    assert all({"held_out_l1", "roughness", "saturation", "relief"} <= set(row) for row in ends)
    assert all(0 <= row["saturation"] for row in ends)


def test_signs_of_a_flat_sheet_and_of_stripes(task):
    side = task.settings.image_size
    example = task.held_out[0].example
    picture, valid = example.image[0], jnp.ones((side, side))
    stripes = jnp.where(jnp.arange(side) % 2, 0.95, 1.05)[None] * valid
    views = [Prediction(d, picture, jnp.zeros(6), jnp.zeros(4), d, valid, picture) for d in (valid, stripes)]
    signs = [signs_of(view, example, settings=task.settings) for view in views]
    assert float(signs[0]["roughness"]) == 0 and float(signs[0]["relief"]) == 0
    assert float(signs[1]["roughness"]) > 0.5 and float(signs[1]["relief"]) == pytest.approx(0.25, rel=1e-3)
    assert float(signs[0]["held_out_l1"]) == 0  # it shows the image itself


GOOD = {"held_out_l1": 0.2, "roughness": 0.01, "saturation": 0.3, "relief": 0.1}


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        ({}, []),
        ({"roughness": 0.3}, ["stripes"]),
        ({"saturation": 0.95}, ["at the end of their range"]),
        ({"held_out_l1": 0.5}, ["worse"]),
        ({"relief": float("nan")}, ["not finite"]),
    ],
)
def test_each_sign_of_a_collapse_is_told(signs, told):
    assert all(word in fault for word, fault in zip(told, collapse(GOOD | signs, 0.4), strict=True))


def test_the_first_stage_learns_at_a_rate_of_its_own_and_the_encoder_too(config):
    chosen = config.copy_and_resolve_references().unlock()
    chosen.lift.first_learning_rate, chosen.lift.encoder_learning_rate = 3e-4, 7e-4
    chosen.optimizer.learning_rate = 5e-4
    architecture, frozen = inputs.load_frozen(resolve(chosen))
    for returns, factor in ((0, 1.0), (1, 0.5)):
        stage = lift_run.task_of(chosen, architecture, frozen, returns=returns).stage
        first, second = (Phase(0, 1, STEPS[name], 1, False) for name in ("step1", "step2"))
        before = Phase(0, 0, steps.INVERSION_STEP, 1, False)
        assert stage(1, before).settings.learning_rate == stage(1, second).settings.learning_rate
        rates = [float(stage(n, phase).settings.learning_rate) for n in (1, 2) for phase in (first, second)]
        np.testing.assert_allclose(rates, factor * np.array([3e-4, 7e-4, 5e-4, 7e-4]), rtol=1e-6)
        assert stage(2, first).settings.warmup_iterations == chosen.lift.warmup_iterations


def test_before_a_cuboid_is_fitted_outlines_teach_v_and_nothing_else_does(config, task, initial, monkeypatch):
    monkeypatch.setattr(task_module, "_OUTLINED", 4)
    monkeypatch.setattr(prior, "_LESSONS", 2)
    cuboid = config.copy_and_resolve_references().unlock()
    cuboid.prior.shape = "cuboid"
    architecture, frozen = inputs.load_frozen(resolve(config))
    said = []
    lift = lift_run.task_of(cuboid.lock(), architecture, frozen, log=said.append)
    fit, step1 = (Phase(number, 1, STEPS[name], 2, flip=False) for number, name in enumerate(("prior", "step1")))
    for begun, phase, moves in ((lift, fit, True), (lift, step1, False), (task, fit, False)):
        params = begun.begin(begun.initial(initial), phase).params
        moved = {name for name in params if _apart(params[name], initial[name])}
        assert moved == ({"view"} if moves else set()), phase
    assert len(said) == 1 and "outlines of 4 samples" in said[0]


def _apart(one, other):
    return any(not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (one, other)), strict=True))


@pytest.mark.heavy  # trains a stage
@pytest.mark.parametrize(("average", "turns"), [(0.9, False), (0.0, False), (0.9, True)])
def test_without_an_anchor_views_stay_and_an_interruption_changes_nothing(config, tmp_path, average, turns):
    fields = {"inversion_iterations": 0, "average": average}
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict({f"lift.{name}": value for name, value in fields.items()})
    changed.recipe, changed.schedule.stages = "finetune", ((1, 1, 4),)
    changed = changed.lock()
    architecture, frozen = inputs.load_frozen(resolve(config))  # the recipe wants a model's file, the task none
    phases = [phase for phase in RECIPES[changed.recipe].schedule(changed) if phase.step != "prior"]
    schedule = tuple(dataclasses.replace(phase, number=number) for number, phase in enumerate(phases))
    initial = models.init_params(jax.random.key(3), samples.maker_of(changed, architecture, frozen).settings)

    axes = jnp.eye(2, architecture.style_dim)
    actual = LatentPoseEdit(
        FlipSubspace(axes, axes, jnp.zeros(architecture.style_dim)),
        jnp.ones((2, 1)) * jnp.linspace(-0.5, 0.5, 9),
        jnp.float32(9),
    )

    def run(name, watcher=None):
        task = lift_run.task_of(changed, architecture, frozen, pose_edit=actual if turns else None)
        return loop.run_schedule(task, schedule, initial, tmp_path / name, CADENCE, watcher or Watcher())

    whole = run("whole")
    for name, leaf in whole.state.params.items():  # averages of what stays the same are rounded
        pairs = zip(jax.tree.leaves(leaf), jax.tree.leaves(initial[name]), strict=True)
        same = all(np.allclose(first, two, rtol=1e-5, atol=1e-8) for first, two in pairs)
        assert same == (name == "view"), name
    with pytest.raises(Terminated):
        run("cut", die_at(schedule[-1].number, 2, Terminated))  # in step 3
    again = run("cut")
    chex.assert_trees_all_equal(again.state.params, whole.state.params)
    assert again.history == whole.history
