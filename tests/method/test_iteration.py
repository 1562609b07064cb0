"""An iteration of each step: compiled once, ending in Adam; the draws that it makes; the steps and their order."""

import dataclasses
import functools
import gc
import weakref

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax import stylegan2
from gan2shape_jax.lift import steps
from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, projection, sampling, step3
from gan2shape_jax.method.schedule import STEPS, Phase, make_schedule
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import Context, Iteration, ProjectedSamples, Step, initial_state
from gan2shape_jax.method.step1 import Step1Cache, step1_cache, step1_loss
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.platforms import tracing_for
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.task import OneImage


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return tiny_image(tmp_path_factory.mktemp("iteration"))


@pytest.fixture(scope="module")
def case(image):
    """Example, frozen networks, parameters and settings."""
    prepared, frozen = image
    return prepared.example, frozen, models.init_params(jax.random.key(1), prepared.settings), prepared.settings


@pytest.fixture
def compiled():
    """What is compiled from here on."""
    names = []

    def note(name, *_, **__):
        if "backend_compile" in name:
            names.append(name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def _phase(step, *, flip=False):
    return Phase(number=1, stage=1, kind=STEPS[step], iterations=2, flip=flip)


@pytest.fixture(scope="module", params=STEPS)
def iterated(request, image, case):
    """The step's name, its program and what it is given, by copies of the state; and what an iteration returned."""
    step = request.param
    task = OneImage(jax.device_put(image[0].context(image[1])), axis=True)
    phase = _phase(step, flip=step == "step3")  # the programs that the tests of the loop compile
    state = task.begin(task.initial(case[2]), phase)
    constants = task.phase_constants(state, phase)
    example, frozen = task._example, task.context.frozen
    arguments = constants, example, task_lib.phase_keys(example.key, phase.number, stream=Stream.TRAIN)
    run = task_lib.program(phase.kind, flip=phase.flip, count=1, axis=True)
    states = [jax.tree.map(jnp.array, state) for _ in range(2)]
    _, first = run(states[0], *arguments, jnp.int32(0), frozen, task.settings)
    return step, run, states[1], arguments, task, first


def test_a_step_compiles_once_and_transfers_nothing(iterated, compiled):
    """Another weight, rate or range is traced; nothing goes to the host and back inside an iteration."""
    step, run, state, arguments, task, first = iterated
    if step == "step1":
        assert arguments[0].features is not None  # those of the input, which every iteration needs
    every = jax.tree.map(lambda leaf: leaf * 1.01, task.settings)
    number = jnp.int32(0)
    # Compiling has put constants on the device; later iterations must not.
    with jax.transfer_guard_host_to_device("disallow_explicit"), pytest.raises(Exception, match="[Dd]isallowed"):
        jax.device_put(1.0).block_until_ready()  # the guard is one that sees something
    compiled.clear()
    with jax.transfer_guard("disallow_explicit"):
        after, other = run(state, *arguments, number, task.context.frozen, every)
        jax.block_until_ready(after)
    assert not compiled and (other["loss"] != first["loss"] or step == "prior")
    assert all(jnp.isfinite(value) for value in jax.tree.leaves(other))


def _own_step():
    def loss(params, batch, context, *, flip):
        total = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params["light"]))
        return total, ({"loss": total}, None)

    def cache(params, context, *, flip):
        return jnp.zeros(2)

    def collect(params, iteration, context):
        return iteration.constants[None]

    return Step("own", networks=("light",), loss=loss, cache=cache, collect=collect)


def test_a_step_of_ones_own_goes_with_what_was_compiled_for_it(case):
    example, frozen, params, settings = case
    step = _own_step()
    phase = Phase(number=1, stage=1, kind=step, iterations=1, flip=False)
    task = OneImage(Context(example, frozen, settings))
    state = task.begin(task.initial(params), phase)
    task.advance(state, phase, 0, task.phase_constants(state, phase), 1)
    alike = [task_lib.program(one, flip=False, count=1) for one in (step, dataclasses.replace(step))]
    assert alike[0] is alike[1]  # an equal step has the same programs
    alive = [weakref.ref(step), weakref.ref(step.loss), weakref.ref(step.cache), weakref.ref(step.collect)]
    del step, phase, alike
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)


