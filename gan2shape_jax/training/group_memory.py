"""How much memory one image of a group takes, according to the compiler, in the most demanding step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, optimizer, sampling
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.state import PreparedImage, ProjectedSamples, TrainState
from gan2shape_jax.method.step3 import STEP3
from gan2shape_jax.training import group, image_axis

__all__ = ["bytes_of_one"]


def bytes_of_one(prepared: PreparedImage, frozen: FrozenModels) -> int:
    """Returns the memory, in bytes, that one image takes in step 3, the most demanding step.

    This covers its state twice, its samples and all intermediate values, as reported by the compiler; what all images
    share (the GAN) is not counted.
    """
    settings, layout = prepared.settings, image_axis.layout_of(1)
    task = group.gather([prepared], frozen, layout)
    square = (settings.sample_count, settings.image_size, settings.image_size)

    def moving(key: jax.Array) -> tuple[TrainState, ProjectedSamples]:
        state = state_lib.initial_state(models.init_params(key, settings), settings)
        samples = ProjectedSamples(images=jnp.zeros((*square, 3)), masks=jnp.zeros(square))
        return image_axis.stack([(optimizer.fresh_optimizer(state, STEP3.networks, settings), samples)])

    state, samples = jax.eval_shape(moving, jax.random.key(0))
    compiled = (
        iteration_lib.compiled_with(group.iterate, group.STATIC, layout.platform)
        .lower(
            state,
            samples,
            task.problem,
            group.phase_keys(task.problem.key, 0, use=sampling.TRAIN),
            jax.ShapeDtypeStruct((), jnp.int32),
            task.frozen,
            task.settings,
            step=STEP3,
            flip=True,
            count=1,
            layout=layout,
        )
        .compile()
    )
    memory = compiled.memory_analysis()
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(task.frozen))
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes - shared
