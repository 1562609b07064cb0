"""Teaching a lifted model to take its albedo from the picture itself, by samples that are never seen twice.

A lift's albedo network has seen a thousand samples, thousands of times each, and whatever it is shown, it paints one.
Here every picture is new: samples of the GAN, their colours varied, and photographs where there are some. Depth, view
and light are held; what is trained is `models.DETAIL`, which mixes the picture's own texture into the albedo. Since an
albedo that is the picture explains it, light and all, each picture comes with a second one of the same object, which
this albedo has to explain too: another sample along the axes on which the GAN turns and relights what it draws, or the
mirror image, whose light comes from the other side.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from gan2shape_jax.geometry import lighting
from gan2shape_jax.lift.samples import SampleMaker
from gan2shape_jax.lift.task import SHOWN, ema_update, examined
from gan2shape_jax.method import iteration as iteration_lib
from gan2shape_jax.method import models, projection, reconstruction
from gan2shape_jax.method.factors import blend_border
from gan2shape_jax.method.frozen import FrozenModels
from gan2shape_jax.method.pose_edit import OFFSETS
from gan2shape_jax.method.schedule import Phase
from gan2shape_jax.method.settings import Settings
from gan2shape_jax.method.state import (
    Context,
    Iteration,
    LossAndMetrics,
    PreparedImage,
    Step,
    TrainState,
    initial_state,
)
from gan2shape_jax.method.streams import Stream
from gan2shape_jax.training.task import means, phase_keys, program

_LUMA = (0.299, 0.587, 0.114)
# Weight of partners where all are mirror images: by as much as the picture, they make two halves of different colours
# the same. A quarter leaves the colours, and still tells that light is not the object's.
_MIRRORED = 0.25
_SOFT = 1e-4  # under the root of the robust L1: below a hundredth, differences count squared


def varied(key: PRNGKeyArray, images: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    """Returns images with the saturation, gamma, gain and tint of other cameras and lamps; one in seven is grey."""
    saturating, bending, gaining, tinting, greying = jax.random.split(key, 5)
    count = (len(images), 1, 1, 1)
    values = images / 2 + 0.5
    grey = (values * jnp.array(_LUMA)).sum(axis=-1, keepdims=True)
    saturation = jax.random.uniform(saturating, count, minval=0.6, maxval=1.4)
    saturation *= jax.random.bernoulli(greying, 6 / 7, count)
    gamma = jnp.exp(0.2 * jax.random.normal(bending, count))
    tint = 0.12 * jax.random.normal(gaining, count) + 0.08 * jax.random.normal(tinting, (len(images), 1, 1, 3))
    bent = jnp.clip(grey + (values - grey) * saturation, 1e-3, 1) ** gamma
    return jnp.clip(bent * jnp.exp(tint), 0, 1) * 2 - 1


def pictures(
    key: PRNGKeyArray, photographs: UInt8[Array, "m s s 3"] | None, frozen: FrozenModels, settings: Settings
) -> Float[Array, "n s s 3"]:
    """Returns new pictures, twice `fresh_samples` of them: the second half are the partners of the first.

    Half of the partners are mirror images, and all where no axis turns what the GAN draws; of objects that are not
    symmetric, a picture is its own partner instead. A quarter of the pictures are photographs, where there are some.
    """
    drawing, turning, mirroring, choosing, varying = jax.random.split(key, 5)
    count = settings.fresh_samples
    flipped = jax.random.bernoulli(mirroring, 0.5, (count, 1, 1, 1))
    shape = (count, settings.architecture.style_dim)
    first, latents = projection.sample(jax.random.normal(drawing, shape), frozen, settings)
    if photographs is not None and (of_photos := -(-count // 4)):
        chosen = photographs[jax.random.randint(choosing, (of_photos,), 0, len(photographs))]
        first = jnp.concatenate([first[:-of_photos], chosen / 127.5 - 1])
    second = first[:, :, ::-1] if settings.mirrored else first
    if frozen.pose_edit is not None and (turned := count // 2):
        places = jax.random.uniform(turning, (turned, len(OFFSETS)), minval=-1.0) * OFFSETS[:, -1]
        partners = frozen.pose_edit.subspace.with_coordinates(latents[:turned], places)
        second = jnp.concatenate([projection.synthesize(partners, frozen, settings), second[turned:]])
    if settings.mirrored:
        first, second = (jnp.where(flipped, some[:, :, ::-1], some) for some in (first, second))
    first, second = (varied(varying, some) for some in (first, second))
    return jnp.concatenate([first, second])


class Lesson(NamedTuple):
    """What the networks that are held make of new pictures.

    `texture` (n, S, S, 10) is the input of `DETAIL`; `colours` (2, n, S, S, 3), where they are visible (2, n, S, S, 1)
    and the shading under their lights (2, n, S, S) are those of each picture, then of its partner, in the canonical
    frame of the picture's own shape.
    """

    texture: jax.Array
    colours: jax.Array
    visible: jax.Array
    shading: jax.Array


def _drawn(iteration: Iteration, context: Context) -> Lesson:
    """Draws new pictures; `iteration.constants` are the networks that are held, and the photographs."""
    frozen, settings = context.frozen, context.settings
    held, photographs = iteration.constants
    images = pictures(jax.random.fold_in(iteration.key, iteration.number), photographs, frozen, settings)
    depth = blend_border(models.depth(held, images, settings), settings.camera)
    view = models.views(held, images, frozen.view_mean, settings)
    light = models.lights(held, images, frozen.light_mean, settings)
    normals = lighting.normals(depth, settings.camera, unit=settings.unit_normals)

    def target(order: Callable[[Array], Array]) -> tuple[Array, ...]:
        shading, _ = lighting.shade(normals, order(light))
        return (*models.unprojected(order(images), depth, order(view), settings), shading)

    texture = models.canonical_texture(images, depth, view, light, settings)
    itself, partner = target(lambda x: x), target(lambda x: jnp.roll(x, len(x) // 2, axis=0))
    return Lesson(texture, *(jnp.stack(pair) for pair in zip(itself, partner, strict=True)))


def detail_loss(params: models.Params, lesson: Lesson, context: Context, *, flip: bool = False) -> LossAndMetrics:
    """Returns the robust L1 of lit albedos against what the picture, and its partner, show in the canonical frame.

    The context has no example, since no image is trained on twice, and `flip` is not used.
    """
    albedo, visible = models.detailed(params, lesson.texture, context.settings), lesson.visible
    lit = jnp.clip(lighting.apply_shading(albedo, lesson.shading), -1.2, 1.2)
    off = jnp.sqrt(jnp.square(lit - lesson.colours) + _SOFT) * visible
    l1 = jnp.sum(off, axis=(1, 2, 3, 4)) / (3 * jnp.maximum(jnp.sum(visible, axis=(1, 2, 3, 4)), 1))
    loss = l1[0] + (_MIRRORED if context.frozen.pose_edit is None else 1.0) * l1[1]
    return loss, ({"loss": loss, "l1": l1[0], "l1_partner": l1[1]}, None)


DETAIL_STEP = Step("train_detail", networks=(models.DETAIL,), loss=detail_loss, draw=_drawn)


@dataclasses.dataclass(frozen=True)
class DetailTraining:
    """The task of teaching `DETAIL`; see `training.task.Task`. It ends with the moving average."""

    maker: SampleMaker  # draws the samples that are held out
    settings: Settings  # those of single images, by which V and L are applied; `fresh_samples` is the number of pairs
    average: float  # decay of the network's moving average per iteration, in [0, 1); 0 keeps the latest
    held_out: list[PreparedImage]  # held-out samples, never trained on
    photographs: UInt8[np.ndarray, "m s s 3"] | None
    # Called for each row of the history, with the averaged network and the number of pictures that it was trained on.
    on_row: Callable[[models.Params, int], None] = lambda detail, pictures: None

    window = 100
    averages = staticmethod(means)

    def initial(self, params: models.Params) -> TrainState:
        """See `training.task.Task`."""
        state = jax.tree.map(jnp.array, initial_state(params, self.settings))
        return dataclasses.replace(state, average=jax.tree.map(jnp.array, params[models.DETAIL]))

    def begin(self, state: TrainState, phase: Phase) -> TrainState:
        """See `training.task.Task`."""
        return self.fresh_optimizer(state, phase)

    def fresh_optimizer(self, state: TrainState, phase: Phase) -> TrainState:
        """See `training.task.Task`."""
        return iteration_lib.fresh_optimizer(state, phase.kind.networks, self.settings)

    def phase_constants(self, state: TrainState, phase: Phase) -> Any:
        """See `training.task.Task`."""
        held = {name: state.params[name] for name in ("depth", "view", "light")}
        return held, None if self.photographs is None else jnp.asarray(self.photographs)

    def advance(
        self, state: TrainState, phase: Phase, iteration: int, constants: Any, count: int
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """See `training.task.Task`; `count` is 1, as wherever the networks' average is kept."""
        keys = phase_keys(self.maker.key, phase.number, stream=Stream.TRAIN)
        number = jnp.asarray(iteration, jnp.int32)
        run = program(phase.kind, flip=False, count=count)
        state, scalars = run(state, constants, None, keys, number, self.maker.frozen, self.settings)
        average = ema_update(state.average, state.params[models.DETAIL], number, jnp.float32(self.average))
        if iteration + count == phase.iterations:
            own = jax.tree.map(jnp.array, average)  # buffers of its own: they are donated
            state = dataclasses.replace(state, params=state.params | {models.DETAIL: own})
        return dataclasses.replace(state, average=average), scalars

    def examine(
        self, state: TrainState, phase: Phase | None, done: int
    ) -> tuple[reconstruction.Prediction | None, dict[str, Any]]:
        """Returns up to `SHOWN` reconstructions at the end, else None; means of `task.signs_of` on held-out samples."""
        params = state.params | {models.DETAIL: state.average}
        predictions, signs = examined(params, self.held_out, self.maker.frozen, self.settings)
        shown = 2 * self.settings.fresh_samples * done
        if phase is not None:
            self.on_row(state.average, shown)
        ended = phase is not None and done == phase.iterations
        return jax.tree.map(lambda *x: jnp.stack(x), *predictions[:SHOWN]) if ended else None, signs | {
            "pictures": shown
        }