def test_a_number_in_place_of_an_array_is_the_same_program(case):
    settings = case[3]
    quicker = changed(settings, learning_rate=0.5)
    assert jax.tree.structure(quicker) == jax.tree.structure(settings)
    assert [leaf.aval for leaf in jax.tree.leaves(quicker)] == [leaf.aval for leaf in jax.tree.leaves(settings)]


@pytest.mark.heavy
def test_step_1_with_kept_features_is_step_1(case):
    example, frozen, params, settings = case
    kept = jax.jit(functools.partial(step1_cache, flip=True))(params, Context(example, frozen, settings))

    def loss(p, kept):
        return step1_loss(p, kept, Context(example, frozen, settings), flip=True)[0]

    anew = Step1Cache(kept.scene)
    from_kept, computed_anew = (jax.jit(jax.value_and_grad(loss))(params, arguments) for arguments in (kept, anew))
    np.testing.assert_allclose(from_kept[0], computed_anew[0], rtol=1e-6)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(computed_anew[1]))
    for a, b in zip(jax.tree.leaves(from_kept[1]), jax.tree.leaves(computed_anew[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_without_regularization_the_encoding_is_the_offset(case):
    example, frozen, params, settings = case
    settings = changed(settings, relative_enc=False)
    images = jnp.concatenate([example.image, -example.image])

    def offset(which):
        return projection.latent_offset(params, images, example.gan_image, frozen, which)

    bare = offset(changed(settings, regularize_offset=False))
    np.testing.assert_array_equal(bare, models.offsets(params, images, settings))
    assert settings.regularize_offset and np.abs(np.asarray(bare - offset(settings))).max() > 1e-3


@pytest.mark.heavy
def test_samples_with_the_kept_code_are_the_samples(case):
    example, frozen, params, settings = case
    state = initial_state(params, settings)
    collect, context = jax.jit(step3.collect_batch), Context(example, frozen, settings)
    code = jax.jit(step3.reference_code)(params, context)
    from_kept, computed_anew, without = (
        np.asarray(collect(params, Iteration(jax.random.key(2), 0, state.factors, arguments), context).images)
        for arguments in (code, None, jnp.zeros_like(code))
    )
    assert np.abs(from_kept - computed_anew).mean() < 1e-4 < 1e-3 < np.abs(without - computed_anew).mean()
    absolute = changed(settings, relative_enc=False)
    assert step3.reference_code(params, Context(example, frozen, absolute)) is None


def _sizes(settings, count):
    """Returns how far each step moves under a gradient that stays the same, where Adam moves by its step size."""
    adam, value, sizes = iteration_lib.optimizer(settings), jnp.zeros(1), []
    state = adam.init(value)
    for _ in range(count):
        update, state = adam.update(jnp.ones(1), state, value)
        value = optax.apply_updates(value, update)
        sizes.append(float(-update[0]))
    return np.array(sizes)


def test_the_step_size_is_the_same_as_published_or_rises_to_its_value(case):
    settings = changed(case[3], learning_rate=1e-2, weight_decay=0.0)
    np.testing.assert_allclose(_sizes(settings, 4), 1e-2, rtol=1e-4)
    warm = changed(settings, warmup_iterations=4)
    np.testing.assert_allclose(_sizes(warm, 7), np.array([1, 2, 3, 4, 4, 4, 4]) * 2.5e-3, rtol=1e-4)
    np.testing.assert_allclose(_sizes(changed(settings, warmup_iterations=1), 3), 1e-2, rtol=1e-4)


def test_a_fresh_optimiser_is_one_program(case, compiled):
    _, _, params, settings = case
    networks = ("depth", "view")
    expected = iteration_lib.optimizer(settings).init({name: params[name] for name in networks})
    state = initial_state(params, settings)
    compiled.clear()
    actual = iteration_lib.fresh_optimizer(state, networks, settings).opt_state
    assert len(compiled) == 1
    chex.assert_trees_all_equal(actual, expected)


@pytest.mark.heavy
@pytest.mark.parametrize("step", ["prior", "step3"])
def test_a_step_is_lowered_for_any_platform(case, step):
    """A gradient through a strided convolution dilates on GPU and TPU, and is a product over patches on a CPU."""
    example, frozen, params, settings = case
    phase = _phase(step)
    state = OneImage(Context(example, frozen, settings)).begin(initial_state(params, settings), phase)
    images = jnp.tile(example.image, (settings.sample_count, 1, 1, 1))
    samples = ProjectedSamples(images=images, masks=images[..., 0]) if step == "step3" else None
    iterate, count = functools.partial(iteration_lib.iterate, step=phase.kind, flip=False), {}
    for platform in ("cpu", "gpu", "tpu"):
        with tracing_for(platform):
            context = Context(example, frozen, settings)
            traced = jax.jit(iterate).trace(state, samples, example.key, jnp.int32(0), context)
            text = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,)).as_text()
        count[platform] = text.count("lhs_dilate = [2, 2]")
    # Transposed 3x3 convolutions, those of StyleGAN2, dilate on a CPU too.
    assert count["gpu"] == count["tpu"] > count["cpu"] and (step != "prior" or count["cpu"] == 0)


def test_views_have_the_given_mean_and_covariance():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6)) * 0.1
    mean = rng.normal(size=6)
    arguments = jax.random.key(0), *(jnp.asarray(array, jnp.float32) for array in (mean, factor)), 40_000
    drawn = np.asarray(sampling.draw_views(*arguments))
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), factor @ factor.T, atol=0.005)
    scaled = sampling.draw_views(*arguments, yaw_scale=1.2)  # multiplies the drawn yaw with its mean, and nothing else
    np.testing.assert_allclose(scaled, drawn * np.array([1, 1.2, 1, 1, 1, 1], np.float32), rtol=1e-6)
    np.testing.assert_array_equal(np.delete(scaled, 1, axis=1), np.delete(drawn, 1, axis=1))


