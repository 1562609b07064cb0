"""The schedule as data, and the loop body that carries a state through one phase of it.

A phase is one step of one stage (or the prior's fit before them). Every random choice of a phase is a
function of the image's key, the phase's number and the iteration, so a run can stop anywhere and go on.
Source: GAN2Shape, section 3.2 and appendix (training schedules).
"""

from __future__ import annotations

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp

from gan2shape_jax.method import models, projection, steps
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import appearance, canonical_mask, mirror
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import Problem, ProjectedSamples, TrainState, fresh_optimizer
from gan2shape_jax.method.steps import Step1Cache

__all__ = [
    "CHOOSE",
    "COLLECT",
    "TRAIN",
    "Phase",
    "Reconstruction",
    "advance",
    "bare",
    "begin",
    "code_of",
    "compiled_with",
    "iterate",
    "phase_key",
    "phase_constants",
    "schedule",
    "see",
    "seen",
    "step1_cache_and_mask",
    "wants_mask",
]

# Keys of a phase's independent uses of randomness: training, collecting samples, choosing among images or samples.
TRAIN, COLLECT, CHOOSE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Phase:
    """One step of one stage.

    Attributes:
      number: position in the schedule, from 0.
      stage: from 1; 0 is the prior's fit.
      step: "prior", "step1", "step2" or "step3".
      iterations: how many.
      flip: whether the mirrored sheet must explain the images too.
    """

    number: int
    stage: int
    step: str
    iterations: int
    flip: bool

    @property
    def label(self) -> str:
        return "prior" if self.step == "prior" else f"stage {self.stage} {self.step}"


def schedule(
    stages: tuple[tuple[int, int, int], ...],
    *,
    flip1: tuple[bool, ...],
    flip3: tuple[bool, ...],
    prior_iterations: int,
) -> tuple[Phase, ...]:
    """The phases of a run: the prior's fit (unless it has no iterations), then the stages' steps.

    Args:
      stages: lengths of steps 1, 2 and 3 for every stage.
      flip1, flip3: per stage, whether step 1 and step 3 use the mirrored sheet.
      prior_iterations: 0 where a pretrained depth network stands in for the prior.
    """
    found = [(0, "prior", prior_iterations, False)] if prior_iterations else []
    for stage, (lengths, first, third) in enumerate(zip(stages, flip1, flip3, strict=True), start=1):
        flips = (first, False, third)
        found += [(stage, f"step{i + 1}", lengths[i], flips[i]) for i in range(3)]
    return tuple(Phase(number, *rest) for number, rest in enumerate(found))


def phase_key(key: jax.Array, phase: Phase, use: int) -> jax.Array:
    """The key of one use of randomness in a phase, from the key of an image or of a run."""
    return jax.random.fold_in(jax.random.fold_in(key, phase.number), use)


def step1_cache_and_mask(params, problem, frozen, *, settings, flip) -> tuple[Step1Cache, jax.Array]:
    """What step 1 keeps, and the canonical object mask that its scene gives; to be called inside `jax.jit`."""
    kept = steps.step1_cache(params, problem, frozen, settings, flip=flip)
    mask = canonical_mask(problem.mask, kept.scene.depth[0], kept.scene.view[0], settings)
    return kept, mask


def code_of(params, problem, *, settings):
    """The encoding of the GAN's image, the same for all of a phase's samples; to be called inside `jax.jit`."""
    return projection.reference_code(params, problem.gan_image, settings)


_step1_cache_and_mask = jax.jit(step1_cache_and_mask, static_argnames=("settings", "flip"))
_code_of = jax.jit(code_of, static_argnames="settings")
_collect_batch = jax.jit(steps.collect_batch, static_argnames="settings")


def _collect(state, problem, frozen, settings, key) -> ProjectedSamples:
    code = _code_of(state.params, problem, settings=settings)
    batches = [
        _collect_batch(state, i, problem, frozen, settings, key=key, code=code) for i in range(settings.collect_iters)
    ]
    return ProjectedSamples(
        images=jnp.concatenate([b.images for b in batches]), masks=jnp.concatenate([b.masks for b in batches])
    )


def wants_mask(phase: Phase, settings: Settings) -> bool:
    """Whether the image's canonical mask is found as the phase begins."""
    return phase.step == "step1" and phase.stage == 1 and settings.use_mask


def begin(state: TrainState, phase: Phase, problem: Problem, frozen: FrozenModels, settings: Settings) -> TrainState:
    """The state at a phase's first iteration: fresh optimisers and, once an image, its canonical mask."""
    if wants_mask(phase, settings):
        _, mask = _step1_cache_and_mask(state.params, problem, frozen, settings=settings, flip=phase.flip)
        state = dataclasses.replace(state, mask=mask)
    return fresh_optimizer(state, phase.step, settings)


