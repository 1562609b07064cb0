"""What the training loop trains: N examples, whose networks are independent or shared.

`Independent` images each have networks of their own; one image is N = 1. In joint training (`shared.Shared`), all
images share one set of networks; a lift (`lift.task`) is made of such tasks. The steps are always those of `method`.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import metrics, models, reconstruction
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Context, Example, Iteration, PreparedImage, Step, TrainState
from gan2shape_jax.method.step1 import STEP1
from gan2shape_jax.method.streams import Stream, key_of
from gan2shape_jax.training import devices


def scores(view: reconstruction.Prediction, example: Example, settings: settings_lib.Settings) -> dict[str, float]:
    """Returns depth and normal errors in the input view; {} if true depth is unknown."""
    if example.true_depth is None:
        return {}
    errors = metrics.depth_metrics(view.warped_depth, example.true_depth, view.valid, camera=settings.camera)
    return {name: float(value) for name, value in jax.device_get(errors).items()}


def means(scalars: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the mean of each scalar over iterations, or over images; the rows may be on a device."""
    rows = jax.device_get(list(scalars))
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in (rows[-1] if rows else ())}


@runtime_checkable
class Task(Protocol):
    """What a loop trains."""

    @property
    def settings(self) -> settings_lib.Settings:
        """The settings, shared by all images."""

    @property
    def window(self) -> int:
        """How many of the latest iterations are averaged for the logged losses."""

    def initial(self, params: models.Params) -> TrainState:
        """Returns the state before the first phase; copies the parameters because the state is donated."""

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """Returns the state at the phase's first iteration."""

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """Returns the state with the initial optimiser state of a phase."""

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """Computes what all iterations of the phase use; gives the same values when the phase is resumed."""

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Runs `count` iterations from `iteration`; returns the state and the last one's scalars. Donates the state."""

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns the mean scalars of the latest iterations, for the history; independent images add `images`."""

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[reconstruction.Prediction | None, dict[str, Any]]:
        """Returns the reconstruction and its errors; None and {} if computing them is not worth the cost."""


def per_step(make: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates what makes a program for a step: each is made once, and goes when the step goes.

    The caches of `jax.jit` would keep every step that somebody has tried, with all that its functions hold.
    """
    programs: weakref.WeakKeyDictionary[Step, dict[Any, Any]] = weakref.WeakKeyDictionary()

    @functools.wraps(make)
    def made(step: Step, **static: Any) -> Any:
        own, key = programs.setdefault(step, {}), tuple(sorted(static.items()))
        if key not in own:
            own[key] = make(dataclasses.replace(step), **static)  # a copy, since what holds its own key is never freed
        return own[key]

    made.cache_clear = programs.clear  # type: ignore[attr-defined]
    return made


@per_step
def program(step: Step, *, flip: bool, count: int, mesh: Mesh | None) -> Any:
    """Returns the compiled iteration, or `count` iterations, of all images; see `iteration.iterate`."""

    def single(state, constants, example, key, number, frozen, settings):
        context = Context(example, frozen, settings)
        return iteration_lib.iterate(state, constants, key, number, context, step=step, flip=flip)

    def many(state, constants, example, key, first, frozen, settings):
        state, metrics = jax.lax.scan(
            lambda carry, number: single(carry, constants, example, key, number, frozen, settings),
            state,
            first + jnp.arange(count),
        )
        return state, jax.tree.map(lambda scalar: scalar[-1], metrics)

    # Many where launches are costly; on CPU, convolutions in a scan fall off XLA's fast path.
    function = devices.for_each(many if count > 1 else single, mesh, shared=3)
    return compiled_with(function, devices.platform_of(mesh) if mesh else jax.default_backend())


def compiled_with(function: Callable[..., Any], platform: str) -> Any:
    """Returns `function` compiled with its first argument, the state, donated, except on CPU.

    On CPU, XLA copies donated parameters before it overwrites them, which costs more time than the memory saved is
    worth.
    """
    return jax.jit(function, donate_argnums=() if platform == "cpu" else 0)


@per_step
def _caching(step: Step, *, flip: bool, mesh: Mesh | None) -> Any:
    """Returns the compiled `Step.cache` of all images."""
    cache: Any = step.cache

    def of_image(params, example, frozen, settings):
        return cache(params, Context(example, frozen, settings), flip=flip)

    return jax.jit(devices.for_each(of_image, mesh, shared=2))


@per_step
def collecting(step: Step, *, mesh: Mesh | None) -> Any:
    """Returns what computes one batch of what a step collects, of all images; see `Step.collect`."""
    collect: Any = step.collect

    def single(params, factors, cache, example, key, number, frozen, settings):
        return collect(params, Iteration(key, number, factors, cache), Context(example, frozen, settings))

    return jax.jit(devices.for_each(single, mesh, shared=3))


@functools.partial(jax.jit, static_argnames="mesh")
def _reconstruct(params, example, frozen, settings, *, mesh):
    return devices.for_each(reconstruction.reconstruction_of, mesh, shared=2)(params, example, frozen, settings)


@functools.partial(jax.jit, static_argnames=("networks", "mesh"))
def _fresh_optimizer(state, settings, *, networks, mesh):
    def fresh(state, settings):
        return iteration_lib.fresh_optimizer(state, networks, settings).opt_state

    return devices.for_each(fresh, mesh, shared=1)(state, settings)


