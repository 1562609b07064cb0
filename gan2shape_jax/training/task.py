"""What the training loop trains: one image with networks of its own, or networks that many images share.

In joint training (`shared.Shared`), all images share one set of networks; a lift (`lift.task`) is made of such tasks.
The steps are always those of `method`.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import metrics, models, reconstruction
from gan2shape_jax.method import settings as settings_lib
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.state import Context, Example, Iteration, Step, TrainState
from gan2shape_jax.method.step1 import STEP1
from gan2shape_jax.method.streams import Stream, key_of


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
        """Returns the mean scalars of the latest iterations, for the history."""

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


def _alone(function: Callable[..., Any], *, axis: bool, shared: int) -> Callable[..., Any]:
    """Gives a function of one image's arguments, the last `shared` apart, and results a leading axis of length one.

    Without `axis` it stays as it is.
    """

    def of_one(*arguments):
        own, rest = arguments[:-shared], arguments[-shared:]
        alone = function(*jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), own), *rest)
        return jax.tree.map(lambda leaf: leaf.reshape(1, *leaf.shape), alone)

    return of_one if axis else function


@per_step
def program(step: Step, *, flip: bool, count: int, axis: bool = False) -> Any:
    """Returns the compiled iteration of one image, or `count` iterations; see `iteration.iterate` and `OneImage`."""

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
    function = _alone(many if count > 1 else single, axis=axis, shared=3)
    return compiled_with(function, jax.default_backend())


def compiled_with(function: Callable[..., Any], platform: str) -> Any:
    """Returns `function` compiled with its first argument, the state, donated, except on CPU.

    On CPU, XLA copies donated parameters before it overwrites them, which costs more time than the memory saved is
    worth.
    """
    return jax.jit(function, donate_argnums=() if platform == "cpu" else 0)


@per_step
def _caching(step: Step, *, flip: bool, axis: bool) -> Any:
    """Returns the compiled `Step.cache`."""
    cache: Any = step.cache

    def of_image(params, example, frozen, settings):
        return cache(params, Context(example, frozen, settings), flip=flip)

    return jax.jit(_alone(of_image, axis=axis, shared=2))


@per_step
def collecting(step: Step, *, axis: bool = False) -> Any:
    """Returns what computes one batch of what a step collects; see `Step.collect`."""
    collect: Any = step.collect

    def single(params, factors, cache, example, key, number, frozen, settings):
        return collect(params, Iteration(key, number, factors, cache), Context(example, frozen, settings))

    return jax.jit(_alone(single, axis=axis, shared=3))


@functools.partial(jax.jit, static_argnames="axis")
def _reconstruct(params, example, frozen, settings, *, axis):
    return _alone(reconstruction.reconstruction_of, axis=axis, shared=2)(params, example, frozen, settings)


@functools.partial(jax.jit, static_argnames=("networks", "axis"))
def _fresh_optimizer(state, settings, *, networks, axis):
    def fresh(state, settings):
        return iteration_lib.fresh_optimizer(state, networks, settings).opt_state

    return _alone(fresh, axis=axis, shared=1)(state, settings)


@functools.partial(jax.jit, static_argnames="stream")
def phase_keys(keys: jax.Array, number: int | jax.Array, *, stream: Stream) -> jax.Array:
    """Returns every image's key, or the one image's, of a stream in a phase."""
    own = functools.partial(key_of, stream=stream, step=number)
    return jax.vmap(own)(keys) if keys.ndim else own(keys)


@dataclasses.dataclass(frozen=True)
class OneImage:
    """The task of one image, with networks of its own; see `Task`. All randomness derives from the image's key.

    In a loop, arrays have a leading axis of length one (`axis`): the compiler fuses what has none differently, which
    changes the last bits of what is trained. Single phases outside a loop go without.
    """

    context: Context
    axis: bool = False

    window = 1

    @property
    def settings(self) -> settings_lib.Settings:
        """See `Task`."""
        return self.context.settings

    @functools.cached_property
    def _example(self) -> Example:
        example: Example = self.context.example
        return jax.tree.map(lambda leaf: leaf[None], example) if self.axis else example

    def initial(self, params: models.Params) -> TrainState:
        """See `Task`."""
        state = state_lib.initial_state(params, self.settings)
        return jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)[None] if self.axis else leaf), state)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `Task`."""
        if phase.step == STEP1.name and phase.stage == 1 and self.settings.use_mask:
            state = dataclasses.replace(state, mask=self._cached(state, phase).mask)
        return self.fresh_optimizer(state, phase)

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """See `Task`."""
        fresh = _fresh_optimizer(state, self.settings, networks=phase.kind.networks, axis=self.axis)
        return dataclasses.replace(state, opt_state=fresh)

    def _cached(self, state: TrainState, phase: Phase) -> Any:
        cached = _caching(phase.kind, flip=phase.flip, axis=self.axis)
        return cached(state.params, self._example, self.context.frozen, self.settings)

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `Task`."""
        step = phase.kind
        if step.cache is None:
            return None
        cache = self._cached(state, phase)
        if step.collect is None:
            return cache
        keys = phase_keys(self._example.key, phase.number, stream=Stream.COLLECT)
        collected = collecting(step, axis=self.axis)
        own = state.params, state.factors, cache, self._example, keys
        everywhere = self.context.frozen, self.settings
        batches = [collected(*own, number, *everywhere) for number in range(self.settings.collect_iters)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=int(self.axis)), *batches)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `Task`."""
        run = program(phase.kind, flip=phase.flip, count=count, axis=self.axis)
        keys = phase_keys(self._example.key, phase.number, stream=Stream.TRAIN)
        number = jnp.asarray(iteration, jnp.int32)
        return run(state, constants, self._example, keys, number, self.context.frozen, self.settings)

    def averages(self, scalars: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Returns the scalars of the latest iteration."""
        row = jax.device_get(scalars[-1]) if scalars else {}
        return {name: np.asarray(value).item() for name, value in row.items()}

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[reconstruction.Prediction | None, dict[str, Any]]:
        """Returns the reconstruction and its errors."""
        example = reconstruction.drop_training_fields(self._example)
        view = _reconstruct(state.params, example, self.context.frozen, self.settings, axis=self.axis)
        errors: dict[str, Any] = {}
        if self._example.true_depth is not None:
            depths = view.warped_depth, self._example.true_depth, view.valid
            errors = jax.device_get(metrics.depth_metrics(*depths, camera=self.settings.camera))
        shown = jax.tree.map(lambda leaf: leaf[0], view) if self.axis else view
        return shown, {name: np.asarray(value).item() for name, value in errors.items()}
