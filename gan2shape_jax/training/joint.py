"""Joint training: one set of networks for many images, a different image in every iteration.

The train steps are those of one image (`method.steps`), each iteration with the next image's `Problem`. The difference
lies in what is kept between them: at the end of step 1 the factors of all images, with a leading axis n in
`TrainState.factors`, and in step 3 the projected samples of each image, on the host. Both the factors and the encoder
that the samples come from are in the checkpoint, so a resumed step 3 collects the same samples.

Source: GAN2Shape, section 4.1 ("joint training"), and its published code.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import UserError
from gan2shape_jax.lift.kept_samples import NOWHERE, KeptSamples
from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, own_encoder, reconstruction, sampling
from gan2shape_jax.method import state as state_lib
from gan2shape_jax.method.factors import Factors
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.prior_step import PRIOR_STEP
from gan2shape_jax.method.reconstruction import Reconstruction, canonical_mask
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import PreparedImage, Problem, ProjectedSamples, TrainState
from gan2shape_jax.method.step1 import Step1Cache
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.steps import STEPS
from gan2shape_jax.training.joint_plan import Plan, image_order, sample_choices
from gan2shape_jax.training.tasks import OneSet, scores

__all__ = ["ManyImages", "gather", "require_enough", "require_one_size"]


@jax.jit
def _input_factors(params, problem: Problem, frozen: FrozenModels, *, settings: Settings) -> Factors:
    geometry = reconstruction.input_scene(params, problem, frozen, settings, flip=False)
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


def _tell_nobody(done: int, count: int) -> None:
    del done, count


@dataclasses.dataclass(frozen=True)
class ManyImages(OneSet):
    """The task of joint training; see `tasks.Task`.

    Attributes:
      names, problems: the images' names and problems.
      frozen: the frozen networks.
      settings: the settings, shared by all images; `collect_iters` is 1, since a step sees one batch of samples at a
        time.
      key: the random key for the order of images.
      batches: the number of batches of projected samples kept for each image.
      reference: True reproduces the published code: in step 2 every image is lit with the last image's ambient and
        diffuse strength, and the prior is fitted to the first image only.
      on_collected: called as samples are projected, with the number of images done and the total number of images.
      kept_samples: stores samples projected by per-image encoders until the phase is over.
    """

    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    frozen: FrozenModels
    settings: Settings
    key: jax.Array
    batches: int
    reference: bool
    on_collected: Callable[[int, int], None] = dataclasses.field(default=_tell_nobody, kw_only=True)
    kept_samples: KeptSamples = dataclasses.field(default=NOWHERE, kw_only=True)

    @property
    def window(self) -> int:
        """See `tasks.Task`."""
        return len(self.problems)

    def initial(self, params: models.Params) -> TrainState:
        """See `tasks.Task`."""
        own = jax.tree.map(jnp.array, params)
        state = state_lib.initial_state(own, self.settings)
        every = jax.tree.map(lambda x: jnp.stack([x] * len(self.problems)), state.factors)
        return dataclasses.replace(state, factors=every)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `tasks.Task`."""
        if phase.step == STEP2.name:
            state = dataclasses.replace(state, factors=self._factors(state))
        return self.fresh_optimizer(state, phase.step)

    def _factors(self, state: TrainState) -> Factors:
        """Returns every image's factors at the end of step 1, stacked."""
        each = [_input_factors(state.params, one, self.frozen, settings=self.settings) for one in self.problems]
        every = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        if self.reference:
            every = dataclasses.replace(every, light=every.light.at[:, :2].set(every.light[-1, :2]))
        return every

    def order(self, phase: Phase) -> np.ndarray:
        """Returns the index of the image that each iteration sees."""
        if phase.step == PRIOR_STEP.name and self.reference:
            return np.zeros(phase.iterations, np.int32)
        return image_order(
            sampling.phase_key(self.key, phase.number, sampling.CHOOSE), phase.iterations, len(self.problems)
        )

    def phase_constants(self, state: TrainState, phase: Phase) -> Plan:
        """See `tasks.Task`."""
        order, step = self.order(phase), STEPS[phase.step]
        if step.cache is None:
            return Plan(order)
        if step.collect is None:
            return Plan(order, caches={index: self._cache(state, phase, index) for index in set(order.tolist())})
        keys = jnp.stack([sampling.phase_key(p.key, phase.number, sampling.CHOOSE) for p in self.problems])[order]
        choices = sample_choices(
            keys,
            jnp.arange(len(order)),
            count=self.batches * self.settings.batch_size,
            batch_size=self.settings.batch_size,
        )
        return Plan(order, samples=self._samples(state, phase), choices=np.asarray(choices))

    def _cache(self, state: TrainState, phase: Phase, index: int) -> Step1Cache:
        cache = iteration_lib.phase_constants(state, phase, self.problems[index], self.frozen, self.settings)
        # Moving megabytes of features in every iteration would cost more than recomputing them.
        return jax.device_get(dataclasses.replace(cache, features=None))

    def _samples(self, state: TrainState, phase: Phase) -> tuple[ProjectedSamples, ...]:
        collecting = dataclasses.replace(self.settings, collect_iters=self.batches)
        self.kept_samples.forget_all_but(phase.number)
        kept = []
        for index, problem in enumerate(self.problems):
            single = dataclasses.replace(state, factors=_item(state.factors, index))
            given = (single, phase, problem, self.frozen, collecting)
            if own_encoder.wanted(phase, collecting):
                make = functools.partial(own_encoder.projected, *given)
                samples = self.kept_samples.of(self.names[index], phase.number, state, collecting.sample_count, make)
            else:
                samples = iteration_lib.phase_constants(*given)
            kept.append(jax.device_get(samples))
            self.on_collected(len(kept), len(self.problems))
        return tuple(kept)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Plan, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `tasks.Task`."""
        assert count == 1  # the next iteration sees another image
        index = int(constants.order[iteration])
        single = dataclasses.replace(state, factors=_item(state.factors, index))
        moved, scalars = iteration_lib.advance(
            single,
            phase,
            iteration,
            constants.constants(iteration),
            self.problems[index],
            self.frozen,
            self.settings,
        )
        return dataclasses.replace(moved, factors=state.factors), scalars

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[Reconstruction | None, dict[str, Any]]:
        """Returns the first image's reconstruction, and mean errors with each image's own under `images`."""
        ended = phase is not None and done == phase.iterations
        if phase is not None and not ended and "depth" not in STEPS[phase.step].networks:
            return None, {}  # errors have not changed
        first = reconstruction.see(state, self.problems[0], self.frozen, self.settings) if ended else None
        if self.problems[0].true_depth is None:
            return first, {}
        each = {
            name: scores(reconstruction.see(state, problem, self.frozen, self.settings), problem, self.settings)
            for name, problem in zip(self.names, self.problems, strict=True)
        }
        means = {key: float(np.mean([row[key] for row in each.values()])) for key in each[self.names[0]]}
        return first, means | {"images": each}


def require_enough(images: int, collect_iters: int) -> None:
    """Raises `UserError` if there are too few images, or too few batches of samples for them."""
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


def require_one_size(sides: Mapping[str, int]) -> None:
    """Raises `UserError` where images that are cropped have sides, in pixels, of different lengths.

    Args:
      sides: of the images before cropping, by their names; all alike where nothing is cropped (see `Settings`).
    """
    (name, side), *others = sides.items()
    odd = [other for other, its_side in others if its_side != side]
    if odd:
        raise UserError(
            f"joint training with config.data.crop needs images of one size: {name} has "
            f"{side} pixels, {', '.join(odd[:8])} another size; resize them"
        )


def gather(
    group: list[PreparedImage], frozen: FrozenModels, *, seed: int, collect_iters: int, reference: bool
) -> ManyImages:
    """Returns the task of training on these images together.

    Args:
      group: the images, in the list's order.
      frozen: the frozen networks.
      seed: the run's seed.
      collect_iters: total batches of samples for all images; each image gets the same whole number of them.
      reference: whether to reproduce the published code's faults.

    Raises:
      UserError: fewer than two images, fewer batches than images, or images that cannot share a program.
    """
    require_enough(len(group), collect_iters)
    require_one_size({one.name: one.settings.original_size for one in group})
    first = group[0].settings
    return ManyImages(
        names=tuple(one.name for one in group),
        problems=tuple(one.problem for one in group),
        frozen=frozen,
        settings=dataclasses.replace(first, collect_iters=1),
        key=jax.random.key(seed),
        batches=collect_iters // len(group),
        reference=reference,
    )