def test_lights_fill_their_ranges():
    ranges = (-0.9, 0.8, -0.3, 0.7, -0.1, 0.6, -0.4)
    direction, strength = sampling.draw_lights(jax.random.key(2), 20_000, rand_light=ranges)
    drawn = np.column_stack([direction, strength]).astype(float)
    low, high = np.array([[-0.9, -0.3, -0.1], [0.8, 0.7, 0.6]])
    assert (low <= drawn.min(axis=0)).all() and (drawn.max(axis=0) <= high).all()
    np.testing.assert_allclose([drawn.min(axis=0), drawn.max(axis=0)], [low, high], rtol=0, atol=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), (low + high) / 2, rtol=0, atol=0.02)


def test_relit_shading_of_a_frontal_plane():
    normal = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (4, 4, 3))
    light = jnp.array([0.5, 0.3, 0.0, 0.0])
    direction, strength = jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.array([0.2, 0.4])
    shading = sampling.relit_shading(normal, light, direction, strength, alpha=-0.6)
    np.testing.assert_allclose(shading[0], 0.5 - 0.12 + 0.5, rtol=1e-6)
    np.testing.assert_allclose(shading[1], 0.5 - 0.24 + 0.7 / np.sqrt(2), rtol=1e-6)


def _batches(count, batch_size, iterations, skip_first):
    indices = functools.partial(sampling.batch_indices, count=count, batch_size=batch_size, skip_first=skip_first)
    return [np.asarray(indices(jax.random.key(3), number)) for number in range(iterations)]


