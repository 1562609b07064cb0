"""Lifting a GAN to 3D: joint training on its own samples, with new ones in every stage.

A stage is joint training (`training.task.Shared`) on `images` samples that no other stage sees; each stage ends with
the moving average of the networks over its iterations, and the next continues from there. Only one stage's samples are
in memory, and they are determined by the key, so a resumed run sees the same ones.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gan2shape_jax.errors import DivergedError, UserError
from gan2shape_jax.io.categories import category_of
from gan2shape_jax.lift import steps
from gan2shape_jax.lift.samples import SampleMaker
from gan2shape_jax.method import losses, models, prior, reconstruction
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pose_edit import LatentPoseEdit
from gan2shape_jax.method.prior import PRIOR_STEP
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings, changed
from gan2shape_jax.method.state import Context, Example, PreparedImage, ProjectedSamples, TrainState
from gan2shape_jax.method.step2 import STEP2
from gan2shape_jax.method.streams import Stream, generator_of, key_of
from gan2shape_jax.training import devices
from gan2shape_jax.training.shared import Shared, shared
from gan2shape_jax.training.task import OneImage, means

SHOWN = 8  # maximum number of held-out samples that are shown

# Steps in which the moving average of the networks is kept, and those that train depth: checked for a collapse.
_JUDGED = (steps.ANCHORED_STEP.name, steps.FROZEN_VIEW_STEP.name)
_AVERAGED = (steps.INVERSION_STEP.name, STEP2.name, *_JUDGED)
# Thresholds for detecting a collapse: networks that explain faces have a roughness of 0.01 to 0.02 and turn heads by a
# third of the range; the collapse seen in early lifting had stripes and a saturation of 0.95 (docs/reports/lift.md).
_ROUGHEST = 0.06
_MOST_TURNED = 0.9
_OUTLINED = 2000  # samples whose outlines log how far they are turned
# Iterations that a step that trains depth runs before it is checked.
_SETTLED = 100


def _at_rate(task: Shared, learning_rate: float) -> Shared:
    return dataclasses.replace(task, settings=changed(task.settings, learning_rate=learning_rate))


def _project(edit: LatentPoseEdit | None, state: TrainState, phase: Phase, context: Context) -> ProjectedSamples:
    """Returns an image's projected samples, see `Shared.project`.

    Without an anchor, they are the GAN's own turned pictures, or come from an encoder of the image's own; else they are
    improved by a search.
    """
    if phase.step == steps.ANCHORED_STEP.name:
        return steps.improved(state.params, OneImage(context).phase_constants(state, phase), context)
    if edit is None:
        return steps.projected_by_own_encoder(state, phase, context)
    turned = dataclasses.replace(context, frozen=dataclasses.replace(context.frozen, pose_edit=edit))
    samples: ProjectedSamples = OneImage(turned).phase_constants(state, phase)
    return samples


@dataclasses.dataclass(frozen=True)
class Lift:
    """The task of lifting; see `training.task.Task`.

    In the inversion, step 2 and step 3, anchored or not, the networks' moving average is kept, and they end with it;
    `config.lift.average` is its decay, in [0, 1), and 0 keeps the latest networks.
    """

    config: ConfigDict
    maker: SampleMaker  # draws the samples: those to train on, and those held out, which are examined during training
    replicas: int  # the number of images that share an iteration, at most a stage's samples
    pose_edit: LatentPoseEdit | None = None  # how the GAN turns what it draws, for steps 3 without an anchor
    # How many times training has gone back to an earlier checkpoint; each time halves the learning rates and changes
    # the order of the samples.
    returns: int = 0
    # Called while a stage's samples are projected, with the number of images done and the total number.
    on_collected: Callable[[int, int], None] = lambda done, count: None
    log: Callable[[str], None] = lambda line: None  # called before work that takes minutes
    _latest: dict[int, tuple[Shared, Shared]] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.replicas > (count := self.config.lift.samples):
            raise UserError(
                f"{self.replicas} images share an iteration, but a stage has {count} samples "
                "(config.lift.samples): use more samples, or lower config.schedule.batches_per_iteration"
            )

    @functools.cached_property
    def settings(self) -> Settings:
        """See `task.Task`."""
        return self._maker.settings

    @property
    def window(self) -> int:
        """See `task.Task`."""
        return -(-self.config.lift.samples // self.replicas)

    @functools.cached_property
    def held_out(self) -> list[PreparedImage]:
        """Held-out samples, never trained on, which are examined during training."""
        return self._maker.examples(Stream.HELD_OUT_SAMPLE, range(self.config.lift.held_out))

    @functools.cached_property
    def _maker(self) -> SampleMaker:
        settings = self.maker.settings
        slower = changed(settings, learning_rate=settings.learning_rate * 0.5**self.returns)
        return dataclasses.replace(self.maker, settings=slower)

    def stage(self, number: int, phase: Phase | None = None) -> Shared:
        """Returns the task of a stage, from 1, in a phase; keeps the latest stage's."""
        chosen, slower = self.config.lift, 0.5**self.returns
        if number not in self._latest:
            self._latest.clear()  # first, to free its samples
            begin = (number - 1) * chosen.samples
            task = shared(
                self._maker.examples(Stream.TRAINED_SAMPLE, range(begin, begin + chosen.samples)),
                self.maker.frozen,
                key=key_of(self.maker.key, Stream.RETURN, self.returns),
                collect_iters=chosen.batches * chosen.samples,
                replicas=self.replicas,
                on_collected=self.on_collected,
                project=functools.partial(_project, self.pose_edit),
            )
            first = _at_rate(task, chosen.first_learning_rate * slower) if number == 1 else task
            self._latest[number] = first, _at_rate(task, chosen.encoder_learning_rate * slower)
        return self._latest[number][phase is not None and phase.kind.networks == ("encoder",)]

    def _of(self, phase: Phase) -> Shared:
        return self.stage(max(phase.stage, 1), phase)  # the prior is fitted to the first stage's samples

    def initial(self, params: models.Params) -> TrainState:
        """See `task.Task`."""
        return self.stage(1).initial(params)

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `task.Task`; with a cuboid as the prior, V is taught before it is fitted."""
        if phase.step == PRIOR_STEP.name and self.config.prior.shape == "cuboid":
            state = self.initial(self._taught_yaws(devices.on_host(state.params, self._mesh)))
        return self._averaging(self._of(phase).begin(dataclasses.replace(state, average=()), phase), phase)

    def _taught_yaws(self, params: models.Params) -> models.Params:
        """Returns networks whose V sees samples turned as the widths of their outlines say."""
        self.log(f"V is taught yaw by the outlines of {_OUTLINED} samples")
        maker, config = self._maker, self.config
        images, _ = maker.images(Stream.OUTLINED_SAMPLE, range(_OUTLINED))
        masks = np.stack([maker.mask_of(image) for image in images])
        farthest = category_of(config.category).max_yaw_deg
        yaws = prior.outline_yaws(masks, config.prior.cuboid, farthest=farthest)
        order = generator_of(maker.key, Stream.OUTLINED_ORDER)
        return prior.taught_yaws(params, images, yaws, maker.frozen.view_mean, self.settings, rng=order)

    @property
    def _mesh(self) -> jax.sharding.Mesh:
        return devices.mesh_of(self.replicas, jax.devices())

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """See `task.Task`."""
        return self._averaging(self.stage(1).fresh_optimizer(state, phase), phase)

    def _averaging(self, state: TrainState, phase: Phase) -> TrainState:
        """Returns the state with a phase's initial average: the current networks, in steps that average."""
        averages = phase.step in _AVERAGED
        return dataclasses.replace(state, average=jax.tree.map(jnp.array, state.params) if averages else ())

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `task.Task`."""
        return self._of(phase).phase_constants(state, phase)

    averages = staticmethod(means)  # see `training.task.Task`

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `task.Task`."""
        average = state.average
        alone = dataclasses.replace(state, average=())
        state, scalars = self._of(phase).advance(alone, phase, iteration, constants, count)
        if average == ():
            return state, scalars
        average = ema_update(average, state.params, jnp.float32(iteration), jnp.float32(self.config.lift.average))
        ended = iteration + count == phase.iterations
        params = jax.tree.map(jnp.array, average) if ended else state.params  # buffers of its own: they are donated
        return dataclasses.replace(state, params=params, average=average), scalars

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[reconstruction.Prediction | None, dict[str, Any]]:
        """Returns up to `SHOWN` reconstructions at a phase's end, else None; means of `signs_of` over held-out samples.

        The reconstructions have a leading axis. Raises `DivergedError` if the networks have collapsed.
        """
        ended = phase is None or done == phase.iterations
        if phase is not None and not ended and "depth" not in phase.kind.networks:
            return None, {}
        params = devices.on_host(state.params if state.average == () else state.average, self._mesh)
        predictions, signs_mean = examined(params, self.held_out, self.maker.frozen, self.settings)
        if phase is not None and phase.step in _JUDGED and done >= _SETTLED:
            if faults := collapse(signs_mean, self._flat_l1):
                raise DivergedError(
                    f"the networks have collapsed in {phase.label}, iteration {done}: {'; '.join(faults)}"
                )
        return (jax.tree.map(lambda *x: jnp.stack(x), *predictions[:SHOWN]) if ended else None), signs_mean

    @functools.cached_property
    def _flat_l1(self) -> float:
        """The held-out samples' mean distance from their mean image: networks that ignore their input do no better."""
        images = np.stack([np.asarray(sample.example.image[0]) for sample in self.held_out])
        return float(np.abs(images - images.mean(0)).mean())


