"""Lifting a GAN to 3D: joint training on its own samples, with new ones in every stage.

A stage is joint training (`joint_parallel`) on `images` samples that no other stage sees; each stage ends with the
moving average of the networks over its iterations, and the next continues from there. Only one stage's samples are in
memory, and they are determined by the key, so a resumed run sees the same ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan2shape_jax.errors import DivergedError
from gan2shape_jax.lift.gan_samples import SampleMaker
from gan2shape_jax.lift.kept_samples import NOWHERE, KeptSamples
from gan2shape_jax.method import losses, models, reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.reconstruction import Reconstruction
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.method.state import PreparedImage, Problem, TrainState
from gan2shape_jax.method.step3 import STEP3
from gan2shape_jax.method.steps import STEPS
from gan2shape_jax.training import data_parallel
from gan2shape_jax.training.joint import ManyImages, gather
from gan2shape_jax.training.joint_parallel import spread_out
from gan2shape_jax.training.tasks import OneSet

# Steps in which the moving average of the networks is kept.
_AVERAGED = ("inversion", "step2", "anchored", "step3")
# Steps that are checked for a collapse: those that train depth.
_JUDGED = ("anchored", "step3")
# Networks that a step with per-sample encoders (`own_encoder`) trains but does not keep: samples projected by such
# encoders turn less than requested, and so would all views.
_NOT_KEPT = ("view",)

__all__ = ["SHOWN", "Lift", "collapse", "signs_of", "stages_of"]

# Maximum number of held-out samples that are shown.
SHOWN = 8

# Thresholds for detecting a collapse: networks that explain faces have a roughness of 0.01 to 0.02 and turn heads by a
# third of the range; the collapse seen in early lifting had stripes and a saturation of 0.95 (docs/reports/lift.md).
_ROUGHEST = 0.06
_MOST_TURNED = 0.9
# Iterations that a step that trains depth runs before it is checked.
_SETTLED = 100


def stages_of(
    maker: SampleMaker,
    *,
    images: int,
    first: int,
    batches: int,
    replicas: int,
    seed: int,
    first_learning_rate: float,
    encoder_learning_rate: float,
    on_collected: Callable[[int, int], None] = lambda done, count: None,
    kept_samples: KeptSamples = NOWHERE,
) -> Callable[..., ManyImages]:
    """Returns a function that maps a stage's number, from 1, and a step's name to a task; caches the latest stage's.

    Args:
      maker: draws the samples.
      images: the number of samples per stage.
      first: the number of the first stage's first sample.
      batches: the number of batches of projected samples for each image.
      replicas: the number of images that share an iteration.
      seed: the seed for the order of images.
      first_learning_rate: the learning rate of the first stage and whatever precedes it; later stages use that of the
        settings.
      encoder_learning_rate: the learning rate of steps that train only the encoder.
      on_collected: see `ManyImages`.
      kept_samples: see `ManyImages`.
    """

    @functools.lru_cache(maxsize=1)
    def trained(number: int) -> ManyImages:
        begin = first + (number - 1) * images
        group = maker.problems(range(begin, begin + images))
        task = gather(group, maker.frozen, seed=seed, collect_iters=batches * images, reference=False)
        if number == 1:
            slower = changed(task.settings, learning_rate=first_learning_rate)
            task = dataclasses.replace(task, settings=slower)
        task = dataclasses.replace(task, on_collected=on_collected, kept_samples=kept_samples)
        return spread_out(task, replicas, independent=True)

    @functools.lru_cache(maxsize=1)
    def encoded(number: int) -> ManyImages:
        task = trained(number)
        quicker = changed(task.settings, learning_rate=encoder_learning_rate)
        return dataclasses.replace(task, settings=quicker)

    def stage(number: int, step: str = "") -> ManyImages:
        alone = step in STEPS and STEPS[step].networks == ("encoder",)
        return encoded(number) if alone else trained(number)

    return stage


@dataclasses.dataclass(frozen=True)
class Lift(OneSet):
    """The task of lifting; see `tasks.Task`.

    Attributes:
      stage: maps a stage's number and a step's name to its task.
      kept_out: held-out samples, never trained on, which are examined during training.
      frozen: the frozen networks.
      settings: the settings, shared by all samples.
      window: how many of the latest iterations are averaged for the logged losses.
      decay: the decay, in [0, 1), of the moving average of the networks with which the inversion, step 2 and step 3,
        anchored or not, end; 0 keeps the latest networks. With per-sample encoders, the view network ends step 3 as it
        began.
    """

    stage: Callable[..., ManyImages]
    kept_out: tuple[PreparedImage, ...]
    frozen: FrozenModels
    settings: Settings
    window: int
    decay: float = 0.0

    def _of(self, phase: Phase) -> ManyImages:
        return self.stage(max(phase.stage, 1), phase.step)  # the prior is fitted to the first stage's samples

    def initial(self, params: models.Params) -> TrainState:
        """See `tasks.Task`."""
        return self.stage(1).initial(params)

    def restored(self, state: TrainState) -> TrainState:
        """See `tasks.Task`."""
        return self.stage(1).restored(state)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `tasks.Task`."""
        alone = dataclasses.replace(state, average=())
        return self._averaging(self._of(phase).begin(alone, phase), phase.step)

    def fresh_optimizer(self, state: TrainState, step: str) -> TrainState:
        """See `tasks.Task`."""
        return self._averaging(self.stage(1).fresh_optimizer(state, step), step)

    def _not_kept(self, step: str) -> tuple[str, ...]:
        """Returns the names of the networks that a step restores to their initial values at its end."""
        return _NOT_KEPT if step == STEP3.name and self.settings.own_encoder_iterations else ()

    def _averaging(self, state: TrainState, step: str) -> TrainState:
        """Returns the state with the initial average of a step: the current networks, in steps that average."""
        averages = (self.decay > 0 and step in _AVERAGED) or self._not_kept(step)
        return dataclasses.replace(state, average=jax.tree.map(jnp.array, state.params) if averages else ())

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `tasks.Task`."""
        return self._of(phase).phase_constants(state, phase)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `tasks.Task`."""
        average = state.average
        state, scalars = self._of(phase).advance(
            dataclasses.replace(state, average=()), phase, iteration, constants, count
        )
        if average == ():
            return state, scalars
        held = {name: average[name] for name in self._not_kept(phase.step)}
        held = jax.tree.map(jnp.array, held)  # the average is donated
        average = _moved(average, state.params, jnp.float32(iteration), jnp.float32(self.decay)) | held
        ended = iteration + count == phase.iterations
        params = jax.tree.map(jnp.array, average) if ended else state.params  # buffers of its own: they are donated
        return dataclasses.replace(state, params=params, average=average), scalars

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[Reconstruction | None, dict[str, Any]]:
        """Returns up to `SHOWN` reconstructions at a phase's end, else None; means of `signs_of` over held-out samples.

        The reconstructions have a leading axis. Raises `DivergedError` if the networks have collapsed.
        """
        ended = phase is None or done == phase.iterations
        if phase is not None and not ended and "depth" not in STEPS[phase.step].networks:
            return None, {}
        alone = data_parallel.on_host(state)
        if alone.average != ():
            alone = dataclasses.replace(alone, params=alone.average, average=())
        seen = [reconstruction.see(alone, one.problem, self.frozen, self.settings) for one in self.kept_out]
        signs = [
            _signs(view, one.problem, settings=self.settings) for view, one in zip(seen, self.kept_out, strict=True)
        ]
        rows = jax.device_get(signs)
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if phase is not None and phase.step in _JUDGED and done >= _SETTLED:
            self._require_whole(means, phase, done)
        return (jax.tree.map(lambda *x: jnp.stack(x), *seen[:SHOWN]) if ended else None), means

    def _require_whole(self, means: dict[str, float], phase: Phase, done: int) -> None:
        """Raises `DivergedError` if the results on the held-out samples show a collapse."""
        faults = collapse(means, self._flat_l1)
        if faults:
            raise DivergedError(f"the networks have collapsed in {phase.label}, iteration {done}: {'; '.join(faults)}")

    @functools.cached_property
    def _flat_l1(self) -> float:
        """The held-out samples' mean distance from their mean image: networks that ignore their input do no better."""
        images = np.stack([np.asarray(one.problem.image[0]) for one in self.kept_out])
        return float(np.abs(images - images.mean(0)).mean())