@functools.partial(jax.jit, static_argnames="stream")
def phase_keys(keys: jax.Array, number: int | jax.Array, *, stream: Stream) -> jax.Array:
    """Returns every image's key, or the one image's, of a stream in a phase."""
    own = functools.partial(key_of, stream=stream, step=number)
    return jax.vmap(own)(keys) if keys.ndim else own(keys)


@dataclasses.dataclass(frozen=True)
class Independent:
    """The task of one or several images, each with its own networks; see `Task`.

    Parameters, optimiser state and data have a leading axis of images. All randomness derives from each image's own
    key, so an image's result does not depend on the others, apart from rounding. An image whose values become
    non-finite is noted in the history and does not affect its neighbours.
    """

    names: tuple[str, ...]  # the images' names, without those that only pad the axis
    example: Example  # the examples of all images, along a first axis whose length is a multiple of the devices' number
    frozen: FrozenModels  # the frozen networks, on every device
    settings: settings_lib.Settings  # the settings, shared by all images
    mesh: Mesh | None  # the devices that hold the images; None for one image without an axis of images (`one_image`)

    window = 1

    def initial(self, params: models.Params) -> TrainState:
        """See `Task`."""
        state = state_lib.initial_state(params, self.settings)
        if self.mesh is None:
            return jax.tree.map(jnp.array, state)
        count = len(self.example.key)
        every = jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (count, *leaf.shape)), state)
        return devices.place(every, self.mesh)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `Task`."""
        if phase.step == STEP1.name and phase.stage == 1 and self.settings.use_mask:
            state = dataclasses.replace(state, mask=self._cached(state, phase).mask)
        return self.fresh_optimizer(state, phase)

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """See `Task`."""
        fresh = _fresh_optimizer(state, self.settings, networks=phase.kind.networks, mesh=self.mesh)
        return dataclasses.replace(state, opt_state=fresh)

    def _cached(self, state: TrainState, phase: Phase) -> Any:
        cached = _caching(phase.kind, flip=phase.flip, mesh=self.mesh)
        return cached(state.params, self.example, self.frozen, self.settings)

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `Task`."""
        step = phase.kind
        if step.cache is None:
            return None
        cache = self._cached(state, phase)
        if step.collect is None:
            return cache
        keys = phase_keys(self.example.key, phase.number, stream=Stream.COLLECT)
        collected = collecting(step, mesh=self.mesh)

        def batch(number: int) -> Any:
            own = state.params, state.factors, cache, self.example, keys
            return collected(*own, number, self.frozen, self.settings)

        batches = [batch(number) for number in range(self.settings.collect_iters)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1 if self.mesh else 0), *batches)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `Task`."""
        run = program(phase.kind, flip=phase.flip, count=count, mesh=self.mesh)
        keys = phase_keys(self.example.key, phase.number, stream=Stream.TRAIN)
        number = jnp.asarray(iteration, jnp.int32)
        return run(state, constants, self.example, keys, number, self.frozen, self.settings)

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns means over the images that are still finite, with each image's scalars under `images`."""
        return self._rows(jax.device_get(scalars[-1]) if scalars else {})

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[reconstruction.Prediction | None, dict[str, Any]]:
        """Returns all reconstructions, along a first axis, and mean errors with each image's under `images`."""
        example = reconstruction.drop_training_fields(self.example)
        view = _reconstruct(state.params, example, self.frozen, self.settings, mesh=self.mesh)
        if self.example.true_depth is None:
            return view, {"images": {name: {} for name in self.names}}
        errors = metrics.depth_metrics(
            view.warped_depth, self.example.true_depth, view.valid, camera=self.settings.camera
        )
        return view, self._rows(jax.device_get(errors))

    def _rows(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Means of scalars of shape `(images,)`, with each image's own under `images`."""
        own = {name: {key: float(values[i]) for key, values in columns.items()} for i, name in enumerate(self.names)}
        whole = [row for row in own.values() if all(np.isfinite(value) for value in row.values())]
        return means(whole or list(own.values())) | {"images": own}


def one_image(context: Context) -> Independent:
    """Returns the task of one image, for single phases outside a loop: its states have no axis of images."""
    return Independent((), context.example, context.frozen, context.settings, None)


def one_of(state: TrainState, index: int) -> TrainState:
    """Returns one image's state from that of independent images, on the default device."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf[index])), state)


def compatible(first: PreparedImage, second: PreparedImage) -> bool:
    """Whether two images can be trained at once: same settings, and arrays of the same shapes and dtypes."""
    import chex  # here, because its import is slow

    try:
        chex.assert_trees_all_equal_shapes_and_dtypes(first.example, second.example)
        chex.assert_trees_all_equal(first.settings, second.settings)
    except AssertionError:
        return False
    return True


def independent(images: Sequence[PreparedImage], frozen: FrozenModels, mesh: Mesh | None = None) -> Independent:
    """Returns the task of images that are `compatible`; copies of the last one pad the axis.

    There is at least one. `mesh` has the devices to use; None means as many of this host's as there are images.
    """
    mesh = mesh or devices.mesh_for(len(images))
    examples = [image.example for image in images]
    examples += examples[-1:] * (-len(images) % mesh.size)
    return Independent(
        names=tuple(image.name for image in images),
        example=devices.place(devices.stack(examples), mesh),
        frozen=devices.replicate(frozen, mesh),
        settings=devices.replicate(images[0].settings, mesh),
        mesh=mesh,
    )
