"""A group of images reconstructed at once: independent networks, one train step.

Parameters, optimiser state and data have a leading axis of images (`image_axis`); the steps are those of one image.
All randomness derives from each image's own key, so an image's result does not depend on the rest of its group, apart
from rounding. An image whose values become non-finite is noted in the history and stays in the group without affecting
its neighbours.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import metrics, models, optimizer, reconstruction, sampling
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, TrainState
from gan2shape_jax.method.steps import STEPS
from gan2shape_jax.training import image_axis
from gan2shape_jax.training.image_axis import Layout, lift

__all__ = ["STATIC", "Group", "alike", "failures_of", "gather", "iterate", "one_of", "own_history", "phase_keys"]

STATIC = ("step", "flip", "count", "layout")
_POSITION = ("phase", "stage", "step", "iteration")


def iterate(
    state: TrainState,
    constants: Any,
    problem: Problem,
    keys: jax.Array,
    iteration: jax.Array,
    frozen: FrozenModels,
    settings: Settings,
    *,
    count: int,
    layout: Layout,
    **static: Any,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Runs `iteration.iterate`, or `iterate_many`, for every image; `STATIC` are its static arguments."""
    one = functools.partial(iteration_lib.iterate, **static)
    if count > 1:
        one = functools.partial(iteration_lib.iterate_many, count=count, **static)
    return lift(one, layout)((state, constants, problem, keys), (iteration, frozen, settings))


@functools.partial(jax.jit, static_argnames=("step", "flip", "layout"))
def _cached(params, problem, frozen, settings, *, layout, **static):
    return lift(functools.partial(iteration_lib.cached, **static), layout)((params, problem), (frozen, settings))


@functools.partial(jax.jit, static_argnames=("step", "layout"))
def _collected(params, factors, cache, problem, keys, iteration, frozen, settings, *, layout, **static):
    one = functools.partial(iteration_lib.collected, **static)
    return lift(one, layout)((params, factors, cache, problem, keys), (iteration, frozen, settings))


@functools.partial(jax.jit, static_argnames=("layout",))
def _reconstruct(params, problem, frozen, settings, *, layout):
    return lift(reconstruction.reconstruct, layout)((params, problem), (frozen, settings))


@functools.partial(jax.jit, static_argnames="camera")
def _errors(warped_depth, true_depth, valid, *, camera):
    return metrics.depth_metrics(warped_depth, true_depth, valid, camera)


@functools.partial(jax.jit, static_argnames=("networks", "layout"))
def _fresh_optimizer(state, settings, *, networks, layout):
    def fresh(one, settings):
        return optimizer.fresh_optimizer(one, networks, settings).opt_state

    return lift(fresh, layout)((state,), (settings,))


@functools.partial(jax.jit, static_argnames="use")
def phase_keys(keys: jax.Array, number: int | jax.Array, *, use: int) -> jax.Array:
    """Returns every image's key for one use of randomness in a phase; see `sampling.phase_key`."""
    return jax.vmap(lambda key: sampling.phase_key(key, number, use))(keys)