def collapse(means: dict[str, float], flat_l1: float) -> list[str]:
    """Returns descriptions of what is wrong with networks, judging by the means of `signs_of`; [] if nothing is.

    Args:
      means: the mean of each sign over samples.
      flat_l1: mean absolute distance of the samples from their mean image.
    """
    faults = []
    if not all(np.isfinite(value) for value in means.values()):
        return ["what they give is not finite"]
    if means["roughness"] > _ROUGHEST:
        faults.append(f"depth is in stripes (roughness {means['roughness']:.3f}, more than {_ROUGHEST})")
    if means["saturation"] > _MOST_TURNED:
        faults.append(f"all views are turned as far as they can be ({means['saturation']:.2f} of the range on average)")
    if means["kept_out_l1"] > flat_l1 > 0:
        faults.append(
            f"samples that were kept out are explained worse (L1 {means['kept_out_l1']:.3f}) than by their mean image "
            f"({flat_l1:.3f})"
        )
    return faults


def signs_of(view: Reconstruction, problem: Problem, *, settings: Settings) -> dict[str, jax.Array]:
    """Returns measures that tell, without ground truth, whether networks explain an image or have collapsed.

    Args:
      view: the networks' reconstruction of the image.
      problem: the image.
      settings: of the method.

    Returns:
      `kept_out_l1`, the mean absolute difference between reconstruction and image where the sheet is visible;
      `roughness`, the mean absolute second difference of depth, divided by the depth range; `saturation`, the largest
      rotation as a fraction of the maximum; `relief`, the standard deviation of depth, divided by the depth range.
    """
    span = settings.camera.max_depth - settings.camera.min_depth
    turn = jnp.max(jnp.abs(view.view[:3])) / jnp.deg2rad(settings.view_range.rotation_deg)
    inner = view.depth[:, 2:-2]  # without the border columns, which are fixed
    return {
        "kept_out_l1": losses.photometric(view.reconstruction, problem.image[0], view.valid),
        "roughness": losses.smoothness(inner) / span,
        "saturation": turn,
        "relief": jnp.std(inner) / span,
    }


@functools.partial(jax.jit, donate_argnums=0)
def _moved(average: models.Params, params: models.Params, iteration: jax.Array, decay: jax.Array) -> models.Params:
    """Returns the average updated with one iteration's networks; early iterations weigh more, for a quick warm-up."""
    kept = jnp.minimum(decay, (1 + iteration) / (10 + iteration))
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, params)


_signs = jax.jit(signs_of)