@pytest.mark.parametrize(("count", "batch"), [(24, 4), (10, 4)])
def test_each_pass_sees_different_samples(count, batch):
    per_pass = count // batch
    batches = _batches(count, batch, 3 * per_pass, skip_first=False)
    first = np.concatenate(batches[:per_pass])
    np.testing.assert_array_equal(first, np.arange(per_pass * batch))
    for number in (1, 2):
        samples_seen = np.concatenate(batches[number * per_pass : (number + 1) * per_pass])
        assert len(set(samples_seen)) == per_pass * batch and set(samples_seen) <= set(range(count))
        assert not np.array_equal(samples_seen, first)


def test_the_published_order_skips_the_first_batch_and_the_last():
    batches = _batches(800, 8, 300, skip_first=True)
    np.testing.assert_array_equal(batches[0], np.arange(8, 16))
    np.testing.assert_array_equal(batches[97], np.arange(784, 792))
    assert set(batches[98]) != set(range(792, 800))
    second = np.concatenate(batches[98 : 98 + 99])
    assert len(set(second)) == 99 * 8


@pytest.mark.parametrize("skip", [False, True])
def test_one_batch_in_all_is_seen_every_time(skip):
    assert all(sorted(batch) == [0, 1, 2, 3] for batch in _batches(4, 4, 3, skip))


def test_every_step_trains_the_networks_that_the_paper_names():
    all_steps = STEPS | {step.name: step for step in (steps.INVERSION_STEP, steps.ANCHORED_STEP)}
    assert {name: set(step.networks) for name, step in all_steps.items()} == {
        "prior": {"depth"},
        "inversion": {"encoder"},  # before the first stage of a lift
        "step1": {"albedo"},
        "step2": {"encoder"},
        "step3": {"depth", "albedo", "view", "light"},
        "anchored": {"depth", "albedo", "view", "light"},  # step 3 of a lift
    }
    assert set().union(*(step.networks for step in all_steps.values())) == set(models.NAMES)
    assert all(step.cache for step in all_steps.values() if step.collect)


def test_the_schedule_is_data():
    planned = make_schedule(((6, 5, 4), (3, 2, 1)), flip1=(False, False), flip3=(True, False), prior_iterations=7)
    stages = [f"stage {stage} step{step}" for stage in (1, 2) for step in (1, 2, 3)]
    assert [p.label for p in planned] == ["prior", *stages] and [p.number for p in planned] == list(range(7))
    assert [p.iterations for p in planned] == [7, 6, 5, 4, 3, 2, 1]
    assert [p.label for p in planned if p.flip] == ["stage 1 step3"]
    without = make_schedule(((1, 1, 1),), flip1=(False,), flip3=(False,), prior_iterations=0)
    assert [p.step for p in without] == ["step1", "step2", "step3"]
    twice = {"stages": ((1, 1, 1),) * 2, "flip1": (False,) * 2, "flip3": (False,) * 2, "prior_iterations": 1}
    lift = make_schedule(**twice, first=((steps.INVERSION_STEP, 5),), thirds=(steps.ANCHORED_STEP,))
    labels = ["prior", "inversion", *(f"stage 1 {name}" for name in ("step1", "step2", "anchored"))]
    assert [phase.label for phase in lift[:5]] == labels and lift[-1].label == "stage 2 step3"


def test_truncation_applies_to_latent_and_offset_together(case):
    """As in the published generator, which truncates what it is given; here the latent has been truncated before."""
    example, frozen, _, settings = case
    rng = np.random.default_rng(0)
    mean, offset = (jnp.asarray(rng.standard_normal((n, example.latent.shape[-1])), jnp.float32) for n in (1, 3))
    latent = stylegan2.truncate(example.latent, mean, 0.7)
    moved = projection.apply_offset(latent, offset, changed(settings, offset_scale=0.7))
    np.testing.assert_allclose(moved, stylegan2.truncate(example.latent + offset, mean, 0.7), atol=1e-6)
