"""A separate encoder for each image: step 2 from scratch, on that image's pseudo-images alone.

An encoder that follows the renderings of all images closely makes the GAN repeat the rendered shape, with its faults.
One that is trained briefly on one image, with offsets that pass through the mapping network, stays closer to what the
GAN draws by itself: its versions of renderings have more of the object's own shape, and less of the rotation that was
asked for (docs/reports/lift.md).
"""

from __future__ import annotations

import dataclasses

import jax

from gan2shape_jax.method import iteration, models
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.optimizer import fresh_optimizer
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.method.state import Problem, ProjectedSamples, TrainState
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.step3 import STEP3

__all__ = ["projected", "wanted"]

# These phases are numbered from here on, beyond those of any schedule, so that no random draw is repeated.
_PHASES = 1 << 18


def wanted(phase: Phase, settings: Settings) -> bool:
    """Whether a phase's samples are projected by a separate encoder for each image: in step 3 without an anchor."""
    return phase.step == STEP3.name and settings.own_encoder_iterations > 0


def projected(
    state: TrainState, phase: Phase, problem: Problem, frozen: FrozenModels, settings: Settings
) -> ProjectedSamples:
    """Returns projected samples of an image from an encoder of its own; not to be called inside `jax.jit`.

    Args:
      state: networks, and the image's factors.
      phase: the phase that the samples are for.
      problem: the image; its key determines the encoder's initial weights.
      frozen: the frozen networks.
      settings: of the method; step 2 runs for `own_encoder_iterations` at `encoder_learning_rate`.
    """
    own = changed(settings, regularize_offset=True, learning_rate=settings.encoder_learning_rate)
    lesson = Phase(_PHASES + phase.number, phase.stage, STEP2.name, settings.own_encoder_iterations, flip=False)
    fresh = models.init_params(jax.random.fold_in(problem.key, lesson.number), own)["encoder"]
    alone = dataclasses.replace(state, params=state.params | {"encoder": fresh})
    alone = fresh_optimizer(alone, STEP2.networks, own)
    for number in range(lesson.iterations):
        alone, _ = iteration.advance(alone, lesson, number, None, problem, frozen, own)
    samples: ProjectedSamples = iteration.phase_constants(alone, phase, problem, frozen, own)
    return samples
