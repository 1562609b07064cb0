"""Joint training: one set of networks for many images, another image every iteration.

The train steps are those of one image (`steps`), each iteration with the next image's `Problem`. What
differs is what is kept between them: at the end of step 1 the factors of all images, with a leading axis n
in `TrainState.factors`, and in step 3 the projected samples of each image, on the host. Both the factors and
the encoder that the samples come from are in the checkpoint, so a resumed step 3 collects the same samples.

Source: GAN2Shape, section 4.1 ("joint training"), and its published code.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gan2shape_jax.errors import UserError
from gan2shape_jax.method import models, phases, steps
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.phases import Phase
from gan2shape_jax.method.reconstruction import canonical_mask
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, ProjectedSamples, TrainState
from gan2shape_jax.method.steps import Step1Cache
from gan2shape_jax.training.tasks import OneSet, scores

__all__ = ["ManyImages", "Plan", "gather", "image_order", "require_enough", "sample_choices"]

# Steps that move the depth: in the others the errors stay what they were.
_MOVES_DEPTH = ("prior", "step3")


@functools.partial(jax.jit, static_argnames=("epochs", "count"))
def _permutations(key, *, epochs: int, count: int):
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(epochs))
    return jax.vmap(lambda k: jax.random.permutation(k, count))(keys)


def image_order(key: jax.Array, iterations: int, count: int) -> Int[np.ndarray, " iterations"]:
    """Which of `count` images each iteration of a phase sees: epochs, each shuffled anew."""
    epochs = -(-iterations // count)
    return np.asarray(_permutations(key, epochs=epochs, count=count)).reshape(-1)[:iterations]


@functools.partial(jax.jit, static_argnames=("count", "batch_size"))
def sample_choices(
    keys: jax.Array, iterations: jax.Array, *, count: int, batch_size: int
) -> Int[jax.Array, "iterations batch"]:
    """Which of an image's `count` kept samples each iteration sees: distinct ones, drawn afresh every time.

    Args:
      keys: (iterations,), of the image that the iteration sees.
      iterations: (iterations,), their numbers.
    """

    def choose(key, iteration):
        return jax.random.permutation(jax.random.fold_in(key, iteration), count)[:batch_size]

    return jax.vmap(choose)(keys, iterations)


@functools.partial(jax.jit, static_argnames="settings")
def _input_factors(params, problem: Problem, frozen: FrozenModels, *, settings: Settings) -> Factors:
    geometry = steps.input_scene(params, problem, frozen, settings, flip=False)
    depth, view = geometry.depth[0], geometry.view[0]
    mask = canonical_mask(problem.mask, depth, view, settings) if settings.use_mask else jnp.ones_like(problem.mask)
    return Factors(
        depth=depth,
        albedo=models.albedo(params, problem.image, settings)[0],
        view=view,
        light=geometry.light[0],
        mask=mask,
    )


@jax.jit
def _item(factors: Factors, index) -> Factors:
    return jax.tree.map(lambda x: x[index], factors)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A phase's course: the image of every iteration, and what belongs to the images or iterations.

    Attributes:
      order: (iterations,), numbers of images.
      scenes: of step 1, filled as images come up (only the albedo moves, so one is enough an image); on the host.
      samples: of step 3, one entry an image, on the host.
      choices: (iterations, batch), which of the image's samples step 3 sees.
      keys: (images,), for what is drawn in training; where several images share an iteration (`joint_parallel`).
    """

    order: np.ndarray
    scenes: dict[int, Step1Cache] = dataclasses.field(default_factory=dict)
    samples: tuple[ProjectedSamples, ...] = ()
    choices: np.ndarray | None = None
    keys: Any = None

    def batch(self, iteration: int) -> ProjectedSamples:
        assert self.choices is not None
        chosen = self.choices[iteration]
        return jax.tree.map(lambda kept: kept[chosen], self.samples[self.order[iteration]])