@dataclasses.dataclass(frozen=True)
class Group:
    """The task of several images, each with its own networks; see `tasks.Task`.

    Attributes:
      names: the images' names, without those that only pad the group.
      problem: the problems of all images, along a first axis of size `image_axis.padded(...)`.
      frozen: the frozen networks, on every device.
      settings: the settings, shared by all images.
      layout: how the images are laid out on devices.
    """

    names: tuple[str, ...]
    problem: Problem
    frozen: FrozenModels
    settings: Settings
    layout: Layout

    @property
    def window(self) -> int:
        """See `tasks.Task`."""
        return 1

    def initial(self, params: models.Params) -> TrainState:
        """See `tasks.Task`."""
        one = state_lib.initial_state(params, self.settings)
        count = image_axis.padded(len(self.names), self.layout.devices)
        every = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (count, *leaf.shape)), one)
        return image_axis.place(every, self.layout.mesh)

    def restored(self, state: TrainState) -> TrainState:
        """See `tasks.Task`."""
        return image_axis.place(jax.tree.map(np.asarray, state), self.layout.mesh)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `tasks.Task`."""
        if iteration_lib.finds_mask(phase, self.settings):
            state = dataclasses.replace(state, mask=self._cached(state, phase).mask)
        return self.fresh_optimizer(state, phase.step)

    def fresh_optimizer(self, state: TrainState, step: str) -> TrainState:
        """See `tasks.Task`."""
        fresh = _fresh_optimizer(state, self.settings, networks=STEPS[step].networks, layout=self.layout)
        return dataclasses.replace(state, opt_state=fresh)

    def _cached(self, state: TrainState, phase: Phase) -> Any:
        return _cached(
            state.params,
            self.problem,
            self.frozen,
            self.settings,
            step=STEPS[phase.step],
            flip=phase.flip,
            layout=self.layout,
        )

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `tasks.Task`."""
        step = STEPS[phase.step]
        if step.cache is None:
            return None
        cache = self._cached(state, phase)
        if step.collect is None:
            return cache
        keys = phase_keys(self.problem.key, phase.number, use=sampling.COLLECT)
        own = (state.params, state.factors, cache, self.problem, keys)
        batches = [
            _collected(*own, i, self.frozen, self.settings, step=step, layout=self.layout)
            for i in range(self.settings.collect_iters)
        ]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *batches)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `tasks.Task`."""
        run = iteration_lib.compiled_with(iterate, STATIC, self.layout.platform)
        return run(
            state,
            constants,
            self.problem,
            phase_keys(self.problem.key, phase.number, use=sampling.TRAIN),
            jnp.asarray(iteration, jnp.int32),
            self.frozen,
            self.settings,
            step=STEPS[phase.step],
            flip=phase.flip,
            count=count,
            layout=self.layout,
        )

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns means over the images that are still finite, with each image's scalars under `images`."""
        return self._rows(jax.device_get(scalars[-1]) if scalars else {})

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[Reconstruction | None, dict[str, Any]]:
        """Returns all reconstructions, along a first axis, and mean errors with each image's under `images`."""
        del phase, done
        problem = reconstruction.drop_training_fields(self.problem)
        view = _reconstruct(state.params, problem, self.frozen, self.settings, layout=self.layout)
        if self.problem.true_depth is None:
            return view, {"images": {name: {} for name in self.names}}
        errors = _errors(view.warped_depth, self.problem.true_depth, view.valid, camera=self.settings.camera)
        return view, self._rows(jax.device_get(errors))

    def _rows(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Means of scalars of shape `(images,)`, with each image's own under `images`."""
        own = {name: {key: float(values[i]) for key, values in columns.items()} for i, name in enumerate(self.names)}
        return _means(own) | {"images": own}


def _means(own: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over the images whose values are all finite, or over all images if there is none."""
    whole = [row for row in own.values() if all(np.isfinite(value) for value in row.values())] or list(own.values())
    return {key: float(np.mean([row[key] for row in whole])) for key in whole[0]}


def one_of(state: TrainState, index: int) -> TrainState:
    """Returns one image's state from a group's, on the default device."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf[index])), state)


def alike(first: PreparedImage, second: PreparedImage) -> bool:
    """Whether two images can be in one group: same settings, and arrays of the same shapes and dtypes."""
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one.problem) for one in (first, second)]
    return settings_lib.same(first.settings, second.settings) and shapes[0] == shapes[1]


def gather(images: Sequence[PreparedImage], frozen: FrozenModels, layout: Layout) -> Group:
    """Returns the task of reconstructing these images, which must be `alike`; copies of the last one pad the group."""
    problems = [one.problem for one in images]
    problems += problems[-1:] * (image_axis.padded(len(images), layout.devices) - len(images))
    return Group(
        names=tuple(one.name for one in images),
        problem=image_axis.place(image_axis.stack(problems), layout.mesh),
        frozen=image_axis.replicate(frozen, layout.mesh),
        settings=image_axis.replicate(images[0].settings, layout.mesh),
        layout=layout,
    )


def own_history(history: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Returns one image's positions, losses and errors from the rows that have them."""
    return [{key: row[key] for key in _POSITION} | row["images"][name] for row in history if "images" in row]


def failures_of(history: list[dict[str, Any]], names: Sequence[str], labels: dict[int, str]) -> dict[str, str]:
    """Returns a message, by name, for each image whose loss became non-finite; `labels` maps phases to labels."""
    failures: dict[str, str] = {}
    for name in names:
        for row in own_history(history, name):
            if not np.isfinite(row.get("loss", 0.0)):
                failures[name] = (
                    f"the loss became {row['loss']} in {labels[row['phase']]}, iteration "
                    f"{row['iteration']}; check the image and its latent, or lower "
                    "config.optimizer.learning_rate"
                )
                break
    return failures