def phase_constants(
    state: TrainState, phase: Phase, problem: Problem, frozen: FrozenModels, settings: Settings
) -> Step1Cache | ProjectedSamples | None:
    """What a phase computes once and then uses in all of its iterations.

    Step 1 keeps the scene and the input's features, since only the albedo moves in it; step 3 the samples that
    the encoder and step 1's factors give. Neither changes those inputs, so a resumed phase finds the same values again.
    """
    if phase.step == "step1":
        return _step1_cache_and_mask(state.params, problem, frozen, settings=settings, flip=phase.flip)[0]
    if phase.step == "step3":
        return _collect(state, problem, frozen, settings, phase_key(problem.key, phase, COLLECT))
    return None


def _update(state, iteration, context, problem, frozen, key, *, step, settings, flip):
    if step == "prior":
        return steps.update_prior(state, iteration, problem, frozen, settings)
    if step == "step1":
        return steps.update_step1(state, iteration, context, problem, frozen, settings, flip=flip)
    if step == "step2":
        return steps.update_step2(state, iteration, problem, frozen, settings, key=key)
    return steps.update_step3(state, iteration, context, problem, frozen, settings, key=key, flip=flip)


def iterate(state, iteration, context, problem, frozen, key, *, step, settings, flip, count):
    """`count` iterations of a step from `iteration`, to be called inside `jax.jit`; see `advance`."""

    def body(carry, i):
        return _update(carry, i, context, problem, frozen, key, step=step, settings=settings, flip=flip)

    if count == 1:
        return body(state, iteration)
    state, metrics = jax.lax.scan(body, state, iteration + jnp.arange(count))
    return state, jax.tree.map(lambda m: m[-1], metrics)


@functools.cache
def compiled_with(function, static: tuple[str, ...], platform: str):
    """`function` compiled with its argument `state` donated, except on CPU.

    There XLA copies donated parameters before it overwrites them, which costs more time than the donation saves memory
    (docs/reports/speed.md).
    """
    return jax.jit(function, static_argnames=static, donate_argnames=() if platform == "cpu" else "state")


def _advance(*inputs, **static):
    """`iterate`, compiled."""
    return compiled_with(iterate, ("step", "settings", "flip", "count"), jax.default_backend())(*inputs, **static)


def advance(
    state: TrainState,
    phase: Phase,
    iteration: int,
    context: Step1Cache | ProjectedSamples | None,
    problem: Problem,
    frozen: FrozenModels,
    settings: Settings,
    *,
    count: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Runs `count` iterations from `iteration` in one call; the state is donated (not on CPU).

    More than one is a `lax.scan`: right on GPU and TPU, where launching costs; on CPU a convolution in
    a loop body falls off XLA's fast path, so callers pass 1 there.

    Returns:
      The new state, and the last iteration's scalars (still on the device).
    """
    key = phase_key(problem.key, phase, TRAIN)
    return _advance(
        state,
        jnp.asarray(iteration, jnp.int32),
        context,
        problem,
        frozen,
        key,
        step=phase.step,
        settings=settings,
        flip=phase.flip,
        count=count,
    )


@flax.struct.dataclass
class Reconstruction:
    """What the networks make of the input now; arrays without batch axes, see `factors`."""

    depth: jax.Array
    albedo: jax.Array
    view: jax.Array
    light: jax.Array
    warped_depth: jax.Array
    valid: jax.Array
    reconstruction: jax.Array


def seen(params, problem, frozen, *, settings) -> tuple[jax.Array, ...]:
    """The fields of a `Reconstruction`; to be called inside `jax.jit`."""
    geometry = steps.input_scene(params, problem, frozen, settings, flip=False)
    sheet = mirror(models.albedo(params, problem.image, settings), flip=False)
    recon = appearance(geometry, sheet)
    return (
        geometry.depth[0],
        sheet[0],
        geometry.view[0],
        geometry.light[0],
        geometry.warped[0, 0],
        geometry.valid[0],
        recon[0, 0],
    )


_see = jax.jit(seen, static_argnames="settings")


def bare(problem: Problem) -> Problem:
    """The problem without what looking at it needs not: one program serves images with and without latents or depth."""
    return dataclasses.replace(problem, latent=None, gan_image=None, prior=None, true_depth=None)


def see(state: TrainState, problem: Problem, frozen: FrozenModels, settings: Settings) -> Reconstruction:
    """Runs D, A, V and L on the input and renders the result."""
    return Reconstruction(*_see(state.params, bare(problem), frozen, settings=settings))