@dataclasses.dataclass(frozen=True)
class ManyImages(OneSet):
    """The task of joint training; see `tasks.Task`.

    Attributes:
      names, problems: of the images.
      frozen: the frozen networks.
      settings: of all images; its `collect_iters` is 1, since a step sees one batch of samples at a time.
      key: for the order of images.
      batches: of projected samples kept for each image.
      reference: True repeats the published code: in step 2 every image is lit with the last image's ambient and
        diffuse strength, and the prior is fitted to the first image only.
    """

    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    frozen: FrozenModels
    settings: Settings
    key: jax.Array
    batches: int
    reference: bool

    @property
    def window(self) -> int:
        return len(self.problems)

    def initial(self, params: models.Params) -> TrainState:
        own = jax.tree.map(jnp.array, params)
        state = state_lib.initial_state(own, self.settings)
        every = jax.tree.map(lambda x: jnp.stack([x] * len(self.problems)), state.factors)
        return dataclasses.replace(state, factors=every)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        if phase.step == "step2":
            state = dataclasses.replace(state, factors=self._factors(state))
        return state_lib.fresh_optimizer(state, phase.step, self.settings)

    def _factors(self, state: TrainState) -> Factors:
        """Every image's factors at the end of step 1, stacked."""
        found = [
            _input_factors(state.params, problem, self.frozen, settings=self.settings) for problem in self.problems
        ]
        every = jax.tree.map(lambda *x: jnp.stack(x), *found)
        if self.reference:
            every = dataclasses.replace(every, light=every.light.at[:, :2].set(every.light[-1, :2]))
        return every

    def order(self, phase: Phase) -> np.ndarray:
        """Which image each iteration sees."""
        if phase.step == "prior" and self.reference:
            return np.zeros(phase.iterations, np.int32)
        return image_order(phases.phase_key(self.key, phase, phases.CHOOSE), phase.iterations, len(self.problems))

    def phase_constants(self, state: TrainState, phase: Phase) -> Plan:
        order = self.order(phase)
        if phase.step != "step3":
            return Plan(order)
        keys = jnp.stack([phases.phase_key(p.key, phase, phases.CHOOSE) for p in self.problems])[order]
        choices = sample_choices(
            keys,
            jnp.arange(len(order)),
            count=self.batches * self.settings.batch_size,
            batch_size=self.settings.batch_size,
        )
        return Plan(order, samples=self._samples(state, phase), choices=np.asarray(choices))

    def _samples(self, state: TrainState, phase: Phase) -> tuple[ProjectedSamples, ...]:
        collecting = dataclasses.replace(self.settings, collect_iters=self.batches)
        kept = []
        for index, problem in enumerate(self.problems):
            single = dataclasses.replace(state, factors=_item(state.factors, index))
            kept.append(jax.device_get(phases.phase_constants(single, phase, problem, self.frozen, collecting)))
        return tuple(kept)

    def context(
        self, state: TrainState, phase: Phase, iteration: int, plan: Plan
    ) -> Step1Cache | ProjectedSamples | None:
        """What an iteration sees besides the problem and the factors of its image."""
        if phase.step == "step3":
            return plan.batch(iteration)
        if phase.step != "step1":
            return None
        index = int(plan.order[iteration])
        if index not in plan.scenes:
            found = phases.phase_constants(state, phase, self.problems[index], self.frozen, self.settings)
            assert isinstance(found, Step1Cache)
            # The features would be megabytes to move in every iteration: more than to compute them again.
            plan.scenes[index] = jax.device_get(dataclasses.replace(found, wanted=None))
        return plan.scenes[index]

    def advance(self, state, phase, iteration, context, count):
        assert count == 1  # the next iteration has another image
        index = int(context.order[iteration])
        single = dataclasses.replace(state, factors=_item(state.factors, index))
        moved, scalars = phases.advance(
            single,
            phase,
            iteration,
            self.context(state, phase, iteration, context),
            self.problems[index],
            self.frozen,
            self.settings,
        )
        return dataclasses.replace(moved, factors=state.factors), scalars

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[phases.Reconstruction | None, dict[str, Any]]:
        """The first image's view; mean errors over all images, and each image's under `images`."""
        ended = phase is not None and done == phase.iterations
        if phase is not None and not ended and phase.step not in _MOVES_DEPTH:
            return None, {}
        first = phases.see(state, self.problems[0], self.frozen, self.settings) if ended else None
        if self.problems[0].true_depth is None:
            return first, {}
        each = {
            name: scores(phases.see(state, problem, self.frozen, self.settings), problem, self.settings)
            for name, problem in zip(self.names, self.problems, strict=True)
        }
        means = {key: float(np.mean([found[key] for found in each.values()])) for key in each[self.names[0]]}
        return first, means | {"images": each}


def require_enough(images: int, collect_iters: int) -> None:
    """Raises `UserError` where there are too few images, or too few batches of samples for them."""
    if images < 2:
        raise UserError(
            f"joint training needs at least two images, the list has {images}: "
            "reconstruct one image with config.mode='instance' and config.schedule.joint=False"
        )
    if collect_iters < images:
        raise UserError(
            f"config.sampling.collect_iters is {collect_iters}, but each of the {images} images needs "
            f"a batch of samples: give at least {images}"
        )


def gather(
    group: list[PreparedImage], frozen: FrozenModels, *, seed: int, collect_iters: int, reference: bool
) -> ManyImages:
    """The task of training on these images together.

    Args:
      group: the images, in the list's order.
      frozen: the frozen networks.
      seed: of the run.
      collect_iters: batches of samples for all images together; each image gets an equal whole number of them.
      reference: whether to repeat the published code's faults.

    Raises:
      UserError: fewer than two images, fewer batches than images, or images that cannot share a program.
    """
    require_enough(len(group), collect_iters)
    first = group[0].settings
    odd = [one.name for one in group if one.settings != first]
    if odd:
        raise UserError(
            f"joint training with config.data.crop needs images of one size: {group[0].name} has "
            f"{first.original_size} pixels, {', '.join(odd[:8])} another size; resize them"
        )
    return ManyImages(
        names=tuple(one.name for one in group),
        problems=tuple(one.problem for one in group),
        frozen=frozen,
        settings=dataclasses.replace(first, collect_iters=1),
        key=jax.random.key(seed),
        batches=collect_iters // len(group),
        reference=reference,
    )
