"""Train steps and their parts in JAX, as calls to time."""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gan2shape_jax import stylegan2
from gan2shape_jax.geometry import camera as cam
from gan2shape_jax.geometry import render, resample
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Iteration, ProjectedSamples, TrainState, initial_state
from gan2shape_jax.method.step3 import collect_batch
from gan2shape_jax.run.runtime import cadence_of
from gan2shape_jax.training.task import one_image

from .clock import Call
from .subjects import COLLECT, LIGHT, Subject


def train_steps(subject: Subject, only: Collection[str] | None = None) -> dict[str, Call]:
    """Every kind of iteration in the schedule by its label, or the requested ones, compiled."""
    makers = {name: functools.partial(_train_step, subject, phase) for name, phase in subject.phases.items()}
    makers[COLLECT] = functools.partial(_collecting, subject)
    return _made(makers, only)


def _made(makers: Mapping[str, Callable[[], Call]], only: Collection[str] | None) -> dict[str, Call]:
    return {name: make() for name, make in makers.items() if only is None or name in only}


def _timed(run: Callable[[], None], iterations: int = 1) -> Call:
    begin = time.perf_counter()
    run()
    return Call(run, iterations, time.perf_counter() - begin)


def _initial(subject: Subject) -> TrainState:
    """The initial state, with the prior's depth and the input as albedo for step 2's renderings."""
    state = initial_state(jax.tree.map(jnp.array, subject.params), subject.settings)
    factors = dataclasses.replace(
        state.factors,
        depth=jnp.array(subject.example.prior),
        albedo=jnp.array(subject.example.image[0]),
        light=jnp.array(LIGHT),
    )
    return dataclasses.replace(state, factors=factors)


def _train_step(subject: Subject, phase: Phase) -> Call:
    """Iterations of a phase from the initial parameters; step 3 uses samples of zeros, which cost the same."""
    task, settings = one_image(subject.context), subject.settings
    begin = time.perf_counter()
    state = task.begin(_initial(subject), phase)
    if phase.step == "step3":
        size = settings.image_size
        constants: Any = ProjectedSamples(
            images=jnp.zeros((settings.sample_count, size, size, 3)),
            masks=jnp.ones((settings.sample_count, size, size)),
        )
    else:
        constants = task.phase_constants(state, phase)
    count = cadence_of(subject.config).per_call
    carried = {"state": state, "iteration": 0}

    def run() -> None:
        state, _ = task.advance(carried["state"], phase, carried["iteration"], constants, count)
        carried.update(state=jax.block_until_ready(state), iteration=carried["iteration"] + count)

    run()
    return Call(run, count, time.perf_counter() - begin)


def _collecting(subject: Subject) -> Call:
    collect, state = jax.jit(collect_batch), _initial(subject)
    iteration = Iteration(subject.example.key, 0, state.factors)

    def run() -> None:
        jax.block_until_ready(collect(state.params, iteration, subject.context))

    return _timed(run)


# --- parts -----------------------------------------------------------------------------------------


def parts(subject: Subject, only: Collection[str] | None = None) -> dict[str, Call]:
    """Parts of the steps by name, each with its gradient, on a batch as in steps 2 and 3, compiled."""
    image = subject.example.image
    images = jnp.repeat(image, subject.settings.batch_size, axis=0)
    return _made(
        {
            "rasteriser": lambda: _rasteriser(subject),
            "grid sampling": lambda: _grid_sampling(subject, images),
            "GAN generator": lambda: _generator(subject),
        },
        only,
    )


def _gradient_call(function: Callable[..., jax.Array], differentiated: Any, *others: Any) -> Call:
    """A call for the value and the gradient with respect to the first argument."""
    compiled = jax.jit(jax.value_and_grad(function))
    return _timed(lambda: jax.block_until_ready(compiled(differentiated, *others)) and None)


def _views(subject: Subject) -> jax.Array:
    return (
        0.3 * jax.random.normal(jax.random.key(0), (subject.settings.batch_size, 6)) * jnp.array([1, 1, 1, 0.1, 0.1, 0])
    )


def _sheets(subject: Subject) -> jax.Array:
    side = subject.settings.image_size
    return jnp.broadcast_to(subject.example.prior, (subject.settings.batch_size, side, side))


def _rasteriser(subject: Subject) -> Call:
    settings = subject.settings

    def total(inputs):
        warped = render.warp_depth(*inputs, settings.camera, sampling=settings.sampling)
        return jnp.mean(jnp.square(warped))

    return _gradient_call(total, (_sheets(subject), _views(subject)))


def _grid_sampling(subject: Subject, images: jax.Array) -> Call:
    grid = cam.warped_grid(_sheets(subject), _views(subject), subject.settings.camera)
    return _gradient_call(lambda inputs: jnp.mean(jnp.square(resample.grid_sample(*inputs))), (images, grid))


def _generator(subject: Subject) -> Call:
    arch = subject.settings.architecture
    latents = jnp.repeat(subject.example.latent, subject.settings.batch_size, axis=0)
    return _gradient_call(
        lambda w, generator: jnp.mean(jnp.square(stylegan2.synthesize(generator, w, arch=arch))),
        latents,
        subject.frozen.generator,
    )