def examined(
    params: models.Params, held_out: Sequence[PreparedImage], frozen: FrozenModels, settings: Settings
) -> tuple[list[reconstruction.Prediction], dict[str, float]]:
    """Returns the networks' reconstructions of held-out samples, and the means of `signs_of` over them."""
    predictions = [reconstruction.predict(params, sample.example, frozen, settings) for sample in held_out]
    pairs = zip(predictions, held_out, strict=True)
    return predictions, means(
        jax.device_get([signs_of(view, sample.example, settings=settings) for view, sample in pairs])
    )


def collapse(means: dict[str, float], flat_l1: float) -> list[str]:
    """Returns descriptions of what is wrong with networks, judging by the means of `signs_of`; [] if nothing is.

    `flat_l1` is the mean absolute distance of the samples from their mean image.
    """
    faults = []
    if not all(np.isfinite(value) for value in means.values()):
        return ["their outputs are not finite"]
    if means["roughness"] > _ROUGHEST:
        faults.append(f"depth is in stripes (roughness {means['roughness']:.3f}, more than {_ROUGHEST})")
    if means["saturation"] > _MOST_TURNED:
        faults.append(f"all views are at the end of their range ({means['saturation']:.2f} of the range on average)")
    if means["held_out_l1"] > flat_l1 > 0:
        faults.append(
            f"held-out samples are explained worse (L1 {means['held_out_l1']:.3f}) than by their mean image "
            f"({flat_l1:.3f})"
        )
    return faults


