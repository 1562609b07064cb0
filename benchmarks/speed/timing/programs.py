"""The programs of a run, lowered for chips given only by description: the very functions that runs compile."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax import platforms
from gan2shape_jax.errors import UserError
from gan2shape_jax.geometry import render
from gan2shape_jax.method import reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Context, Iteration, TrainState, initial_state
from gan2shape_jax.method.step1 import Step1Cache
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.training import devices, shared, task
from timing.subjects import COLLECT, Subject

RENDERING, PREDICT = "rendering", "predict"
_EVERYWHERE, _EACH = PartitionSpec(), PartitionSpec(devices.AXIS)


def names_of(subject: Subject) -> tuple[str, ...]:
    """Returns what can be lowered: steps by their labels; collecting; feed-forward; the rasteriser alone."""
    return (*subject.phases, COLLECT, PREDICT, RENDERING)


def lowered(subject: Subject, name: str, *, images: int, mesh: Mesh, joint: bool) -> jax.stages.Lowered:
    """Lowers a program of a run.

    Args:
      subject: the configuration.
      name: one of `names_of`.
      images: the number of images on each chip.
      mesh: the chips, along `devices.AXIS`.
      joint: whether all images share one set of networks instead of having their own.

    Raises:
      UserError: nothing has that name, or it has no joint form.
    """
    if name not in names_of(subject):
        raise UserError(f"--steps {name}: there are {', '.join(names_of(subject))}")
    if joint and name not in subject.phases:
        raise UserError(f"--joint: {name} is not trained; there are {', '.join(subject.phases)}")
    with platforms.tracing_for(mesh.devices.flat[0].platform):
        return _lowered(subject, name, images, mesh, joint)


def _lowered(subject: Subject, name: str, images: int, mesh: Mesh, joint: bool) -> jax.stages.Lowered:
    if name == RENDERING:
        return _rendering(subject, images, mesh)
    if name == PREDICT:
        return _prediction(subject, images, mesh)
    if name == COLLECT:
        return _collecting(subject, images, mesh)
    return (_together if joint else _separately)(subject, subject.phases[name], images, mesh)


def _of(tree: Any, mesh: Mesh, axes: PartitionSpec, *leading: int) -> Any:
    """Returns the shapes of a tree's leaves with leading axes, on the chips of a mesh."""
    sharding = NamedSharding(mesh, axes)

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def _begun(subject: Subject, phase: Phase) -> tuple[TrainState, Any]:
    """Returns the shapes of a phase's state and of what all its iterations use."""
    step, settings = phase.kind, subject.settings

    def begin(params: Any, example: Any, frozen: Any) -> TrainState:
        return task.one_image(Context(example, frozen, settings)).begin(initial_state(params, settings), phase)

    inputs = (subject.example, subject.frozen)
    state = jax.eval_shape(begin, subject.params, *inputs)
    if step.cache is None:
        return state, None
    cache = jax.eval_shape(functools.partial(step.cache, flip=phase.flip), subject.params, subject.context)
    if step.collect is None:
        return state, cache
    iteration = Iteration(subject.example.key, jnp.int32(0), state.factors, cache)
    batch = jax.eval_shape(step.collect, subject.params, iteration, subject.context)
    every = settings.collect_iters
    return state, jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((every * leaf.shape[0], *leaf.shape[1:]), leaf.dtype), batch
    )


def _key(subject: Subject, phase: Phase) -> Any:
    return jax.eval_shape(lambda key: key_of(key, Stream.TRAIN, phase.number), subject.example.key)


def _separately(subject: Subject, phase: Phase, images: int, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers an iteration of images that have their own networks, `training.task`."""
    own = (*_begun(subject, phase), subject.example, _key(subject, phase))
    own = _of(own, mesh, _EACH, images * mesh.size)
    number, frozen, settings = _of((jnp.int32(0), subject.frozen, subject.settings), mesh, _EVERYWHERE)
    run = task.program(phase.kind, flip=phase.flip, count=1, mesh=mesh)
    return run.lower(*own, number, frozen, settings)


def _together(subject: Subject, phase: Phase, images: int, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers an iteration of joint training, `training.shared`, which shows a batch of each image."""
    settings = dataclasses.replace(subject.settings, collect_iters=1)
    count = images * mesh.size
    state, constants = _begun(dataclasses.replace(subject, settings=settings), phase)
    if isinstance(constants, Step1Cache):
        constants = dataclasses.replace(constants, features=None)  # as `training.shared` keeps them
    moving = _of((state.params, state.opt_state), mesh, _EVERYWHERE)
    factors, mask = _of(state.factors, mesh, _EVERYWHERE, count), _of(state.mask, mesh, _EVERYWHERE)
    numbers = _of(jnp.int32(0), mesh, _EACH, count)
    replicas = shared.Replicas(numbers, numbers, _of(constants, mesh, _EACH, count))
    example = dataclasses.replace(subject.example, true_depth=None)
    examples, keys = _of((example, _key(subject, phase)), mesh, _EVERYWHERE, count)
    frozen, settings = _of((subject.frozen, settings), mesh, _EVERYWHERE)
    run = shared.updating(phase.kind, flip=phase.flip, mesh=mesh, count=count)
    everything = shared.Everything(factors, mask, examples, keys, frozen, settings)
    return run.lower(moving, replicas, everything)


def _collecting(subject: Subject, images: int, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the projection of one batch of pseudo-images, with which step 3 begins."""
    phase = next(phase for phase in subject.phases.values() if phase.kind.collect)
    step, settings = phase.kind, subject.settings
    cache = jax.eval_shape(functools.partial(step.cache, flip=phase.flip), subject.params, subject.context)
    state, _ = _begun(subject, phase)
    inputs = (subject.params, state.factors, cache, subject.example, _key(subject, phase))
    own = _of(inputs, mesh, _EACH, images * mesh.size)
    everywhere = _of((jnp.int32(0), subject.frozen, settings), mesh, _EVERYWHERE)
    return task.collecting(step, mesh=mesh).lower(*own, *everywhere)


def _prediction(subject: Subject, images: int, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the feed-forward reconstruction of images; the networks are the same for all."""
    example = reconstruction.drop_training_fields(subject.example)

    def predicted(example: Any, params: Any, frozen: Any) -> Any:
        return reconstruction.reconstruction_of(params, example, frozen, settings=subject.settings)

    own = _of(example, mesh, _EACH, images * mesh.size)
    everywhere = _of((subject.params, subject.frozen), mesh, _EVERYWHERE)
    return jax.jit(devices.for_each(predicted, mesh, shared=2)).lower(own, *everywhere)


def _rendering(subject: Subject, images: int, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers a step's use of the rasteriser: a batch warped, its texture sampled, and the gradient."""
    camera, batch = subject.settings.camera, images * subject.settings.batch_size

    def loss(scene: dict[str, jax.Array]) -> jax.Array:
        warped = render.warp_depth(scene["depth"], scene["view"], camera)
        return jnp.sum(render.draw_texture(scene["texture"], warped, scene["view"], camera) ** 2)

    side = camera.image_size
    shapes = {"depth": (side, side), "view": (6,), "texture": (side, side, 3)}
    scene = {name: jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for name, shape in shapes.items()}
    gradient: Callable[..., Any] = jax.jit(jax.grad(loss), donate_argnums=0)
    return gradient.lower(_of(scene, Mesh(mesh.devices[:1], (devices.AXIS,)), _EVERYWHERE))
