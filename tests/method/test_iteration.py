"""An iteration of each step: it compiles once, transfers nothing, keeps what does not change, and ends in Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.tiny import tiny_image

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, projection, step3
from gan2shape_jax.method.sampling import TRAIN
from gan2shape_jax.method.schedule import STEPS, Phase
from gan2shape_jax.method.settings import changed
from gan2shape_jax.method.state import ProjectedSamples, initial_state
from gan2shape_jax.method.step1 import Step1Cache, step1_cache, step1_loss
from gan2shape_jax.platforms import tracing_for
from gan2shape_jax.training import task as task_lib
from gan2shape_jax.training.task import one_image


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return tiny_image(tmp_path_factory.mktemp("iteration"))


@pytest.fixture(scope="module")
def case(image):
    """Problem, frozen networks, parameters and settings."""
    prepared, frozen = image
    return prepared.problem, frozen, models.init_params(jax.random.key(1), prepared.settings), prepared.settings


@pytest.fixture
def compiled():
    """What is compiled from here on."""
    names = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: names.append(name) if "backend_compile" in name else None
    )
    yield names
    jax.monitoring.clear_event_listeners()


def _phase(step, *, flip=False):
    return Phase(number=1, stage=1, kind=STEPS[step], iterations=2, flip=flip)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_compiles_once_and_transfers_nothing(image, case, step, compiled):
    """Another weight, rate or range is traced; nothing goes to the host and back inside an iteration."""
    task = task_lib.independent(image[:1], image[1])
    phase = _phase(step, flip=step == "step3")  # the programs that the tests of the loop compile
    state = task.begin(task.initial(case[2]), phase)
    constants = task.phase_constants(state, phase)
    if step == "step1":
        assert constants.features is not None  # those of the input, which every iteration needs
    given = constants, task.problem, task_lib.phase_keys(task.problem.key, phase.number, use=TRAIN)
    run = task_lib.program(phase.kind, flip=phase.flip, count=1, mesh=task.mesh)
    states = [jax.tree.map(jnp.array, state) for _ in range(2)]
    every = jax.tree.map(lambda leaf: leaf * 1.01, task.settings)
    number = jnp.int32(0)
    # Compiling puts constants on the device; later iterations must not.
    _, first = run(states[0], *given, number, task.frozen, task.settings)
    with jax.transfer_guard_host_to_device("disallow_explicit"), pytest.raises(Exception, match="[Dd]isallowed"):
        jax.device_put(1.0).block_until_ready()  # the guard is one that sees something
    compiled.clear()
    with jax.transfer_guard("disallow_explicit"):
        after, other = run(states[1], *given, number, task.frozen, every)
        jax.block_until_ready(after)
    assert not compiled and (other["loss"][0] != first["loss"][0] or step == "prior")
    assert all(jnp.isfinite(value) for value in jax.tree.leaves(other))


def test_a_number_in_place_of_an_array_is_the_same_program(case):
    settings = case[3]
    quicker = changed(settings, learning_rate=0.5)
    assert jax.tree.structure(quicker) == jax.tree.structure(settings)
    assert [leaf.aval for leaf in jax.tree.leaves(quicker)] == [leaf.aval for leaf in jax.tree.leaves(settings)]


@pytest.mark.heavy
def test_step_1_with_kept_features_is_step_1(case):
    problem, frozen, params, settings = case
    kept = jax.jit(functools.partial(step1_cache, settings=settings, flip=True))(params, problem, frozen)

    def loss(p, kept):
        return step1_loss(p, kept, problem, frozen, settings, flip=True)[0]

    anew = Step1Cache(kept.scene)
    from_kept, computed_anew = (jax.jit(jax.value_and_grad(loss))(params, given) for given in (kept, anew))
    np.testing.assert_allclose(from_kept[0], computed_anew[0], rtol=1e-6)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(computed_anew[1]))
    for a, b in zip(jax.tree.leaves(from_kept[1]), jax.tree.leaves(computed_anew[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_without_regularization_the_encoding_is_the_offset(case):
    problem, frozen, params, settings = case
    settings = changed(settings, relative_enc=False)
    images = jnp.concatenate([problem.image, -problem.image])

    def offset(which):
        return projection.latent_offset(params, images, problem.gan_image, frozen, which)

    bare = offset(changed(settings, regularize_offset=False))
    np.testing.assert_array_equal(bare, models.offsets(params, images, settings))
    assert settings.regularize_offset and np.abs(np.asarray(bare - offset(settings))).max() > 1e-3


@pytest.mark.heavy
def test_samples_with_the_kept_code_are_the_samples(case):
    problem, frozen, params, settings = case
    state = initial_state(params, settings)
    collect = jax.jit(functools.partial(step3.collect_batch, iteration=0, settings=settings))
    code = jax.jit(functools.partial(step3.reference_code, settings=settings))(params, problem, frozen)
    from_kept, computed_anew, without = (
        np.asarray(collect(params, state.factors, given, problem, jax.random.key(2), frozen=frozen).images)
        for given in (code, None, jnp.zeros_like(code))
    )
    assert np.abs(from_kept - computed_anew).mean() < 1e-4 < 1e-3 < np.abs(without - computed_anew).mean()
    absolute = changed(settings, relative_enc=False)
    assert step3.reference_code(params, problem, frozen, absolute) is None


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
    found = iteration_lib.fresh_optimizer(state, networks, settings).opt_state
    assert len(compiled) == 1
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.heavy
@pytest.mark.parametrize("step", ["prior", "step3"])
def test_a_step_is_lowered_for_any_platform(case, step):
    """A gradient through a strided convolution dilates on GPU and TPU, and is a product over patches on a CPU."""
    problem, frozen, params, settings = case
    phase = _phase(step)
    state = one_image(problem, frozen, settings).begin(initial_state(params, settings), phase)
    images = jnp.tile(problem.image, (settings.sample_count, 1, 1, 1))
    samples = ProjectedSamples(images=images, masks=images[..., 0]) if step == "step3" else None
    iterate, count = functools.partial(iteration_lib.iterate, step=phase.kind, flip=False), {}
    for platform in ("cpu", "gpu", "tpu"):
        with tracing_for(platform):
            traced = jax.jit(iterate).trace(state, samples, problem, problem.key, jnp.int32(0), frozen, settings)
            text = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,)).as_text()
        count[platform] = text.count("lhs_dilate = [2, 2]")
    # Transposed 3x3 convolutions, those of StyleGAN2, dilate on a CPU too.
    assert count["gpu"] == count["tpu"] > count["cpu"] and (step != "prior" or count["cpu"] == 0)


def test_the_next_samples_are_the_same_to_the_last_bit_in_a_tpus_form(case):
    _, frozen, params, settings = case
    rng = np.random.default_rng(0)
    shape = (settings.sample_count, settings.image_size, settings.image_size)
    kept = ProjectedSamples(
        images=jnp.asarray(rng.normal(size=(*shape, 3)), jnp.float32), masks=jnp.asarray(rng.random(shape) > 0.5, float)
    )
    given = jax.random.key(0), jnp.int32(3), initial_state(params, settings).factors, kept, frozen, settings
    expected = STEPS["step3"].draw(*given)
    with tracing_for("tpu"):
        found = STEPS["step3"].draw(*given)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert expected[0].shape[0] == settings.batch_size