@jax.jit
def signs_of(view: reconstruction.Prediction, example: Example, *, settings: Settings) -> dict[str, jax.Array]:
    """Returns measures that tell, without ground truth, whether networks explain an image or have collapsed.

    They are `held_out_l1`, the mean absolute difference between reconstruction and image where the surface is visible;
    `roughness`, the mean absolute second difference of depth, divided by the depth range; `saturation`, the largest
    rotation as a fraction of the maximum; `relief`, the standard deviation of depth, divided by the depth range.
    """
    span = settings.camera.max_depth - settings.camera.min_depth
    turn = jnp.max(jnp.abs(view.view[:3])) / jnp.deg2rad(settings.view_range.rotation_deg)
    inner = view.depth[:, 2:-2]  # without the border columns, which are fixed
    return {
        "held_out_l1": losses.photometric(view.reconstruction, example.image[0], view.valid),
        "roughness": losses.smoothness(inner) / span,
        "saturation": turn,
        "relief": jnp.std(inner) / span,
    }


@functools.partial(jax.jit, donate_argnums=0)
def ema_update(average: models.Params, params: models.Params, iteration: jax.Array, decay: jax.Array) -> models.Params:
    """Returns the average updated with one iteration's networks; early iterations weigh more, for a quick warm-up."""
    kept = jnp.minimum(decay, (1 + iteration) / (10 + iteration))
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, params)
