"""Compiles programs of a run for TPU chips given only by description, and prints as JSON what libtpu says of them.

    python tests/helpers/tpu_programs.py CONFIG CHIPS STEP [STEP ...]

Needs a process of its own, no TPU: what is lowered for is told to JAX before it is imported. A STEP is a label of the
schedule, `joint:` and one (one set of networks for all images), `predict` (feed-forward) or `rendering` (the rasteriser
and its gradient). Every chip has one image.
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

# Programs are lowered on the CPU, and libtpu must neither look for a TPU nor object that another process has loaded it.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan2shape_jax import platforms
from gan2shape_jax.config import load_config
from gan2shape_jax.geometry import render
from gan2shape_jax.io import image_lists
from gan2shape_jax.method import models, reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Context, Iteration, TrainState, initial_state
from gan2shape_jax.method.step1 import Step1Cache
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.plan import inputs
from gan2shape_jax.plan.recipe import RECIPES, resolve
from gan2shape_jax.training import devices, shared, task

_EVERYWHERE, _EACH = PartitionSpec(), PartitionSpec(devices.AXIS)


def main(name: str, chips: int, steps: list[str]) -> None:
    """Prints a list of what `compiled` returns, one for each step."""
    described = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    mesh = Mesh(np.array(described[:chips]), (devices.AXIS,))
    config = load_config(name)
    architecture, frozen = inputs.load_frozen(resolve(config))
    first = image_lists.read_names(config.data.image_list)[0]
    with tempfile.TemporaryDirectory() as folder:
        prepared = inputs.load_image(resolve(config), first, architecture, frozen, pathlib.Path(folder))
    context = Context(prepared.example, frozen, prepared.settings)
    params = models.init_params(jax.random.key(0), prepared.settings)
    phases: dict[str, Phase] = {}
    for phase in RECIPES[config.recipe].schedule(config):
        phases.setdefault(phase.step, phase)
    with platforms.tracing_for("tpu"):
        programs = {step: _lowered(step, phases, params, context, mesh).compile() for step in steps}
    print(json.dumps([told(step, program) for step, program in programs.items()]))


def told(step: str, program: Any) -> dict[str, Any]:
    """Returns gigabytes, the compiler's estimate of cycles, and how often operations and Pallas kernels occur."""
    memory, text = program.memory_analysis(), program.as_text()
    kinds = ("scatter", "gather", "sort", "while", "all-reduce", "all-gather", "reduce-scatter", "collective-permute")
    counted = {kind: len(re.findall(rf"[)\]}}] {kind}(?:-start)?\(", text)) for kind in kinds}
    calls = re.findall(r"%([\w-]+?)(?:\.\d+)* = .*custom_call_target=\"tpu_custom_call\"", text)
    return {
        "name": step,
        "gb": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e9,
        "cycles": sum(map(int, re.findall(r'"estimated_cycles":"?(\d+)', text))),
        "operations": {kind: count for kind, count in counted.items() if count},
        "kernels": dict(collections.Counter(calls)),
    }


def _lowered(step: str, phases: dict[str, Phase], params: Any, context: Context, mesh: Mesh) -> jax.stages.Lowered:
    if step == "rendering":
        return _rendering(context, mesh)
    if step == "predict":
        return _prediction(params, context, mesh)
    lower = _together if step.startswith("joint:") else _separately
    return lower(phases[step.removeprefix("joint:")], params, context, mesh)


def _shapes(tree: Any, mesh: Mesh, axes: PartitionSpec, *leading: int) -> Any:
    """Returns the shapes of a tree's leaves with leading axes, on the chips of a mesh."""
    sharding = NamedSharding(mesh, axes)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding), tree)


def _begun(phase: Phase, params: Any, context: Context) -> tuple[TrainState, Any]:
    """Returns the shapes of a phase's state and of what all its iterations use."""
    step, settings = phase.kind, context.settings

    def begin(params: Any, example: Any, frozen: Any) -> TrainState:
        return task.OneImage(Context(example, frozen, settings)).begin(initial_state(params, settings), phase)

    state = jax.eval_shape(begin, params, context.example, context.frozen)
    if step.cache is None:
        return state, None
    cache = jax.eval_shape(functools.partial(step.cache, flip=phase.flip), params, context)
    if step.collect is None:
        return state, cache
    batch = jax.eval_shape(step.collect, params, Iteration(context.example.key, 0, state.factors, cache), context)
    every = settings.collect_iters
    return state, jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((every * leaf.shape[0], *leaf.shape[1:]), leaf.dtype), batch
    )


def _key(phase: Phase, context: Context) -> Any:
    return jax.eval_shape(lambda key: key_of(key, Stream.TRAIN, phase.number), context.example.key)


def _separately(phase: Phase, params: Any, context: Context, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers an iteration of an image that has its own networks, `training.task`."""
    own = (*_begun(phase, params, context), context.example, _key(phase, context))
    run = task.program(phase.kind, flip=phase.flip, count=1)
    return run.lower(*_shapes((*own, jnp.int32(0), context.frozen, context.settings), mesh, _EVERYWHERE))


def _together(phase: Phase, params: Any, context: Context, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers an iteration of joint training, `training.shared`, which shows a batch of each image."""
    count, settings = mesh.size, dataclasses.replace(context.settings, collect_iters=1)
    state, constants = _begun(phase, params, dataclasses.replace(context, settings=settings))
    if isinstance(constants, Step1Cache):
        constants = dataclasses.replace(constants, features=None)  # as `training.shared` keeps them
    moving = _shapes((state.params, state.opt_state), mesh, _EVERYWHERE)
    factors, mask = _shapes(state.factors, mesh, _EVERYWHERE, count), _shapes(state.mask, mesh, _EVERYWHERE)
    numbers = _shapes(jnp.int32(0), mesh, _EACH, count)
    replicas = shared.Replicas(numbers, numbers, _shapes(constants, mesh, _EACH, count))
    example = dataclasses.replace(context.example, true_depth=None)
    examples, keys = _shapes((example, _key(phase, context)), mesh, _EVERYWHERE, count)
    frozen, settings = _shapes((context.frozen, settings), mesh, _EVERYWHERE)
    run = shared.updating(phase.kind, flip=phase.flip, mesh=mesh, count=count)
    return run.lower(moving, replicas, shared.Everything(factors, mask, examples, keys, frozen, settings))


def _prediction(params: Any, context: Context, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the feed-forward reconstruction of an image."""
    arguments = (params, reconstruction.drop_training_fields(context.example), context.frozen, context.settings)
    return jax.jit(reconstruction.reconstruction_of).lower(*_shapes(arguments, mesh, _EVERYWHERE))


def _rendering(context: Context, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers a step's use of the rasteriser: a batch warped, its texture sampled, and the gradient."""
    camera, batch = context.settings.camera, context.settings.batch_size

    def loss(scene: dict[str, jax.Array]) -> jax.Array:
        warped = render.warp_depth(scene["depth"], scene["view"], camera)
        return jnp.sum(render.draw_texture(scene["texture"], warped, scene["view"], camera) ** 2)

    side = camera.image_size
    shapes = {"depth": (side, side), "view": (6,), "texture": (side, side, 3)}
    scene = {name: jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for name, shape in shapes.items()}
    gradient: Callable[..., Any] = jax.jit(jax.grad(loss), donate_argnums=0)
    return gradient.lower(_shapes(scene, Mesh(mesh.devices[:1], (devices.AXIS,)), _EVERYWHERE))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
